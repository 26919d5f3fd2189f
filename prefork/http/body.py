"""A request's body: streamed to an app which reads as it comes, or whole from the start.

The stream stays small however large the body is: reading from the socket stops while the reader
lags. For an app that cannot wait for its client see spool.py.
"""

import asyncio
import io
from collections import deque
from collections.abc import Callable

from prefork.errors import ClientGoneError
from prefork.http.spool import SpooledBody

MAX_BUFFERED = 64 * 1024


class WholeBody:
    """A small body that arrived together with its head. Who makes one sets its ``data``."""

    __slots__ = ("data",)

    data: bytes
    is_complete = True

    @property
    def file(self) -> io.BytesIO:
        """For an app that reads files."""
        return io.BytesIO(self.data)

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.data)

    def read_nowait(self) -> tuple[bytes, bool]:
        """All of it, for an app that reads as it comes."""
        return self.data, False

    async def read(self) -> tuple[bytes, bool]:
        """The same."""
        return self.data, False

    def discard(self) -> None:
        """Nobody needs it any more."""


class StreamedBody:
    """A queue of pieces between the parser and one reader.

    ``pause`` and ``resume`` reading from the socket; ``invite``: send 100 Continue if the client
    waits for it (RFC 9110 section 10.1.1).
    """

    def __init__(
        self,
        pause_reading: Callable[[], None],
        resume_reading: Callable[[], None],
        send_continue: Callable[[], None],
    ) -> None:
        self._pause_reading = pause_reading
        self._resume_reading = resume_reading
        self._send_continue = send_continue
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._is_paused = False
        self._waiter: asyncio.Future[None] | None = None
        self.is_complete = False
        self.disconnected = False

    def feed(self, data: bytes) -> None:
        """A piece arrived."""
        self._pieces.append(data)
        self._buffered += len(data)
        if self._buffered > MAX_BUFFERED and not self._is_paused:
            self._is_paused = True
            self._pause_reading()
        self._wake_reader()

    def end(self) -> None:
        """All has arrived."""
        self.is_complete = True
        self._wake_reader()

    def discard(self) -> None:
        """The client left; the rest never comes."""
        self.disconnected = True
        self._wake_reader()

    async def read(self) -> tuple[bytes, bool]:
        """What has arrived, and whether more may follow. Raises ClientGoneError."""
        while (taken := self.read_nowait()) is None:
            if self.disconnected:
                raise ClientGoneError("the client left in the middle of its request")
            self._send_continue()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return taken

    def read_nowait(self) -> tuple[bytes, bool] | None:
        """The same without waiting; None: nothing has arrived."""
        pieces = self._pieces
        if not pieces and not self.is_complete:
            return None
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._buffered = 0
        if self._is_paused:
            self._is_paused = False
            self._resume_reading()
        return data, not self.is_complete

    def _wake_reader(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


Body = WholeBody | StreamedBody | SpooledBody
