"""``prefork restart``: a reload where that is enough, otherwise a new master; it prints the reason.

Design
------
- **Restart reloads, unless something needs a new master.** Then the master ends and the next one
  begins, and in between this command itself keeps copies of the listening sockets
  (``unix/listener_handover.py``, SCM_RIGHTS): clients wait in the listen queue for as long as the
  requests in flight and the start take, and none is refused. Rejected: two masters at a time. They
  would have to share the lock, the log files and the scoreboard. A restart without that wait would
  be the upgrade (USR2 in nginx and gunicorn), which does not exist yet.
- **A program without sockets is always stopped first,** because two of it may not run at a time.
- **Everything that can be known before is checked before:** wrong settings, an address in use and
  an app that cannot be loaded stop nothing (restart_check.py). ``--stop-first`` and ``--force``
  skip that, for an app that cannot be loaded twice at a time, and for a master that hangs.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from prefork.cli.registry.client import Client, NotRunningError
from prefork.cli.verbs.change import reload_app, stop_app
from prefork.cli.verbs.launch import (
    StartFailedError,
    WaitOptions,
    prepare_next_start,
    start_again,
)
from prefork.cli.verbs.restart_check import check_start
from prefork.cli.view.progress import for_each_app
from prefork.errors import MachineError, UsageError
from prefork.unix.control import peer_pid
from prefork.unix.home import check_next_start
from prefork.unix.listener_handover import fetch_listeners
from prefork.unix.listeners import Listener
from prefork.unix.registry_entry import RegistryEntry
from prefork.version import __version__
from prefork.wire.control import RefusedError
from prefork.wire.verb_table import PLAN

Options = argparse.Namespace

PLAN_TIMEOUT = 60.0
"""Seconds that a master has to read its settings, before it counts as hung."""


def restart(client: Client, options: Options) -> int:
    """Restart the named apps, one after another. Return the exit code."""

    def action(entry: RegistryEntry) -> int:
        try:
            return _restart_app(client, client.latest(entry), options)
        except StartFailedError as error:
            return error.exit_code  # the master has printed its error already

    return for_each_app(client, options.targets, action)


def _restart_app(client: Client, entry: RegistryEntry, options: Options) -> int:
    try:
        if entry.is_running():
            return _restart_running(client, entry, options)
    except NotRunningError:
        pass  # the master ended meanwhile
    print(f"{entry.name}: does not run")
    _start(client, entry, options)
    return 0


def _restart_running(client: Client, entry: RegistryEntry, options: Options) -> int:
    """Reload an app that runs, or stop and start it. Raises PreforkError."""
    entry.require_manageable()
    entry.require_readable()
    if not entry.state.get("managed"):
        raise UsageError("it runs in the foreground: restart it where it was started")
    if options.force or options.stop_first:
        _require_usable_folder(entry)
        _stop_and_start(client, entry, options)
        return 0
    plan = client.ask(entry, PLAN, options.timeout or PLAN_TIMEOUT)
    needs_no_reason = options.quick or options.update_env
    why = "" if needs_no_reason else _restart_reason(client, entry, plan)
    if why is None:
        reload_app(client, entry, options)
        print(f"{entry.name}: nothing needs a restart; --stop-first stops and starts")
        return 0
    _require_startable(entry, plan, options)
    if why:
        print(f"{entry.name}: stops and starts: {why}")
    _stop_and_start(client, entry, options)
    return 0


def _require_usable_folder(entry: RegistryEntry) -> None:
    """Raise MachineError, with the reason, if the next master could not use the app's folder."""
    try:
        check_next_start(entry.path)
    except MachineError as error:
        raise MachineError(f"not restarted, the present master serves on: {error}") from error


def _require_startable(entry: RegistryEntry, plan: Mapping[str, Any], options: Options) -> None:
    """Raise PreforkError, with the reason, if the next master would not start as far as can be
    told. ``plan``: the answer of the present one."""
    _require_usable_folder(entry)
    try:
        if refusal := plan.get("restart_refusal"):
            raise RefusedError(refusal["reason"], refusal["code"])
        check_start(prepare_next_start(entry, options.update_env), options.timeout)
    except RefusedError as error:
        skip = "`--stop-first` restarts without this check"
        text = f"not restarted, the present master serves on ({skip}): {error}"
        raise RefusedError(text, error.exit_code) from None


def _restart_reason(client: Client, entry: RegistryEntry, plan: Mapping[str, Any]) -> str | None:
    """Return why a new master is needed; None: a reload is enough."""
    changed_keys = [change["key"] for change in plan["changes"] if change["restart"]]
    if changed_keys:
        return f"{', '.join(changed_keys)} changed"
    if plan.get("obstacle"):
        return "the program owns its port"
    app = client.describe(entry)
    if app.get("version") != __version__:
        return f"prefork {app.get('version')} is {__version__} now"
    if app.get("answers") and not app["listening"]:
        # Two of them may not run at a time: perhaps the program binds a port itself.
        return "a program without --bind cannot be rolled"
    return None


def _stop_and_start(client: Client, entry: RegistryEntry, options: Options) -> None:
    """Stop the master and start the next one.

    Clients that connect in between wait in the queues of the sockets that this process holds.
    """
    listeners = []
    if not options.force:
        listeners = _fetch_listeners(client, entry)
    try:
        stop_app(client, entry, argparse.Namespace(**{**vars(options), "no_wait": False}))
        _start(client, entry, options, listeners)
    finally:
        for listener in listeners:
            listener.socket.close()


def _fetch_listeners(client: Client, entry: RegistryEntry) -> list[Listener]:
    """Return copies of the master's listening sockets. Raises NotRunningError, MachineError."""
    with client.reach(entry, 5.0) as connection:
        try:
            return fetch_listeners(connection)
        except MachineError:
            if entry.wait_for_end(1.0, peer_pid(connection)):
                raise NotRunningError(entry) from None
            raise


def _start(
    client: Client, entry: RegistryEntry, options: Options, listeners: Sequence[Listener] = ()
) -> None:
    wait_options = WaitOptions(not options.no_wait, options.timeout)
    update_env = options.update_env
    start_again(client, RegistryEntry(entry.path), wait_options, listeners, update_env)
