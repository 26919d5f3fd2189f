"""Sends one input in all ways in which it can arrive, and compares the outcomes with h11's.

The app must see a prefix of the requests that h11 sees. It must see the same requests however the
bytes are cut, whether the app streams or not, and however often the same bytes were sent before.
Any difference raises Finding.
"""

from dataclasses import dataclass

from prefork.http.http1.connection import Connection
from prefork.http.limits import Limits
from tests.fuzz.memory import Client, MemoryServer, Seen
from tests.fuzz.reference import STRICTER, Read, understand

STATUSES = {200, 400, 413, 414, 417, 431, 501, 505}


class Finding(AssertionError):  # noqa: N818 - a finding is an error
    """A difference that is not allowed; its message has the bytes."""


@dataclass(frozen=True)
class Outcome:
    """The requests, statuses and state of one connection after its bytes."""

    seen: tuple[Seen, ...]
    statuses: tuple[int, ...]
    closed: bool

    def agrees(self, whole: "Outcome") -> bool:
        """Return whether ``whole``, the outcome of the same bytes in one piece, is the same.

        The status of a wrong method may be 501 or 400, because it depends on how much of the method
        has arrived.
        """
        one = self.statuses, self.seen, self.closed
        other = whole.statuses, whole.seen, whole.closed
        if self.statuses[-1:] in ((400,), (501,)) and whole.statuses[-1:] in ((400,), (501,)):
            one, other = (self.statuses[:-1], *one[1:]), (whole.statuses[:-1], *other[1:])
        return one == other


class Nibbling(Connection):
    """A connection that parses a few bytes at once, and no further while two requests wait."""

    __slots__ = ()
    slice_size = 3
    max_waiting = 2


class Trial:
    """Servers, spooling and streaming, that live through all inputs, as workers do.

    The third one takes all bodies for large ones; the last two take each piece for a long one.
    """

    def __init__(self) -> None:
        spools = (False, True, False, False, True)
        self._servers = [MemoryServer(streams, Limits()) for streams in spools]
        self._servers[2].http1.bulk_receivers.min_size = 0
        self._servers[2].http1.bulk_receivers.low_water_mark = 4
        for server in self._servers[3:]:
            server.protocol.kind = Nibbling

    def close(self) -> None:
        """End the servers."""
        for server in self._servers:
            server.__exit__()

    def run(self, data: bytes, pieces: list[bytes]) -> str:
        """Send an input in all ways. Raises Finding.

        Returns the key of STRICTER that explains why prefork refused a request that h11 accepts;
        empty: it refused none.
        """
        expected = understand(data)
        why = ""
        for server in self._servers:
            whole = self._send(server, [data], data)
            why = self._compare(whole, expected.requests, data)
            ways = {"cut": pieces, "again": [data], "and again": [data]}
            if len(data) < 300:
                ways["bytewise"] = [data[i : i + 1] for i in range(len(data))]
            for way, parts in ways.items():
                outcome = self._send(server, parts, data)
                if not outcome.agrees(whole):
                    raise Finding(f"whole: {whole}\n{way}: {outcome}\n{data!r}\n{parts!r}")
        return why

    def _send(self, server: MemoryServer, parts: list[bytes], data: bytes) -> Outcome:
        server.take_seen()
        client = server.connect()
        try:
            client.send(*parts)
        except Exception as error:
            raise Finding(f"{error!r}\n{data!r}\n{parts!r}") from error
        outcome = self._outcome(server, client, data)
        client.finish().leave()
        if server.state.connections:
            raise Finding(f"a connection stays\n{data!r}")
        return outcome

    def _outcome(self, server: MemoryServer, client: Client, data: bytes) -> Outcome:
        statuses = [status for status in client.statuses if status != 100]
        seen = tuple(server.take_seen())
        if not STATUSES.issuperset(statuses):
            raise Finding(f"answers {statuses}\n{data!r}")
        if statuses.count(200) != len(seen) or any(s != 200 for s in statuses[:-1]):
            raise Finding(f"answers {statuses} to {seen}\n{data!r}")
        if statuses and statuses[-1] != 200 and not client.closed:
            raise Finding(f"open after {statuses}\n{data!r}")
        return Outcome(seen, tuple(statuses), client.closed)

    def _compare(self, outcome: Outcome, expected: list[Read], data: bytes) -> str:
        for index, seen in enumerate(outcome.seen):
            if index >= len(expected):
                raise Finding(f"the app sees what h11 refuses: {seen}\n{data!r}")
            if seen != expected[index].seen:
                raise Finding(f"app: {seen}\nh11: {expected[index].seen}\n{data!r}")
        if len(outcome.seen) == len(expected):
            return ""
        refused = expected[len(outcome.seen)]
        for name, (_, applies) in STRICTER.items():
            if applies(refused):
                return name
        raise Finding(f"refused with {outcome.statuses} for no reason: {refused}\n{data!r}")
