"""Choose the certificate for the host name that a client asks for (RFC 6125 section 6.4)."""

import sys
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class HostnameMap(Generic[Value]):
    """Maps host names, with ``*.`` for wildcards, to values.

    An exact name takes precedence over a wildcard, an earlier value over a later one. A client
    that sends no name, or an unknown one, gets the first value.
    """

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
        """Return the value for a host name; ``host_name`` None: the client sent none."""
        if host_name is None:
            return self._all[0]
        name = host_name.lower().removesuffix(".")
        found = self._exact.get(name)
        if found is None:
            # A wildcard matches exactly one label.
            found = self._wildcards.get(name.partition(".")[2])
        return self._all[0] if found is None else found


def silence_undecodable_server_names() -> None:
    """Keep the ssl module from printing a traceback for a server name that is not ASCII.

    Such a name ends the handshake, as it should; but clients must not be able to fill the log.
    Replaces ``sys.unraisablehook``.
    """
    others = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if unraisable.exc_type is not UnicodeDecodeError or type(unraisable.object) is not bytes:
            others(unraisable)

    sys.unraisablehook = hook
