"""The load of a worker, as one number in shared memory that its siblings read and compare.

The number orders workers by requests in flight, then by open connections, then by the time of the
last accept. The upper 20 bits count requests, the next 20 connections (a million of each), the
lower 24 hold the time.

Design
------
- **One machine word.** A reader always sees a whole value, without a lock. A request costs two
  stores: one when the app is called, one when the response has ended.
- **A new connection counts as a request until its first byte arrives** (pending_connections.py).
  Otherwise a worker accepts three connections before it sees the first of their requests. It is
  counted at once, not a turn of the loop later, because the loop may be blocked in between.
- **A reader outside finds the requests in flight in this word** (``count_requests``), at any
  moment, also while a call blocks the loop. So the word goes on beside the public one while
  siblings see UNAVAILABLE, and ``expected`` is public, too. A new connection pays for that, a
  request does not.
- **The wake-up of an idle worker costs busy workers nothing.** A worker with nothing in flight
  must notice the next request at once. Rejected: a check in the path of each request. Instead
  ``words`` is replaced by an object whose first store calls back.
"""

from collections.abc import Callable
from typing import Protocol

# Bits 0-23: time of the last accept; 24-43: connections; 44-63: requests.
CONNECTION = 1 << 24
REQUEST = 1 << 44
TURN_MASK = CONNECTION - 1
"""The bits that hold the time of the last accept."""

UNAVAILABLE = (1 << 64) - 1
"""The load that siblings see of a worker that accepts nothing: it is not ready, at its limit, or
shutting down."""


class WordArray(Protocol):
    """A writable sequence of 64-bit numbers: a memoryview of the scoreboard, or a list."""

    def __setitem__(self, index: int, value: int, /) -> None:
        """Store one number."""


HIDDEN, EXPECTED = 0, 1
"""Indexes in the own words of a load: the word while siblings see UNAVAILABLE, and the requests
that new connections are expected to send."""


def count_requests(word: int, hidden: int, expected: int) -> int | None:
    """Return the requests in flight that the words of a worker tell; None: they tell nothing.

    ``word``: the one that siblings see. ``hidden`` and ``expected``: its own words. Those of a
    worker that counts none, such as a program, are UNAVAILABLE and zeros.
    """
    counted = hidden if word == UNAVAILABLE else word
    if word == UNAVAILABLE and not hidden:
        return None
    return max(0, counted // REQUEST - expected)


class _HiddenWord:
    """Takes the place of a load's words while siblings see UNAVAILABLE."""

    def __init__(self, own: WordArray) -> None:
        self._own = own

    def __setitem__(self, _index: int, value: int, /) -> None:
        self._own[HIDDEN] = value


class _ChangeNotifier:
    """Takes the place of a load's words, and calls back at the first store."""

    def __init__(self, load: "Load", words: WordArray, on_change: Callable[[], None]) -> None:
        self._load = load
        self.words = words
        self._on_change = on_change

    def __setitem__(self, index: int, value: int, /) -> None:
        self.words[index] = value
        self._load.words = self.words
        self._on_change()


class Load:
    """The load of one worker: ``word`` here, and a copy at ``words[index]`` for its siblings.

    ``own``: two words of its own, HIDDEN and EXPECTED, for readers outside.
    A new load is unavailable: siblings see UNAVAILABLE, and stores to ``words`` go to HIDDEN.
    """

    __slots__ = ("_expected", "_own", "_public", "index", "word", "words")

    words: WordArray

    def __init__(self, words: WordArray, index: int, own: WordArray | None = None) -> None:
        self._public = words
        self._own = [0, 0] if own is None else own
        self.index = index
        self.word = 0
        self._expected = 0
        self.words = _HiddenWord(self._own)
        self.mark_unavailable()

    @property
    def requests_in_flight(self) -> int:
        """The number of requests in flight, without those that new connections stand for."""
        return self.word // REQUEST - self._expected

    def mark_available(self) -> None:
        """Show the load to the siblings: the worker accepts connections."""
        self._write_to(self._public)
        self._public[self.index] = self.word

    def mark_unavailable(self) -> None:
        """Show UNAVAILABLE to the siblings, so that none of them leaves a connection to this
        worker."""
        self._own[HIDDEN] = self.word
        self._public[self.index] = UNAVAILABLE
        self._write_to(_HiddenWord(self._own))

    def _write_to(self, words: WordArray) -> None:
        # A pending callback must survive the change between shown and hidden.
        if isinstance(self.words, _ChangeNotifier):
            self.words.words = words
        else:
            self.words = words

    def notify_on_next_change(self, on_change: Callable[[], None]) -> None:
        """Call ``on_change`` once, after the next change. ``on_change`` must not change the load.

        A worker with nothing in flight learns by this that a request or a connection arrived.
        """
        self.cancel_notification()
        self.words = _ChangeNotifier(self, self.words, on_change)

    def cancel_notification(self) -> None:
        """Drop the callback of ``notify_on_next_change``, if it was not called yet."""
        if isinstance(self.words, _ChangeNotifier):
            self.words = self.words.words

    def add(self, by: int) -> None:
        """Add to the load, in multiples of REQUEST and CONNECTION.

        The connection does the same in place for each request, because a call costs time.
        """
        self.words[self.index] = self.word = self.word + by

    def add_connection(self) -> None:
        """Count a new connection, and the request that it is expected to send."""
        self._expected += 1
        self._own[EXPECTED] = self._expected
        self.words[self.index] = self.word = self.word + (CONNECTION + REQUEST)

    def add_expected_requests(self, requests: int) -> None:
        """Count so many requests (negative: fewer) that new connections are expected to send.

        They are part of the load but not of ``requests_in_flight``.
        """
        self._expected += requests
        self._own[EXPECTED] = self._expected
        self.add(requests * REQUEST)
