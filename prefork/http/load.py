"""How much a worker has to do, as one number that its siblings can read and compare.

Who has fewer requests in flight has less; then who has fewer connections; then whose turn is longer
ago. One word, so that it is read whole, and a request costs two stores: when its turn comes, and
when it was answered. There is room for a million of each.
"""

from typing import Protocol

CONNECTION = 1 << 24
REQUEST = 1 << 44
TURNS = CONNECTION - 1
"""The bits of the turn: when it last took a connection."""

NOBODY = (1 << 64) - 1
"""What others see of one that takes nothing: it is not ready, or full, or leaves."""


class Words(Protocol):
    """Some numbers in a row: a list, or a memoryview."""

    def __setitem__(self, index: int, value: int, /) -> None:
        """Write one."""


class _Nowhere:
    def __setitem__(self, _index: int, _value: int, /) -> None:
        """Nobody looks."""


class Load:
    """Of one worker: ``word`` is also at ``place`` of ``words``, which its siblings see.

    Hidden at first. What is written while it is hidden goes where nobody looks.
    """

    __slots__ = ("_expected", "_public", "place", "word", "words")

    def __init__(self, words: Words, place: int) -> None:
        self._public = words
        self.place = place
        self.word = 0
        self._expected = 0
        self.hide()

    @property
    def requests(self) -> int:
        """How many are in flight."""
        return self.word // REQUEST - self._expected

    def show(self) -> None:
        """It takes connections."""
        self.words = self._public
        self.words[self.place] = self.word

    def hide(self) -> None:
        """It takes none: nobody is to wait for it."""
        self._public[self.place] = NOBODY
        self.words = _Nowhere()

    def change(self, by: int) -> None:
        """Add to it; where every nanosecond counts this is done in place."""
        self.words[self.place] = self.word = self.word + by

    def expect(self, requests: int) -> None:
        """So many more count although they are not in flight: those of new connections."""
        self._expected += requests
        self.change(requests * REQUEST)
