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

EXPECTED_READINESS = "auto, manual, notify, connect:PORT or a duration such as 2s"

WORDS = ("auto", "manual", "notify")


@dataclass(frozen=True, slots=True)
class ReadyCondition:
    """One of the above: a word alone, ``after`` with ``delay``, ``connect`` with ``address``."""

    mode: str = "auto"
    delay: float = 0.0
    address: Address | None = None


def parse_readiness(raw: object, duration: Callable[[object], float]) -> ReadyCondition:
    """Raises ValueError."""
    text = str(raw).strip()
    if text in WORDS:
        return ReadyCondition(text)
    word, colon, place = str(raw).lstrip().partition(":")
    if word == "connect" and colon:
        # A path may end with a space.
        address = parse_address(place if place.startswith("unix:") else place.strip())
        if not isinstance(address, TcpAddress | UnixAddress):
            raise ValueError("connect:PORT, connect:HOST:PORT or connect:unix:PATH")
        return ReadyCondition("connect", address=address)
    try:
        return ReadyCondition("after", delay=duration(raw))
    except ValueError:
        raise ValueError(EXPECTED_READINESS) from None


def show_readiness(readiness: ReadyCondition, show_duration: Callable[[float], str]) -> str:
    """As a person would write it."""
    if readiness.mode == "after":
        return show_duration(readiness.delay)
    if readiness.mode == "connect":
        return f"connect:{readiness.address}"
    return readiness.mode
