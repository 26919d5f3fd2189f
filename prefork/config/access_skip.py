"""Parse a pattern of requests that the access log leaves out. PURE.

/healthz                a path that begins so
204   2xx               a status, or all of a class
kube-probe              any other text: a part of the User-Agent, in capitals or small letters
path:x status:x agent:x the same, for a text that looks like another kind
/healthz,2xx            all of them at once: a health check that fails is logged
"""

import re
from dataclasses import dataclass

EXPECTED = (
    "a path prefix such as /healthz, a status such as 204 or 2xx, or a part of the User-Agent; "
    "with a comma between them all must match"
)

_KINDS = ("path", "status", "agent")
_STATUS = re.compile("[1-5]([0-9][0-9]|xx)")


@dataclass(frozen=True, slots=True)
class SkipPattern:
    """One pattern. An empty field matches every request; all that are set must match."""

    path: str = ""
    status: str = ""
    agent: str = ""

    def __str__(self) -> str:
        return ",".join(_format(kind, text) for kind in _KINDS if (text := getattr(self, kind)))

    @property
    def statuses(self) -> range:
        """The statuses that match; empty: the status does not matter."""
        if not self.status:
            return range(0)
        if self.status.endswith("xx"):
            return range(int(self.status[0]) * 100, int(self.status[0]) * 100 + 100)
        return range(int(self.status), int(self.status) + 1)


def parse_skip_pattern(text: str) -> SkipPattern:
    """Parse one pattern. Raises ValueError, which says what was expected."""
    found: dict[str, str] = {}
    for kind, value in map(_split_kind, text.split(",")):
        if not value.strip() or not (value.isascii() and value.isprintable()):
            raise ValueError(f"printable ASCII: {EXPECTED}")
        if kind == "status" and not _STATUS.fullmatch(value.lower()):
            raise ValueError("a status such as 204 or 2xx")
        if kind in found:
            raise ValueError(
                f"one {kind} in a pattern, because all of its parts must match; repeat the option"
            )
        found[kind] = value.lower() if kind != "path" else value
    return SkipPattern(**found)


def _split_kind(part: str) -> tuple[str, str]:
    kind, colon, value = part.partition(":")
    if colon and kind in _KINDS:
        return kind, value
    return _guess_kind(part), part


def _guess_kind(text: str) -> str:
    if text.startswith("/"):
        return "path"
    return "status" if _STATUS.fullmatch(text.lower()) else "agent"


def _format(kind: str, text: str) -> str:
    return text if _split_kind(text) == (kind, text) else f"{kind}:{text}"
