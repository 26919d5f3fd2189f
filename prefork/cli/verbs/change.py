"""Verbs that change something. Each waits until its goal is reached, unless it is told not to."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from prefork.cli.registry.client import Client, NotListeningError, NotRunningError
from prefork.cli.view.progress import for_each_app, progress_printer
from prefork.errors import MachineError, UsageError
from prefork.plural import pluralize
from prefork.unix.home import RegistryEntry, remove_app
from prefork.unix.identity import describe_user
from prefork.unix.process import signal_name
from prefork.unix.signals import signal_number

Options = argparse.Namespace

KILL_TIMEOUT = 10.0
"""Seconds in which the kernel ends a process that was killed, unless it hangs in the kernel."""


def stop_apps(client: Client, options: Options) -> int:
    """``prefork stop``"""
    return for_each_app(client, options.targets, lambda entry: stop_app(client, entry, options))


def stop_app(client: Client, entry: RegistryEntry, options: Options) -> int:
    """One app, until its master is gone."""
    if not entry.is_running():
        print(f"{entry.name}: does not run")
        return 0
    if options.force:
        with suppress(MachineError):  # it may be what is to be ended
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
            f"{entry.name}: still there; `prefork stop --force {entry.name}` ends it"
        )
    print(f"{entry.name}: stopped")
    return 0


def _request_stop(client: Client, entry: RegistryEntry, options: Options) -> int | None:
    """The pid of the master that was asked; None: it ended without us. A stop may take as long as
    its requests, but a master that hangs says nothing at all. Raises PreforkError."""
    pid = None
    try:
        pid = int(_ping_patiently(client, entry)["pid"])
        arguments = {"quick": options.quick, "no_wait": options.no_wait}
        client.ask(entry, "stop", options.timeout, progress_printer(entry), **arguments)
    except NotRunningError:
        pass
    except NotListeningError:
        raise
    except MachineError:
        # One that answers a ping and then no more is on its way out, for another client.
        has_answered = pid is not None
        if not entry.wait_for_end(5.0 if has_answered and options.timeout is None else 1.0, pid):
            if has_answered:
                raise
            why = f"the master does not answer; `prefork stop --force {entry.name}` ends it"
            raise MachineError(f"{entry.name}: {why}") from None
        return None
    return pid


def _ping_patiently(client: Client, entry: RegistryEntry) -> Mapping[str, Any]:
    """The answer of a master that does not hang. One that has just bound its control socket reads
    it as soon as it has bound the others, and read its certificates."""
    try:
        return client.ask(entry, "ping", 5.0)
    except MachineError:
        if RegistryEntry(entry.path).state.get("status") != "starting":
            raise
        return client.ask(entry, "ping", 15.0)


def _kill_processes(entry: RegistryEntry) -> int | None:
    """The master first, so that it replaces no worker; then everything below it. The pid of the
    master; None: there is none any more."""
    import psutil  # noqa: PLC0415 - nobody else of the verbs here needs it

    entry.require_manageable()
    pid = entry.pid
    try:
        if pid is None:
            _require_unlocked(entry)
            return None
        master = psutil.Process(pid)
        if entry.pid != pid:
            return None  # it ended meanwhile, and its pid may be that of another process
        processes = [master, *master.children(recursive=True)]
    except psutil.Error:
        return None  # it ended meanwhile
    for process in processes:
        try:
            process.kill()  # psutil sees to it that a pid still means the same process
        except psutil.NoSuchProcess:
            pass
    return pid


def _require_unlocked(entry: RegistryEntry) -> None:
    """Raises MachineError: a process holds the lock, and it is not known which."""
    if not entry.wait_for_end(1.0):
        raise MachineError(
            f"{entry.name}: no process of {describe_user(entry.owner)} can be told to "
            f"be its master; "
            f"`fuser {entry.path}/lock` shows which one holds its lock"
        )


def delete_apps(client: Client, options: Options) -> int:
    """``prefork delete``"""
    return for_each_app(client, options.targets, lambda entry: delete_app(client, entry, options))


def delete_app(client: Client, entry: RegistryEntry, options: Options) -> int:
    """One app, from the machine and from the list. Raises PreforkError."""
    entry.require_manageable()
    if entry.is_running():
        # Its folder is its master's while it lives, so this is always waited for.
        stop_app(client, entry, argparse.Namespace(**{**vars(options), "no_wait": False}))
    if not remove_app(entry.path):
        raise UsageError(f"{entry.name} was started again meanwhile, and is not deleted")
    print(f"{entry.name}: deleted")
    return 0


def reload_apps(client: Client, options: Options) -> int:
    """``prefork reload``"""

    def one(entry: RegistryEntry) -> int:
        if options.dry_run:
            print_plan(entry.name, client.ask(entry, "plan", options.timeout))
        else:
            reload_app(client, entry, options)
        return 0

    return for_each_app(client, options.targets, one)


def reload_app(client: Client, entry: RegistryEntry, options: Options) -> None:
    """Reload one app. Raises PreforkError."""
    result = client.ask(
        entry, "reload", options.timeout, progress_printer(entry), no_wait=options.no_wait
    )
    if "accepted" in result:
        print(f"{entry.name}: reloading")
    else:
        print(f"{entry.name}: reloaded to gen {result['generation']} in {result['took']:.2f}s")


def print_plan(name: str, plan: Mapping[str, Any]) -> None:
    """What a reload would do."""
    print_changes(plan["changes"] or [])
    if not plan["changes"]:
        print("  no setting changes; the code is loaded anew")
    restart_keys = [change["key"] for change in plan["changes"] if change["restart"]]
    if restart_keys:
        print(f"  changing {', '.join(restart_keys)} takes `prefork restart {name}`")
    slots = ", ".join(map(str, plan["slots"]))
    workers = pluralize(plan["workers"], "worker")
    print(
        f"{name}: {workers} now, {plan['then']} then; slots {slots} one after another, at most "
        f"{plan['surge']} more at a time"
    )


def print_changes(changes: Sequence[Mapping[str, Any]]) -> None:
    """Settings, old -> new."""
    for change in changes:
        print(f"  {change['key']}: {change['old']} -> {change['new']}")


def scale_app(client: Client, options: Options) -> int:
    """``prefork scale``"""

    def one(entry: RegistryEntry) -> int:
        result = client.ask(
            entry,
            "scale",
            options.timeout,
            progress_printer(entry),
            workers=options.workers,
            no_wait=options.no_wait,
        )
        if "accepted" in result:
            print(f"{entry.name}: scaling")
            return 0
        superseded = f", as {result['instead']} asked meanwhile" if "instead" in result else ""
        slots = ", ".join(map(str, result.get("done", ())))
        done_note = f"; the work of slot {slots} is done (stop-exit-codes)" if slots else ""
        print(f"{entry.name}: {pluralize(result['workers'], 'worker')}{superseded}{done_note}")
        return 0

    return for_each_app(client, [options.target], one)


def signal_workers(client: Client, options: Options) -> int:
    """``prefork signal``"""
    number = signal_number(options.signal)  # before anybody is asked
    name = signal_name(number)

    def one(entry: RegistryEntry) -> int:
        sent = client.ask(entry, "signal", options.timeout, signal=str(number), slot=options.slot)
        pids = ", ".join(map(str, sent["pids"]))
        print(f"{entry.name}: {name} sent to {pids or 'nobody: it has no workers now'}")
        return 0

    return for_each_app(client, [options.target], one)


def simple_verb(verb: str, done_note: str) -> Callable[[Client, Options], int]:
    """A verb without a goal to wait for."""

    def run(client: Client, options: Options) -> int:
        def one(entry: RegistryEntry) -> int:
            client.ask(entry, verb, options.timeout)
            print(f"{entry.name}: {done_note}")
            return 0

        return for_each_app(client, options.targets, one)

    return run
