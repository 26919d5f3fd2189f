"""The lease by which one worker leads over several machines: kept on the server of the store.

Each master names one of its workers, as it does without a server. The worker that is named asks the
server for the lease, in a thread of its own, and leads while it holds it (lease_state.py).

The record on the server is a hash: ``owner`` (which master), ``token`` (the fencing token) and
``until`` (the end of the lease in the server's time, milliseconds).

Design
------
- **The worker keeps the lease, not the master.** The master waits for no server and imports no
  client of one, and what happens in the process of the leader ends its lease, too. Rejected: a
  process of each master that keeps it. It would go on renewing for a leader that hangs.
- **The owner is the master.** When a leader died, the next worker that its master names takes the
  lease over at once: the kernel has said that the holder is gone. A master of another machine waits
  for the end of the lease.
- **The lease ends by the server's clock alone,** which the script reads, so the clocks of the
  machines do not matter. The record has no time to live: a server without memory would remove keys
  that have one (``volatile-ttl``), and grant the lease a second time.
- **A server that may have forgotten a lease grants none for as long as one lasts:** after its
  start, because it may have begun with an old copy, and when it has no record, because a new app
  looks like one whose data were lost. So the first leader of an app on a server is named after ten
  seconds. The leases of C. Gray and D. Cheriton (1989) recover in the same way.
- **The token rises also where the record was lost:** it is at least the server's time in
  microseconds.
- **Nothing is asked of the server before the app asks who leads** (``leader()``, ``on_leader``).
"""

import logging
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable, Sequence
from time import CLOCK_BOOTTIME, clock_gettime

from prefork.errors import PreforkError
from prefork.printable import printable_line
from prefork.store.lease_state import LeaseState, LeaseTimes
from prefork.store.redis_backend import key_on_server
from prefork.store.redis_client import open_client
from prefork.unix.store_place import StorePlace, call_at_end

CALL_TIMEOUT = 1.0
"""Seconds for each wait for the server: for the connection, and for the answer."""
RELEASE_TIMEOUT = 1.0
"""Seconds for which the end of a worker waits until the server has the lease back."""
LONGEST_SLEEP = 1.0

_ACQUIRE = """
local time = redis.call('time')
local now, lease = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[2])
local found = redis.call('hmget', KEYS[1], 'owner', 'token', 'until')
local owner, token, ends = found[1], tonumber(found[2] or 0), tonumber(found[3] or 0)
if not owner then
    local free = string.format('%.0f', now + lease)
    redis.call('hset', KEYS[1], 'owner', '', 'token', '0', 'until', free)
    return {'0', lease, ''}
end
if ends > now + lease then -- the clock of the server was set back
    ends = now + lease
    redis.call('hset', KEYS[1], 'until', string.format('%.0f', ends))
end
if owner ~= ARGV[1] and ends > now then return {'0', ends - now, owner} end
local uptime = tonumber(string.match(redis.call('info', 'server'), 'uptime_in_seconds:(%d+)'))
if uptime and uptime * 1000 <= lease then return {'0', lease - uptime * 1000 + 1000, ''} end
token = string.format('%.0f', math.max(token + 1, time[1] * 1000000 + time[2]))
redis.call('hset', KEYS[1], 'owner', ARGV[1], 'token', token,
           'until', string.format('%.0f', now + lease))
return {token, lease, owner}
"""
_RENEW = """
local time = redis.call('time')
local now, lease = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[3])
local found = redis.call('hmget', KEYS[1], 'owner', 'token', 'until')
if found[1] ~= ARGV[1] or found[2] ~= ARGV[2] then return {'0', 0, found[1] or ''} end
redis.call('hset', KEYS[1], 'until', string.format('%.0f', now + lease))
return {ARGV[2], lease, ARGV[1]}
"""
_RELEASE = """
local found = redis.call('hmget', KEYS[1], 'owner', 'token')
if found[1] ~= ARGV[1] or found[2] ~= ARGV[2] then return 0 end
return redis.call('hset', KEYS[1], 'owner', '', 'until', '0')
"""


class LeaderLease:
    """The lease of one worker. Its thread begins when the master has named the worker and the app
    asks who leads.

    ``owner``: the name of the master on the server. ``label``: of the worker, for the log.
    ``show``: called with what ``show`` and the status page tell: a word of LEASE_STATES, the token
    and the end of the term on CLOCK_BOOTTIME.
    """

    def __init__(
        self,
        place: StorePlace,
        owner: str,
        label: str,
        log: logging.Logger,
        show: Callable[[str, int, float], None],
        times: LeaseTimes = LeaseTimes(),  # noqa: B008 - it is frozen
    ) -> None:
        self._lease_ms = int(times.lease * 1000)
        self._place = place
        self._key = key_on_server("prefork-leader", place)
        self._owner = owner
        self._label = label
        self._log = log
        self._show = show
        self._state = LeaseState(times)
        self._told = ""
        self._is_stopped = False
        self._wakeup = allocate_lock()
        self._wakeup.acquire()
        self._running = allocate_lock()
        self._on_granted: Callable[[int], None] = lambda _token: None
        self._on_lost: Callable[[], None] = lambda: None

    def is_held(self) -> bool:
        """Return whether this worker has the lease at this moment."""
        return self._state.is_held(_now())

    def start(self, on_granted: Callable[[int], None], on_lost: Callable[[], None]) -> None:
        """Ask for the lease, until ``stop``.

        ``on_granted``: called with the fencing token when a term begins, ``on_lost``: when it ends,
        both in the thread of the lease. Raises RuntimeError if no thread can be started.
        """
        self._on_granted, self._on_lost = on_granted, on_lost
        self._running.acquire()
        try:
            start_new_thread(self._run, ())
        except RuntimeError:
            self._running.release()
            raise
        call_at_end(self._wait_for_release)

    def end_term(self) -> None:
        """Ask for the lease again, because the work of the lost term has ended."""
        self._state.end_term()
        self._wake_up()

    def stop(self) -> None:
        """Give the lease back, in the thread, and ask for it no more."""
        self._is_stopped = True
        self._wake_up()

    def _wake_up(self) -> None:
        try:
            self._wakeup.release()
        except RuntimeError:
            pass  # the thread is about to wake up already

    def _wait_for_release(self) -> None:
        """Wait at the end of the worker until the lease was given back, but not for long."""
        self.stop()
        if self._running.acquire(timeout=RELEASE_TIMEOUT):
            self._running.release()

    # The thread.

    def _run(self) -> None:
        try:
            while not self._is_stopped:
                self._wakeup.acquire(timeout=self._step())
            if self._state.token:
                self._release()
        except Exception:
            self._log.exception("this is a bug in prefork, please report it")
        finally:
            self._running.release()

    def _step(self) -> float:
        """Do what is due; return the seconds until the next step."""
        state, now = self._state, _now()
        if state.has_expired(now):
            self._lose("unavailable", "the server of the store did not renew its lease in time")
        wait = state.wait(now)
        if wait is None:
            return min(LONGEST_SLEEP, max(0.0, state.valid_until - now)) or LONGEST_SLEEP
        if wait == 0.0:
            self._ask(now)
            return 0.0
        return min(wait, LONGEST_SLEEP)

    def _ask(self, sent_at: float) -> None:
        """Ask the server for the lease, or for its renewal."""
        state = self._state
        held = [str(state.token)] if state.token else []
        script = _RENEW if state.token else _ACQUIRE
        try:
            token, wait, owner = self._call(script, *held)
        except PreforkError as error:
            state.failed(_now())
            self._tell("unavailable", f"the leader is not known: {error}")
            return
        now = _now()
        if token:
            begins = state.granted(token, sent_at, now)
            if state.token:
                self._tell("held", "")
            if begins:
                self._log.info("%s has the lease of the leader, token %d", self._label, token)
                self._on_granted(token)
        elif state.refused(now, wait):
            self._lose(
                "waiting", "the server of the store gave its lease to another, or lost its data"
            )
        elif owner:
            self._tell("elsewhere", f"{owner} leads")
        else:
            self._tell("waiting", "the server of the store waits for the end of the last lease")

    def _call(self, script: str, *held: str) -> tuple[int, float, str]:
        """Return the token (0: refused), the seconds until it is of use to ask again, and who has
        the lease. Raises PreforkError."""
        client = open_client(self._place.kind, CALL_TIMEOUT)
        arguments = [self._owner, *held, self._lease_ms]
        return client.run(script, [self._key], arguments, _decode_answer)

    def _lose(self, state: str, why: str) -> None:
        self._log.warning("%s leads no more: %s", self._label, why)
        self._tell(state, "")
        self._on_lost()

    def _release(self) -> None:
        """Give the lease back; without an answer it ends by itself."""
        client = open_client(self._place.kind, CALL_TIMEOUT)
        arguments = [self._owner, str(self._state.token)]
        try:
            client.run(_RELEASE, [self._key], [*arguments], int)
        except PreforkError as error:
            self._log.warning("%s cannot give the lease of the leader back: %s", self._label, error)

    def _tell(self, state: str, text: str) -> None:
        """Show the state, and log a text that is not that of the last time."""
        self._show(state, self._state.token, self._state.valid_until)
        if text and text != self._told:
            self._log.info("%s does not lead: %s", self._label, text)
        self._told = text


def _now() -> float:
    """Return the seconds of a clock that also runs while the machine sleeps."""
    return clock_gettime(CLOCK_BOOTTIME)


def _decode_answer(answer: Sequence[bytes | int]) -> tuple[int, float, str]:
    token, wait, owner = answer
    if not isinstance(owner, bytes):
        raise ValueError("the owner of the lease is no text")
    host, _, pid = owner.decode("utf-8", "replace").partition(":")
    pid = pid.partition(":")[0]
    name = f"the master with pid {pid} on {host}" if owner else ""
    return int(token), int(wait) / 1000, printable_line(name)[:200]
