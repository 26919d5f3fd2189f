from collections.abc import Iterable
from typing import Protocol

from prefork._speed.head_reader import PlainHead
from prefork.http.peer import Peer

KINDS: dict[str, int]

class Clock(Protocol):
    until: float
    common: str
    iso: str
    def advance(self) -> None: ...

class PlainLines:
    def __init__(self, pieces: Iterable[tuple[str, bytes, bytes, bool]], clock: Clock) -> None: ...
    def format(
        self, peer: Peer, head: PlainHead, started_at: float, status: int, body_size: int
    ) -> str | None: ...
