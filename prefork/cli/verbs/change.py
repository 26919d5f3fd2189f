"""Verbs that change an app by more than one request: stop, delete, reload, signal.

Each waits until its goal is reached, unless it has ``--no-wait``. ``options`` are the parsed
arguments of the verb.

Design
------
- **``stop --force`` asks the kernel for the master's pid** (SO_PEERCRED of its socket tells who
  listens, also for a process that is stopped), because the state in the registry may be older than
  the process that has the pid now.
- **``stop --force`` kills the master first,** so that it replaces no worker, and then the processes
  below it.
- **A SIGTERM ends ``reload --master-pid`` with exit code 0.** ``systemctl stop`` during a reload
  sends it to the command of ExecReload= and to the master, and takes any other end of the command
  for a failure of the service. A reload that systemd ends because it takes too long has failed
  whatever its exit code is.
"""

import argparse
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NoReturn

from prefork.cli.registry.client import Client, NotListeningError, NotRunningError
from prefork.cli.verbs.ask_masters import ask_and_print, ask_app, ask_each
from prefork.cli.view.answers import Answer, print_plan
from prefork.cli.view.progress import carry_out, for_each_app
from prefork.errors import MachineError, UsageError
from prefork.unix.home import remove_app
from prefork.unix.identity import describe_user
from prefork.unix.registry_entry import RegistryEntry
from prefork.unix.signals import signal_number
from prefork.wire.verb_table import PING, PLAN, RELOAD, SIGNAL, STOP

Options = argparse.Namespace

KILL_TIMEOUT = 10.0
"""Seconds until a killed process has ended, unless it hangs in the kernel."""


def stop_apps(client: Client, options: Options) -> int:
    """Stop the apps that the command line names, one after another. Return the exit code."""
    return for_each_app(client, options.targets, lambda entry: stop_app(client, entry, options))


def stop_app(client: Client, entry: RegistryEntry, options: Options) -> int:
    """Stop one app, wait until its master has ended, and return the exit code.

    Raises PreforkError.
    """
    if not entry.is_running():
        print(f"{entry.name}: does not run")
        return 0
    if options.force:
        with suppress(MachineError):  # the master to be killed may hang
            entry = client.latest(entry)
        pid = _kill_processes(entry)
    else:
        pid = _request_stop(client, entry, options)
        if options.no_wait and pid is not None:
            print(f"{entry.name}: stopping")
            return 0
    timeout = KILL_TIMEOUT if options.force and options.timeout is None else options.timeout
    if not entry.wait_for_end(timeout, pid):
        raise MachineError(
            f"{entry.name}: still running; `prefork stop --force {entry.name}` ends it"
        )
    print(f"{entry.name}: stopped")
    return 0


def _request_stop(client: Client, entry: RegistryEntry, options: Options) -> int | None:
    """Ask the master to stop and return its pid; None: it has ended by itself meanwhile.

    A stop may take as long as the requests in flight, but a master that hangs does not even answer
    a ping. Raises PreforkError.
    """
    pid = None
    try:
        pid = int(_ping_patiently(client, entry)["pid"])
        ask_app(client, STOP, entry, options)
    except NotRunningError:
        pass
    except NotListeningError:
        raise
    except MachineError:
        # A master that answers a ping and then no more is about to end, for another client.
        has_answered = pid is not None
        if not entry.wait_for_end(5.0 if has_answered and options.timeout is None else 1.0, pid):
            if has_answered:
                raise
            why = f"the master does not answer; `prefork stop --force {entry.name}` ends it"
            raise MachineError(f"{entry.name}: {why}") from None
        return None
    return pid


def _ping_patiently(client: Client, entry: RegistryEntry) -> Mapping[str, Any]:
    """Return the answer of a master to a ping; raise MachineError when it hangs.

    A master that has just bound its control socket answers only after it has bound all others and
    read its certificates, so a starting master has 15 s instead of 5.
    """
    try:
        return client.ask(entry, PING, 5.0)
    except MachineError:
        if RegistryEntry(entry.path).state.get("status") != "starting":
            raise
        return client.ask(entry, PING, 15.0)


def _kill_processes(entry: RegistryEntry) -> int | None:
    """Kill the master and all processes below it; return the master's pid.

    None: it has ended already.
    """
    import psutil  # noqa: PLC0415 - only --force needs it

    entry.require_manageable()  # no master is asked here, which would refuse other users
    pid = entry.pid
    try:
        if pid is None:
            _require_unlocked(entry)
            return None
        master = psutil.Process(pid)
        if entry.pid != pid:
            return None  # it has ended, and another process may have its pid
        processes = [master, *master.children(recursive=True)]
    except psutil.Error:
        return None  # it has ended
    for process in processes:
        try:
            process.kill()  # psutil checks that the pid still means the same process
        except psutil.NoSuchProcess:
            pass
    return pid


def _require_unlocked(entry: RegistryEntry) -> None:
    """Wait for a moment until the app's lock is free; raise MachineError when a process holds it.

    Which process holds it is not known here.
    """
    if not entry.wait_for_end(1.0):
        raise MachineError(
            f"{entry.name}: no process of {describe_user(entry.owner)} can be identified as its "
            f"master; `fuser {entry.path}/lock` shows which one holds its lock"
        )


def delete_apps(client: Client, options: Options) -> int:
    """Stop the named apps and remove them from the list. Return the exit code."""
    return for_each_app(client, options.targets, lambda entry: delete_app(client, entry, options))


def delete_app(client: Client, entry: RegistryEntry, options: Options) -> int:
    """Stop one app, remove its folder, and return the exit code. Raises PreforkError."""
    entry.require_manageable()
    if entry.is_running():
        # Always wait: until the master has ended, the folder is in its use.
        stop_app(client, entry, argparse.Namespace(**{**vars(options), "no_wait": False}))
    if not remove_app(entry.path):
        raise UsageError(f"{entry.name} was started again meanwhile, and is not deleted")
    print(f"{entry.name}: deleted")
    return 0


def reload_apps(client: Client, options: Options) -> int:
    """Reload the named apps, or that of a master, or print what a reload would do (``--dry-run``).

    Return the exit code.
    """
    if bool(options.targets) == (options.master_pid is not None):
        raise UsageError("reload needs either the names of apps, or --master-pid")

    def action(entry: RegistryEntry) -> int:
        if options.dry_run:
            print_plan(answer := ask_app(client, PLAN, entry, options))
            require_rollable(answer)
        else:
            reload_app(client, entry, options)
        return 0

    if options.master_pid is not None:
        signal.signal(signal.SIGTERM, _end_as_asked)
        return carry_out(client.find_master(options.master_pid), action)
    return for_each_app(client, options.targets, action)


def require_rollable(plan: Answer) -> None:
    """Raise UsageError, as the reload would, if the master would refuse it.

    ``plan``: its answer to the verb ``plan``.
    """
    reason = plan.values.get("obstacle") or (plan.values.get("refusal") or {}).get("reason")
    if reason:
        raise UsageError(f"{plan.app}: would not be reloaded: {reason}")


def _end_as_asked(_signum: int, _frame: object) -> NoReturn:
    """End without an error: see Design."""
    sys.exit(0)


def reload_app(client: Client, entry: RegistryEntry, options: Options) -> None:
    """Reload one app and print the outcome. Raises PreforkError."""
    ask_and_print(client, RELOAD, entry, options)


def signal_workers(client: Client, options: Options) -> int:
    """Send a signal to all workers of an app, or to one slot. Return the exit code."""
    signal_number(options.signal)  # a wrong name sends no signal to any app
    return ask_each(client, SIGNAL, options)
