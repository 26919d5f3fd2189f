"""The body of a request: streamed to an app that reads it as it arrives, or whole from the start.

A stream stays small however large the body is, because reading from the socket stops while the app
lags behind. The bodies of apps that cannot wait are in spool.py.
"""

import asyncio
import io
from collections import deque
from collections.abc import Callable

from prefork.errors import ClientGoneError
from prefork.http.spool import SpooledBody

MAX_BUFFERED = 64 * 1024
"""Bytes that may wait for the app before reading from the socket stops."""


class WholeBody:
    """A small body that arrived together with its head. Its maker sets ``data``."""

    __slots__ = ("data",)

    data: bytes
    is_complete = True

    @property
    def file(self) -> io.BytesIO:
        """The body as a file, for an app that reads files."""
        return io.BytesIO(self.data)

    @property
    def size(self) -> int:
        """The size in bytes."""
        return len(self.data)

    def read_nowait(self) -> tuple[bytes, bool]:
        """Return the whole body, and False: nothing follows. See StreamedBody."""
        return self.data, False

    async def read(self) -> tuple[bytes, bool]:
        """Return the whole body, and False: nothing follows. See StreamedBody."""
        return self.data, False

    def discard(self) -> None:
        """Do nothing: there is nothing to give back."""


class StreamedBody:
    """A queue of pieces between the parser and one reader.

    ``pause_reading`` and ``resume_reading`` stop and start reading from the socket.
    ``send_continue`` sends 100 Continue if the client waits for it (RFC 9110 section 10.1.1).
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
        """The last piece has arrived."""
        self.disconnected = False
        """The client left, or the body is broken: the missing pieces never come."""

    def feed(self, data: bytes) -> None:
        """Append a piece, and stop reading from the socket if many bytes wait."""
        self._pieces.append(data)
        self._buffered += len(data)
        if self._buffered > MAX_BUFFERED and not self._is_paused:
            self._is_paused = True
            self._pause_reading()
        self._wake_reader()

    def end(self) -> None:
        """Mark the body complete."""
        self.is_complete = True
        self._let_go()
        self._wake_reader()

    def discard(self) -> None:
        """Mark the body broken; a reader that waits for more gets ClientGoneError."""
        self.disconnected = True
        self._let_go()
        self._wake_reader()

    async def read(self) -> tuple[bytes, bool]:
        """Wait for bytes; return them, and whether more may follow. Raises ClientGoneError."""
        while (taken := self.read_nowait()) is None:
            if self.disconnected:
                raise ClientGoneError("the client left in the middle of its request")
            self._send_continue()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return taken

    def read_nowait(self) -> tuple[bytes, bool] | None:
        """Return the bytes that have arrived, and whether more may follow; None: there are none."""
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

    def _let_go(self) -> None:
        """Drop what leads back to the exchange of this body: none of its bytes is waited for."""
        self._send_continue = _do_nothing

    def _wake_reader(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _do_nothing() -> None:
    """Take the place of ``send_continue`` when there is nothing to continue with."""


Body = WholeBody | StreamedBody | SpooledBody
