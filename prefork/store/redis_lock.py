"""Named locks on a Redis or Valkey server: a lease that is renewed while the holder lives.

Design
------
- **A lease ends by time, not by the death of its holder.** A holder that is stopped for longer than
  the lease loses the lock and learns it when it leaves the block. What the lock protects has to
  refuse a fencing token that is smaller than the last one (M. Kleppmann, "How to do distributed
  locking", 2016).
- **The token rises also where the server lost its data.** It is one more than the last one, or the
  time of the server in microseconds if that is larger, as for the locks of one machine.
  All locks of the app share one sequence, because a key for each name would stay for ever.
- **Threads wait longer between two tries than for a lock of one machine,** because each try is a
  command to the server.
"""

import os
import socket
from _thread import start_new_thread
from collections.abc import Sequence
from secrets import token_hex
from threading import Event
from time import monotonic

from prefork.errors import StoreUnavailable
from prefork.printable import printable_line
from prefork.store.redis_backend import key_on_server
from prefork.store.redis_client import open_client
from prefork.unix.store_place import StorePlace

LEASE = 15.0
"""Seconds for which the server keeps a lock whose holder does not renew it."""

_ACQUIRE = """
local holder = redis.call('get', KEYS[1])
if holder then return {0, holder} end
local time = redis.call('time')
local last = tonumber(redis.call('get', KEYS[2]) or 0)
local token = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
redis.call('set', KEYS[2], token)
redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
return {token, ''}
"""
_RELEASE = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0
"""
_RENEW = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end
return 0
"""


class RedisLockBackend:
    """One lock by name, on a server."""

    waits_for_network = True
    longest_pause = 0.1

    def __init__(self, place: StorePlace, name: str) -> None:
        self._client = open_client(place.kind)
        self._name = name
        self._keys = [
            key_on_server("prefork-lock", place, name),
            key_on_server("prefork-fence", place),
        ]
        self._value = ""
        self._holder = ""
        self._ended = Event()

    def try_acquire(self) -> int | None:
        """Acquire the lock if it is free, and return the fencing token; None: it is held."""
        value = f"{os.getpid()}:{socket.gethostname()}:{token_hex(16)}"
        arguments = [value, int(LEASE * 1000)]
        token, self._holder = self._client.run(_ACQUIRE, self._keys, arguments, _token_and_holder)
        if token == 0:
            return None
        self._value = value
        self._ended = Event()
        try:
            start_new_thread(self._keep, (value, self._ended))
        except RuntimeError as error:  # the limit of processes is reached
            self.release()
            raise StoreUnavailable(f"cannot renew the lock {self._name!r}: {error}") from error
        return token

    def _keep(self, value: str, ended: Event) -> None:
        """Renew the lease until the lock is released, or lost because the lease has ended."""
        lease_ends_at = monotonic() + LEASE
        while not ended.wait(LEASE / 3) and monotonic() < lease_ends_at:
            asked_at = monotonic()
            try:
                if not self._change(_RENEW, value, int(LEASE * 1000)):
                    return
                lease_ends_at = asked_at + LEASE
            except StoreUnavailable:
                continue  # the server may be back before the lease ends

    def release(self) -> None:
        """Release the lock. Raises StoreUnavailable also when the lease has ended before."""
        self._ended.set()
        try:
            is_released = self._change(_RELEASE, self._value)
        except StoreUnavailable as error:
            raise StoreUnavailable(
                f"{error}; the lock {self._name!r} is free when its lease ends, in {LEASE:g} s"
            ) from error
        if not is_released:
            raise StoreUnavailable(
                f"the lock {self._name!r} was lost: its holder did not renew the lease of "
                f"{LEASE:g} s, or the server lost its data; another process may have held it, too"
            )

    def _change(self, script: str, *arguments: object) -> bool:
        return self._client.run(script, self._keys[:1], list(arguments), int) == 1

    def holder(self) -> str:
        """Return which process held the lock at the last try, for messages."""
        pid, host, *_ = [*self._holder.split(":"), "", ""]
        return f"process {pid} on {host}" if host else "another process"


def _token_and_holder(answer: Sequence[bytes]) -> tuple[int, str]:
    """Return the token, 0 if the lock is held, and its holder."""
    token, holder = answer
    return int(token), printable_line(holder.decode("utf-8", "replace"))[:200]
