"""How much a worker has to do, as one number that its siblings can read and compare.

Who has fewer requests in flight has less; then who has fewer connections; then whose turn is longer
ago. One word, so that it is read whole, and a request costs two stores: when its turn comes, and
when it was answered. There is room for a million of each.
"""

from collections.abc import Callable
from typing import Protocol

CONNECTION = 1 << 24
REQUEST = 1 << 44
TURN_MASK = CONNECTION - 1
"""The bits of the turn: when it last took a connection."""

UNAVAILABLE = (1 << 64) - 1
"""What others see of one that takes nothing: it is not ready, or full, or leaves."""


class WordArray(Protocol):
    """Some numbers in a row: a list, or a memoryview."""

    def __setitem__(self, index: int, value: int, /) -> None:
        """Write one."""


class _DiscardingArray:
    def __setitem__(self, _index: int, _value: int, /) -> None:
        """Nobody looks."""


class _ChangeNotifier:
    """Stands where a load is written, and tells of the first change."""

    def __init__(self, load: "Load", words: WordArray, on_change: Callable[[], None]) -> None:
        self._load = load
        self.words = words
        self._on_change = on_change

    def __setitem__(self, index: int, value: int, /) -> None:
        self.words[index] = value
        self._load.words = self.words
        self._on_change()


class Load:
    """Of one worker: ``word`` is also at ``place`` of ``words``, which its siblings see.

    Hidden at first. What is written while it is hidden goes where nobody looks.
    """

    __slots__ = ("_expected", "_public", "index", "word", "words")

    words: WordArray

    def __init__(self, words: WordArray, place: int) -> None:
        self._public = words
        self.index = place
        self.word = 0
        self._expected = 0
        self.words = _DiscardingArray()
        self.mark_unavailable()

    @property
    def requests_in_flight(self) -> int:
        """How many are in flight."""
        return self.word // REQUEST - self._expected

    def mark_available(self) -> None:
        """It takes connections."""
        self._write_to(self._public)
        self._public[self.index] = self.word

    def mark_unavailable(self) -> None:
        """It takes none: nobody is to wait for it."""
        self._public[self.index] = UNAVAILABLE
        self._write_to(_DiscardingArray())

    def _write_to(self, words: WordArray) -> None:
        if isinstance(self.words, _ChangeNotifier):
            self.words.words = words
        else:
            self.words = words

    def notify_on_next_change(self, on_change: Callable[[], None]) -> None:
        """Call ``on_change`` once, with the next change, which it must not follow by another.

        A worker with nothing in flight learns by it that a request or a connection has come. Any
        check of the same on the way of each request would cost all that come to a busy worker.
        """
        self.cancel_notification()
        self.words = _ChangeNotifier(self, self.words, on_change)

    def cancel_notification(self) -> None:
        """Undo it."""
        if isinstance(self.words, _ChangeNotifier):
            self.words = self.words.words

    def add(self, by: int) -> None:
        """Add to it; where every nanosecond counts this is done in place."""
        self.words[self.index] = self.word = self.word + by

    def add_expected_requests(self, requests: int) -> None:
        """So many more count although they are not in flight: those of new connections."""
        self._expected += requests
        self.add(requests * REQUEST)
