"""The lease of a leader over several machines, as one candidate knows it. Pure.

    state       event                                                          next state
    candidate   the server granted the lease                                   holder
    holder      the server renewed it                                          holder
    holder      the server says that it belongs to no candidate or another     lost
    holder      its time is over: ``valid`` seconds since its last granted request began  lost
    lost        the work of the term has ended                                 candidate

A worker is a candidate while its master names it; the master names one at a time.

Design
------
- **A holder stops before its lease can end on the server.** It counts from the moment at which it
  sent the request, which is before the server granted it, and its time is shorter than the
  server's. No clock is compared with that of another machine. The difference of both times is also
  what callbacks have to end in, before another machine can lead.
- **A holder asks again when the server did not answer,** until its time is over: a restart of the
  server that takes a few seconds changes no leader.
- **All times are from a clock that also runs while the machine sleeps** (CLOCK_BOOTTIME). On the
  monotonic clock a laptop that was closed for an hour would lead when it wakes.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """The times of a lease in seconds.

    ``lease``: for which the server keeps it without a renewal. ``valid``: for which a holder counts
    on it, from the moment at which it sent the request. ``renewal``: from one renewal to the next.
    ``retry``: after which a candidate asks again, and a holder whose request failed. ``call``: the
    longest time of a request; a holder begins none that may end after its time.
    """

    lease: float = 10.0
    valid: float = 8.0
    renewal: float = 2.0
    retry: float = 1.0
    call: float = 2.0


@dataclass(slots=True)
class LeaseState:
    """The lease as one candidate knows it. Times are seconds of one clock of its machine.

    ``token``: the fencing token of its term; 0: it does not lead. ``valid_until``: when its term
    ends without a renewal. ``is_ending``: a term was lost, and its work goes on.
    ``next_call_at``: when the next request is due.
    """

    times: LeaseTimes = LeaseTimes()
    token: int = 0
    valid_until: float = 0.0
    is_ending: bool = False
    next_call_at: float = 0.0

    def is_held(self, now: float) -> bool:
        """Return whether the candidate is the holder at this moment."""
        return self.token != 0 and now < self.valid_until

    def granted(self, token: int, sent_at: float, now: float) -> bool:
        """Note that the server granted or renewed the lease, by a request that was sent at
        ``sent_at``; return whether a term begins."""
        begins = self.token == 0
        if begins and now >= sent_at + self.times.valid:  # the process was stopped meanwhile
            self.next_call_at = now
            return False
        self.token = token
        self.valid_until = sent_at + self.times.valid
        self.next_call_at = sent_at + self.times.renewal
        return begins

    def refused(self, now: float, wait: float) -> bool:
        """Note that the lease is another's, for ``wait`` seconds more at most; return whether a
        term was lost."""
        self.next_call_at = now + min(max(wait, 0.0), self.times.retry)
        return self._lose()

    def failed(self, now: float) -> None:
        """Note that the server did not answer as it should."""
        self.next_call_at = now + self.times.retry

    def has_expired(self, now: float) -> bool:
        """Return whether a term was lost because its time is over."""
        return self.token != 0 and now >= self.valid_until and self._lose()

    def _lose(self) -> bool:
        self.is_ending = self.token != 0 or self.is_ending
        was_held, self.token = self.token != 0, 0
        return was_held

    def end_term(self) -> None:
        """Note that the work of the lost term has ended: this is a candidate again."""
        self.is_ending = False

    def wait(self, now: float) -> float | None:
        """Return the seconds until the next request may be sent, 0.0 for now; None: not before
        ``has_expired`` or ``end_term``."""
        latest = self.valid_until - self.times.call
        if self.is_ending or (self.token and max(now, self.next_call_at) > latest):
            return None
        return max(0.0, self.next_call_at - now)
