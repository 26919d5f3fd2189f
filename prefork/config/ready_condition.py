"""How a worker comes to count as ready. PURE.

auto       an app: when it is loaded and accepts; a program: when it says READY=1, at the latest
           when it has lived for --min-uptime
manual     main(listener) calls prefork.ready()
notify     a program says READY=1 (sd_notify(3)), and no sooner
2s         a program has lived for so long
connect:A  a program listens at A, a socket of its own
"""

from collections.abc import Callable
from dataclasses import dataclass

from prefork.config.addresses import Address, TcpAddress, UnixAddress, parse_address

EXPECTED_READY_CONDITION = "auto, manual, notify, connect:PORT or a duration such as 2s"

MODES = ("auto", "manual", "notify")


@dataclass(frozen=True, slots=True)
class ReadyCondition:
    """One of the above: a word alone, ``after`` with ``delay``, ``connect`` with ``address``."""

    mode: str = "auto"
    delay: float = 0.0
    address: Address | None = None


def parse_ready_condition(raw: object, parse_duration: Callable[[object], float]) -> ReadyCondition:
    """Raises ValueError."""
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
    """As a person would write it."""
    if condition.mode == "after":
        return format_duration(condition.delay)
    if condition.mode == "connect":
        return f"connect:{condition.address}"
    return condition.mode
