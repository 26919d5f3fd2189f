"""Which certificate a client asked for (RFC 6125 section 6.4)."""

import sys
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class HostnameMap(Generic[Value]):
    """Things by the names that they are for. What was added first wins, an exact name beats a
    wildcard, and who asks for nothing that is here gets the very first."""

    def __init__(self, entries: Iterable[tuple[Iterable[str], Value]]) -> None:
        self._exact: dict[str, Value] = {}
        self._wildcards: dict[str, Value] = {}
        self._all: list[Value] = []
        for names, value in entries:
            self._all.append(value)
            for name in names:
                table = self._wildcards if name.startswith("*.") else self._exact
                table.setdefault(name.removeprefix("*."), value)

    def select(self, host_name: str | None) -> Value:
        """``asked``: the host name that the client sent, if it sent one."""
        if host_name is None:
            return self._all[0]
        name = host_name.lower().removesuffix(".")
        found = self._exact.get(name)
        if found is None:
            # A wildcard stands for one label.
            found = self._wildcards.get(name.partition(".")[2])
        return self._all[0] if found is None else found


def silence_undecodable_server_names() -> None:
    """A name that is no ASCII ends the handshake, as it should; but the ssl module also prints a
    traceback, and what clients send must not fill our log."""
    others = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if unraisable.exc_type is not UnicodeDecodeError or type(unraisable.object) is not bytes:
            others(unraisable)

    sys.unraisablehook = hook
