"""The client of a Redis or Valkey server, by the package ``redis`` (``prefork[redis]``).

Design
------
- **A command is sent once.** A connection that the server has closed is found when it is taken from
  the pool of the client, so the first call after a restart of the server succeeds. Rejected: to
  send it again when its connection broke. Its answer was lost, and it may have been carried out: a
  counter would count twice.
- **When the server kept silent for the timeout, calls fail at once for a second.** Async calls are
  made in the few threads of asyncio. With 200 requests at a time each would otherwise wait for the
  timeouts of all before it. A refused connection costs no time, so after one each call tries again,
  and none fails once the server is back.
- **The server is not trusted to be one.** What the client raises for an answer that is none
  (ValueError, RecursionError …) becomes StoreUnavailable, as all of its own errors do.
- **A server that became a replica is left.** Behind one name another server may be the primary now,
  and only a new connection leads there.
- **A child that the process forked connects anew.** A thread of the parent may hold the lock of the
  client's pool at the moment of the fork.
- **The second version of the protocol (RESP2),** which every Redis and Valkey speaks.
"""

import os
from _thread import allocate_lock
from collections.abc import Callable
from time import monotonic
from typing import Any, ClassVar, TypeVar

from prefork.config.store_kind import is_unix_socket, server_url
from prefork.errors import MachineError, StoreError, StoreUnavailable
from prefork.printable import printable_line
from prefork.store.entry_format import NO_NUMBER
from prefork.store.redis_deadline import limit_answers

Result = TypeVar("Result")

SOCKET_TIMEOUT = 2.0
"""Seconds for which a call waits for the server; ``?socket_timeout=`` in the URL changes it."""
SILENCE = 1.0
"""Seconds for which calls fail at once, after one has timed out."""
MAX_ERROR = 300
"""Characters of a message of the server that are repeated."""


class RedisClient:
    """The connections of this process to one server. Threads may share it.

    ``url``: as in the setting. ``timeout``: seconds for each wait for the server.
    """

    def __init__(self, url: str, timeout: float = SOCKET_TIMEOUT) -> None:
        self._url = url
        self._timeout = timeout
        self._silent_until = 0.0
        self._forget()
        self._connect()

    def _forget(self) -> None:
        """Forget all connections; the next call makes new ones."""
        self._lock = allocate_lock()
        self._client: Any = None
        self._scripts: dict[str, Any] = {}

    def _connect(self) -> Any:
        """Return the client, which connects at its first command. Raises PreforkError."""
        with self._lock:
            if self._client is None:
                self._client = _make_client(self._url, self._timeout)
            return self._client

    def call(self, act: Callable[[Any], Result]) -> Result:
        """Return what ``act`` returns, which gets the client. Raises StoreError."""
        if monotonic() < self._silent_until:
            raise StoreUnavailable(
                f"the server of the store did not answer within {self._timeout:g} s, a moment ago"
            )
        client = self._connect()
        try:
            return act(client)
        except StoreError:
            raise
        except Exception as error:
            raise self._explain(error, client) from error

    def run(
        self,
        script: str,
        keys: list[bytes],
        arguments: list[Any],
        convert: Callable[[Any], Result],
    ) -> Result:
        """Return the answer of a script, converted. It is sent by its hash, and whole after the
        server has forgotten it. Raises StoreError."""

        def act(client: Any) -> Result:
            made = self._scripts.get(script)
            if made is None:
                made = self._scripts[script] = client.register_script(script)
            return convert(made(keys, arguments, client))

        return self.call(act)

    def _explain(self, error: Exception, client: Any) -> StoreError | ValueError:
        """Return the error of the store that stands for one of the client."""
        from redis import exceptions  # noqa: PLC0415 - an extra

        text = printable_line(str(error))[:MAX_ERROR]
        if isinstance(error, exceptions.ResponseError) and _is_no_number(text):
            return ValueError(NO_NUMBER)
        if isinstance(error, exceptions.TimeoutError):
            self._silent_until = monotonic() + SILENCE
        is_replica = isinstance(error, exceptions.ResponseError) and "READONLY" in text
        if is_replica or isinstance(error, exceptions.ReadOnlyError):
            client.connection_pool.disconnect(inuse_connections=False)
            return StoreUnavailable(f"the server of the store is a replica: {text}")
        kinds = (
            (exceptions.TimeoutError, "did not answer in time"),
            (exceptions.AuthenticationError, "refused the password"),
            (exceptions.BusyLoadingError, "has just started, and reads its data"),
            (exceptions.ResponseError, "refused"),
            (exceptions.ConnectionError, "cannot be reached"),
            (OSError, "cannot be reached"),
        )
        what = next((words for kind, words in kinds if isinstance(error, kind)), "")
        what = what or f"answers as no Redis does ({type(error).__name__})"
        return StoreUnavailable(f"the server of the store {what}: {text}")

    def reset_in_child(self) -> None:
        """Forget the connections of the parent, in a child."""
        self._forget()


def _is_no_number(text: str) -> bool:
    """Return whether the server says that a counter is none, or would not fit into 64 bits."""
    return "is not an integer" in text or "would overflow" in text


def _make_client(url: str, timeout: float) -> Any:
    """Return a client of the package. Raises MachineError if that is missing, and StoreUnavailable
    for a wrong URL."""
    try:
        import redis  # noqa: PLC0415 - an extra
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415
    except ImportError as error:
        raise MachineError(
            f"{error}; pip install 'prefork[redis]' for a store on a server"
        ) from error
    options: dict[str, Any] = {} if is_unix_socket(url) else {"socket_keepalive": True}
    try:
        client = redis.Redis.from_url(
            server_url(url),
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            **options,
        )
        # The options of the URL are arguments of a connection; it connects later.
        client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
        limit_answers(client.connection_pool)
    except (ValueError, TypeError, redis.RedisError, OSError) as error:
        raise StoreUnavailable(f"store: the URL of the server is wrong: {error}") from error
    return client


class _Clients:
    """The clients of this process, by URL and timeout."""

    lock = allocate_lock()
    known: ClassVar[dict[tuple[str, float], RedisClient]] = {}


def open_client(url: str, timeout: float = SOCKET_TIMEOUT) -> RedisClient:
    """Return the client for a server; a process has one. Raises PreforkError."""
    with _Clients.lock:
        found = _Clients.known.get((url, timeout))
        if found is None:
            found = _Clients.known[url, timeout] = RedisClient(url, timeout)
        return found


def _reset_in_child() -> None:
    _Clients.lock = allocate_lock()
    for client in _Clients.known.values():
        client.reset_in_child()


os.register_at_fork(after_in_child=_reset_in_child)
