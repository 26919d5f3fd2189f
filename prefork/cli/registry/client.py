"""``prefork.Client``: list the apps of a home and of the services, send verbs to masters, and wait.

Design
------
- **A master that holds its lock and does not listen is starting or ending,** not hung: verbs wait
  for it. Only a master that listens and does not answer gets the advice to use ``--force``.
- **A hung master hides nothing that its workers do.** The app's folder names the scoreboard, so
  what the master would say of its workers is read there (scoreboard_reader.py). Masters are asked
  in parallel, so that a hung one delays no other.
"""

import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from prefork.config.store_kind import hide_passwords
from prefork.errors import MachineError, UsageError
from prefork.unix.control import connect, peer_pid
from prefork.unix.home import list_entries, registry_path
from prefork.unix.registry_entry import RegistryEntry
from prefork.unix.system_homes import list_system_homes
from prefork.version import __version__
from prefork.wire import control as wire
from prefork.wire.row_values import explain_values
from prefork.wire.verb import Verb
from prefork.wire.verb_table import EVENTS, SHOW, VERBS

EXIT_TIMEOUT = 10.0
"""Seconds until the process of a master has ended, after it closed the connection of a client.

This is enough on a machine with other work, too.
"""

START_TIMEOUT = 30.0
"""Seconds until a master that holds its lock listens on its control socket, or has ended."""

ANSWER_TIMEOUT = 2.0
"""Seconds until a master that is not hung describes itself."""

MAX_PARALLEL = 16
"""Number of masters that are asked at the same time."""

OnProgress = Callable[[wire.Progress], None]


class NotRunningError(UsageError):
    """The app has no running master: it was stopped, killed or deleted.

    The message says which, and what starts it again.
    """

    def __init__(self, entry: RegistryEntry) -> None:
        current = RegistryEntry(entry.path)
        if not current.state:
            super().__init__(f"{entry.name} does not run, and is not in the list any more")
            return
        if current.is_running():  # the state is that of the next master
            super().__init__(f"{entry.name} ended, and another master runs now; repeat the command")
            return
        killed = ": its master was killed" if current.state.get("pid") else ""
        advice = f"`prefork start {entry.name}` starts it"
        super().__init__(f"{entry.name} does not run{killed}; {advice}")


class NotListeningError(MachineError):
    """A master holds the lock of an app but does not listen: it starts or ends."""

    def __init__(self, entry: RegistryEntry, waited: float) -> None:
        since = f"for more than {waited:g} s"
        super().__init__(f"{entry.name} has been starting or ending {since}; its log may say why")


class NotUnderstoodError(UsageError):
    """The master is of an earlier version of prefork, which does not know the verb."""

    def __init__(self, entry: RegistryEntry, verb: str) -> None:
        version = entry.state.get("version", "of an earlier version")
        super().__init__(
            f"{entry.name}: its master is prefork {version} and does not know `{verb}`; "
            f"`prefork restart {entry.name}` brings prefork {__version__} to it"
        )


class Client:
    """A client of the masters of a home: it lists the apps and sends verbs.

    ``where``: the folder of the registry; default: $PREFORK_HOME, or ~/.prefork and the homes of
    the services of this machine (unix/system_homes.py).

    An app is described by a dictionary, as ``prefork list --json`` prints it. Times of the day are
    seconds since 1970, all others seconds. These keys are always there, read from the app's folder:

        name, namespace        names that verbs accept for the app
        state                  starting, running, reloading, frozen, failing (workers die again and
                               again) or stopping; hung: the master does not answer; denied: the
                               master refuses to talk to this user, for the reason in denied; dead:
                               the master was killed; failed: it did not start, or gave up, for
                               the reason in status; stopped
        answers                whether the master answered
        status                 the state in a sentence
        pid, started, version  of the master
        managed                the app stays in the list when it is stopped (then: ended)
        app, arguments, here, file, section, stage
                               what the master serves, and how and where it was started
        target                 number of workers that the master aims at
        scaled                 set by the verb ``scale``: workers, and settings, the number in the
                               settings that it replaces; None: the settings are in force
        log, output            files of the master and of the workers' output, if there are any
        scoreboard             path at which unix/scoreboard.py reads it, while the app runs

    These keys are there while the app runs. When the master hangs, the scoreboard provides them.

        ready, generation      workers that serve; number of the generation, each reload adds 1
        restarts               workers that were replaced because they died
        leader                 slot, pid and token of the worker that leads; None: none
        lease                  with a server as the store, what the worker that may lead knows of
                               its lease: unused, waiting, held, elsewhere or unavailable; else None
        workers                a dictionary for each worker, see below
        figures                the figures of all workers together: sums, or the worst of them

    These keys come only from the master: failure (why the last reload failed, or ""), listening
    (addresses), settings (those that differ from the default, by the names of the options; secrets
    are masked), build (compiled or pure Python; "" for programs), next_restart (with --cron: at,
    cron), autoscale (with --max-workers).

    A worker has the keys slot, pid, generation, state (spawning, booting, ready, draining, hung,
    killed), since (the start of its process), restarts (of its slot), worn (why it is to be
    replaced, or ""), says (STATUS= of a program), node (the version of
    Node whose servers share the sockets, or ""), and its figures:

        {VALUES}

    A figure is None where no worker counts it: a program counts those that it reports, and of an
    app that owns its accept loop only connections are known.
    """

    def __init__(self, where: str | os.PathLike[str] | None = None) -> None:
        self.home = Path(where) if where is not None else registry_path(os.environ)
        self._is_alone = where is not None or bool(os.environ.get("PREFORK_HOME"))

    def entries(self) -> list[RegistryEntry]:
        """Return all apps: those of the home, then those of the services of this machine.

        Raises MachineError.
        """
        homes = [] if self._is_alone else list_system_homes()
        return [entry for home in (self.home, *homes) for entry in list_entries(home)]

    def apps(self) -> list[dict[str, Any]]:
        """Describe every app, as its master answers or as its folder says.

        ``answers`` tells which of the two. Without an answer ``state`` is hung, dead or stopped, or
        denied: the master refuses to talk to this user, and ``denied`` is its reason. The keys are
        listed at the class.
        """
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - most verbs ask one

        found = self.entries()
        # Threads, so that a hung master delays no other by its timeout.
        with ThreadPoolExecutor(MAX_PARALLEL) as threads:
            return list(threads.map(self.describe, found))

    def measured(self) -> list[dict[str, Any]]:
        """Describe every app, with the CPU and memory that it uses.

        ``cpu``: percent of one core, over a fifth of a second; ``memory``: bytes, PSS. Both are
        there for each worker, with the processes below it, and for all processes of the app
        together; None: this user may not look at one of them. It is what ``list --json`` and
        ``show --json`` print; with ``--watch``, rate, p50 and p99 are those of the last four
        seconds.
        """
        # Only measuring usage needs it.
        from prefork.cli.registry.process_usage import measure_usage  # noqa: PLC0415

        return measure_usage(self.apps())

    def find(self, *targets: str) -> list[RegistryEntry]:
        """Return the apps that the targets mean.

        A target is a name, a namespace, ``all`` or a ``/regular expression/``. Raises UsageError
        for one that means no app, with the nearest name, and for a name that two homes have.
        """
        known = self.entries()
        all_names = list(dict.fromkeys(entry.name for entry in known))
        found: dict[Path, RegistryEntry] = {}
        for target in targets:
            names = _match_names(target, all_names)
            matched = [entry for entry in known if entry.name in names] or [
                entry for entry in known if entry.state.get("namespace") == target
            ]
            if not matched and target != "all":
                raise UsageError(_unknown_app_message(target, all_names, self.home))
            if names == [target] and len(matched) > 1:
                raise UsageError(_ambiguous_name_message(target, matched))
            found.update((entry.path, entry) for entry in matched)
        return list(found.values())

    def find_master(self, pid: int) -> RegistryEntry:
        """Return the app whose master is the process ``pid``. Raises UsageError."""
        for entry in self.entries():
            if entry.pid == pid:
                return entry
        raise UsageError(
            f"no app of {self.home} has a master with pid {pid}; PREFORK_HOME names its home, and "
            "its log says why it is in none"
        )

    def describe(self, entry: RegistryEntry) -> dict[str, Any]:
        """Describe one app, as ``apps`` does."""
        description: dict[str, Any] = {**entry.state, "name": entry.name, "answers": False}
        # The record of the last leader is for the next master, and has no slot.
        description.pop("leader", None)
        if "arguments" in description:
            from prefork.config.flags import remove_env_options  # noqa: PLC0415 - all options

            kept, _ = remove_env_options(description["arguments"])
            description["arguments"] = [hide_passwords(word) for word in kept]
        if isinstance(stored := description.get("store"), list):
            description["store"] = [hide_passwords(str(stored[0])), *stored[1:]]
        if not entry.is_running():
            description["state"] = _ended_state(entry.state)
            return description
        try:
            message = self.ask(entry, SHOW, timeout=ANSWER_TIMEOUT)
        except NotRunningError:
            return self.describe(RegistryEntry(entry.path))
        except NotListeningError:
            return {**description, "state": "starting"}
        except MachineError:
            # Only hung masters need it.
            from prefork.cli.registry.scoreboard_reader import describe_from_scoreboard  # noqa: PLC0415

            return {**description, "state": "hung", **describe_from_scoreboard(entry.state)}
        except wire.RefusedError as error:
            return {**description, "state": "denied", "denied": str(error)}
        return {**description, **message, "answers": True}

    def ask(
        self,
        entry: RegistryEntry,
        verb: Verb | str,
        timeout: float | None = None,
        on_progress: OnProgress = lambda _progress: None,
        **arguments: Any,
    ) -> Mapping[str, Any]:
        """Send a verb to the master of an app, wait for its goal, and return the result.

        ``verb``: its name, or its declaration (wire/verb_table.py).
        ``timeout``: seconds, None: no limit. ``on_progress`` is called with each step on the way;
        ``arguments`` are those of the verb. A master that is just starting is waited for.

        Raises RefusedError when the master refuses or the goal is missed, NotUnderstoodError when
        it is too old for the verb, NotRunningError when there is no master, MachineError when it
        does not answer or the timeout has passed.
        """
        with self.reach(entry, timeout) as connection:
            pid = peer_pid(connection)
            for message in self._exchange(entry, connection, timeout, verb, arguments):
                if isinstance(message, wire.Result):
                    return message.value
                on_progress(message)
        if entry.wait_for_end(EXIT_TIMEOUT, pid):
            raise NotRunningError(entry)
        raise MachineError(f"{entry.name}: the master closed the connection without an answer")

    def reach(self, entry: RegistryEntry, timeout: float | None) -> socket.socket:
        """Connect to the master of an app and return the socket.

        A master that does not listen yet is waited for. ``timeout``: seconds, at most
        START_TIMEOUT; None: START_TIMEOUT. Raises NotRunningError, NotListeningError, MachineError.
        """
        limit = START_TIMEOUT if timeout is None else min(timeout, START_TIMEOUT)
        deadline = time.monotonic() + limit
        while True:
            try:
                return connect(entry.control, timeout)
            except MachineError as error:
                if not entry.is_running():
                    raise NotRunningError(entry) from None
                if not isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
                    raise
            if time.monotonic() > deadline:
                raise NotListeningError(entry, limit)
            time.sleep(0.01)  # a socket that does not exist yet cannot be waited for

    def latest(self, entry: RegistryEntry) -> RegistryEntry:
        """Return the app with the state that its running master wrote.

        A master that is just starting is waited for, because until then the folder has the state of
        the master before. Raises MachineError.
        """
        if entry.is_running() and not entry.control.exists():
            with suppress(NotRunningError):
                self.reach(entry, None).close()
        return RegistryEntry(entry.path)

    def events(self, entry: RegistryEntry) -> Iterator[wire.Progress]:
        """Yield everything that happens to the app from now on, until its master ends."""
        with self.reach(entry, None) as connection:
            for message in self._exchange(entry, connection, None, EVENTS, {}):
                if isinstance(message, wire.Progress):
                    yield message

    def _exchange(
        self,
        entry: RegistryEntry,
        connection: socket.socket,
        timeout: float | None,
        verb: Verb | str,
        arguments: Mapping[str, Any],
    ) -> Iterator[wire.Progress | wire.Result]:
        """Send a request and yield the master's messages until it closes the connection."""
        deadline = None if timeout is None else time.monotonic() + timeout
        lines = wire.LineDecoder()
        name = verb if isinstance(verb, str) else verb.name
        try:
            with suppress(BrokenPipeError):  # it closed the connection already, and said why
                connection.sendall(wire.encode_request(verb, **arguments))
            while data := _receive_before(connection, deadline):
                for line in lines.feed(data):
                    yield _decode_answer(entry, name, line)
        except TimeoutError:
            why = f"{name} did not end within {timeout:g} s; the master continues it"
            raise MachineError(f"{entry.name}: {why}") from None
        except ConnectionResetError:
            return  # the master ended before it read the request
        except OSError as error:
            raise MachineError(f"{entry.name}: {error.strerror}") from error


if Client.__doc__:  # python -OO drops it
    # The keys of values and their explanations follow from their declarations (wire/fields.py).
    # Their indentation is that of the place, which Python 3.13 takes off from docstrings in part.
    _indentation = Client.__doc__.partition("{VALUES}")[0].rpartition("\n")[2]
    Client.__doc__ = Client.__doc__.replace(_indentation + "{VALUES}", explain_values(_indentation))


def _ended_state(state: Mapping[str, Any]) -> str:
    """Return the state of an app without a master, by what its last master wrote."""
    if state.get("pid"):
        return "dead"
    return "failed" if state.get("exit_code") and not state.get("done") else "stopped"


def _decode_answer(entry: RegistryEntry, verb: str, line: bytes) -> wire.Progress | wire.Result:
    """Decode one line of an answer. Raises RefusedError, NotUnderstoodError."""
    try:
        return wire.decode_answer(line)
    except wire.RefusedError as error:
        if verb in VERBS and error.version < VERBS[verb].since:
            raise NotUnderstoodError(entry, verb) from None
        raise


def _receive_before(connection: socket.socket, deadline: float | None) -> bytes:
    if deadline is not None:
        # Not zero, because that would make the socket non-blocking.
        connection.settimeout(max(0.001, deadline - time.monotonic()))
    return connection.recv(65536)


def _match_names(target: str, names: list[str]) -> list[str]:
    if target == "all":
        return names
    if len(target) > 1 and target.startswith("/") and target.endswith("/"):
        try:
            pattern = re.compile(target[1:-1])
        except re.error as error:
            raise UsageError(f"{target} is no regular expression: {error}") from None
        return [name for name in names if pattern.search(name)]
    return [name for name in names if name == target]


def _ambiguous_name_message(name: str, entries: Sequence[RegistryEntry]) -> str:
    homes = " and ".join(str(entry.path.parent) for entry in entries)
    return f"{name} is the name of apps in {homes}; PREFORK_HOME=... before the command chooses one"


def _unknown_app_message(target: str, names: list[str], home: Path) -> str:
    import difflib  # noqa: PLC0415 - only this error needs both

    from prefork.cli.registry.elsewhere import explain_elsewhere  # noqa: PLC0415

    if elsewhere := explain_elsewhere(target, home):
        return f"there is no app {target!r} in {home}; {elsewhere}"

    near = difflib.get_close_matches(target, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else "; `prefork list` shows all apps"
    hint += ", which go by their names" if target.isdigit() else ""  # PM2 has numbers
    return f"there is no app {target!r}{hint}"
