"""Parse the option that says when a worker counts as ready. PURE.

auto       an app: when it is loaded and accepts connections; a program: when it sends READY=1, or
           accepts on the sockets of --bind; without --bind: or has run for --min-uptime
manual     when main(listener) calls prefork.ready()
notify     when a program sends READY=1 (sd_notify(3))
2s         when a program has run for this time
connect:A  when a program listens on the address A with a socket of its own
"""

from collections.abc import Callable
from dataclasses import dataclass

from prefork.config.addresses import Address, TcpAddress, UnixAddress, parse_address

EXPECTED_READY_CONDITION = "auto, manual, notify, connect:PORT or a duration such as 2s"

MODES = ("auto", "manual", "notify")


@dataclass(frozen=True, slots=True)
class ReadyCondition:
    """The condition on which a worker counts as ready.

    ``mode`` is one of MODES; or ``after``, with ``delay`` in seconds; or ``connect``, with
    ``address``.
    """

    mode: str = "auto"
    delay: float = 0.0
    address: Address | None = None


def parse_ready_condition(raw: object, parse_duration: Callable[[object], float]) -> ReadyCondition:
    """Parse a condition. Raises ValueError, which says what was expected.

    ``parse_duration`` parses a time such as ``2s``.
    """
    text = str(raw).strip()
    if text in MODES:
        return ReadyCondition(text)
    word, colon, place = str(raw).lstrip().partition(":")
    if word == "connect" and colon:
        # A path may end with a space.
        address = parse_address(place if place.startswith("unix:") else place.strip())
        if not isinstance(address, TcpAddress | UnixAddress):
            raise ValueError("connect:PORT, connect:HOST:PORT or connect:unix:PATH")
        return ReadyCondition("connect", address=address)
    try:
        return ReadyCondition("after", delay=parse_duration(raw))
    except ValueError:
        raise ValueError(EXPECTED_READY_CONDITION) from None


def format_ready_condition(
    condition: ReadyCondition, format_duration: Callable[[float], str]
) -> str:
    """Format a condition the way that ``parse_ready_condition`` reads it."""
    if condition.mode == "after":
        return format_duration(condition.delay)
    if condition.mode == "connect":
        return f"connect:{condition.address}"
    return condition.mode
