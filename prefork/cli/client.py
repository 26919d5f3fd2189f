"""Ask masters: find them in the list, put a verb to one, wait for the end. ``prefork.Client``."""

import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from prefork.errors import MachineError, UsageError
from prefork.unix.control import connect
from prefork.unix.home import Entry, entries, home
from prefork.wire import control as wire

ANSWERS_WITHIN = 2.0
"""Seconds in which a master that is not hung says something about itself."""

OnProgress = Callable[[wire.Progress], None]


class Client:
    """All apps of one home.

    ``where``: the folder of the registry; default: $PREFORK_HOME, or ~/.prefork.
    """

    def __init__(self, where: str | os.PathLike[str] | None = None) -> None:
        self.home = Path(where) if where is not None else home(os.environ)

    def apps(self) -> list[dict[str, Any]]:
        """Every app: what it says about itself, or what its folder says when it does not answer.

        ``answers`` tells which; ``state`` is then hung, dead or stopped, or denied: it does not
        want to talk to us, and ``denied`` is why.
        """
        return [self.describe(entry) for entry in entries(self.home)]

    def find(self, *targets: str) -> list[Entry]:
        """The apps that names, namespaces, ``all`` or ``/regular expressions/`` mean.

        Raises UsageError for one that means none, with the nearest name.
        """
        known = {entry.name: entry for entry in entries(self.home)}
        found: dict[str, Entry] = {}
        for target in targets:
            names = _matching(target, list(known)) or [
                name for name, entry in known.items() if entry.state.get("namespace") == target
            ]
            if not names and target != "all":
                raise UsageError(_no_such_app(target, list(known)))
            found.update((name, known[name]) for name in names)
        return list(found.values())

    def describe(self, entry: Entry) -> dict[str, Any]:
        """One app, see ``apps``."""
        told: dict[str, Any] = {**entry.state, "name": entry.name, "answers": False}
        if "arguments" in told:
            from prefork.config.flags import without_environment  # noqa: PLC0415 - all options

            told["arguments"], _ = without_environment(told["arguments"])
        if not entry.runs():
            told["state"] = "dead" if entry.state.get("pid") else "stopped"
            return told
        try:
            said = self.ask(entry, "show", timeout=ANSWERS_WITHIN)
        except MachineError:
            return {**told, "state": "hung"}
        except wire.RefusedError as error:
            return {**told, "state": "denied", "denied": str(error)}
        return {**told, **said, "answers": True}

    def ask(
        self,
        entry: Entry,
        verb: str,
        timeout: float | None = None,
        on_progress: OnProgress = lambda _progress: None,
        **arguments: Any,
    ) -> Mapping[str, Any]:
        """The result of a verb, once its goal is reached.

        Raises RefusedError when the master says that it is not, MachineError when nobody answers or
        ``timeout`` seconds (None: no limit) have passed.
        """
        for said in self._talk(entry, verb, timeout, arguments):
            if isinstance(said, wire.Result):
                return said.value
            on_progress(said)
        raise MachineError(f"{entry.name}: the master left without an answer")

    def events(self, entry: Entry) -> Iterator[wire.Progress]:
        """Everything that happens from now on."""
        for said in self._talk(entry, "events", None, {}):
            if isinstance(said, wire.Progress):
                yield said

    def _talk(
        self, entry: Entry, verb: str, timeout: float | None, arguments: Mapping[str, Any]
    ) -> Iterator[wire.Progress | wire.Result]:
        deadline = None if timeout is None else time.monotonic() + timeout
        with connect(entry.control, timeout) as connection:
            lines = wire.Lines()
            try:
                with suppress(BrokenPipeError):  # it hung up already, and said why
                    connection.sendall(wire.request(verb, **arguments))
                while data := _receive(connection, deadline):
                    for line in lines.feed(data):
                        yield wire.read_answer(line)
            except TimeoutError:
                why = f"{verb} did not end within {timeout:g} s; it goes on"
                raise MachineError(f"{entry.name}: {why}") from None
            except OSError as error:
                raise MachineError(f"{entry.name}: {error.strerror}") from error


def _receive(connection: socket.socket, deadline: float | None) -> bytes:
    if deadline is not None:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
    return connection.recv(65536)


def _matching(target: str, names: list[str]) -> list[str]:
    if target == "all":
        return names
    if len(target) > 1 and target.startswith("/") and target.endswith("/"):
        try:
            pattern = re.compile(target[1:-1])
        except re.error as error:
            raise UsageError(f"{target} is no regular expression: {error}") from None
        return [name for name in names if pattern.search(name)]
    return [name for name in names if name == target]


def _no_such_app(target: str, names: list[str]) -> str:
    import difflib  # noqa: PLC0415 - only for the unlucky

    near = difflib.get_close_matches(target, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else "; `prefork list` shows what there is"
    return f"there is no app {target!r}{hint}"
