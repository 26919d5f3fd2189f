"""The access log of a worker: one line for each request that ended.

A request ends when it was answered or refused, or when its client disconnected. Lines are collected
for 0.1 s and then passed to the writing thread together.

Design
------
- **A thread writes the access log.** Only a thread can wait for a disk without delaying a request.
  In front of it is a queue of 4 MB; lines that do not fit are dropped and counted. The thread's
  part costs 0.2 to 0.6 µs a line.
- **A line of a plain request is formatted by the compiled part,** where there is one
  (_speed/access_lines.pyx), and from what the connection knows anyway. An exchange made for the log
  and a line formatted in Python cost 1.2 (WSGI) and 1.7 µs more (ASGI, on an Intel Xeon).
"""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence

from prefork import _speed
from prefork.config.access_format import parse_format
from prefork.config.access_skip import SkipPattern
from prefork.errors import MachineError
from prefork.http.answered_exchange import AnsweredExchange, LogPlain
from prefork.http.exchange import ClientConnection, Exchange, ResponseSink
from prefork.observe.access_filter import compile_skip_patterns
from prefork.observe.access_line import compile_line, compile_plain_lines
from prefork.observe.line_writer import LineWriter
from prefork.observe.logger import open_line_file, reopen_descriptor, reopen_line_file
from prefork.plural import pluralize
from prefork.unix.nonblocking_writer import NonblockingWriter, reopen_nonblocking

COLLECT_TIME = 0.1
"""Seconds for which lines are collected before they are passed to the thread."""

MAX_COLLECTED = 256
"""Number of collected lines that are passed to the thread at once."""

MAX_QUEUED = 4 * 1024 * 1024
"""Maximum number of bytes that wait for a disk or a reader."""


class AccessLog:
    """The access log of one worker. The worker creates and opens it after its fork."""

    def __init__(
        self,
        path: str,
        text: str,
        slot: int,
        generation: int,
        logger: logging.Logger,
        skip: Sequence[SkipPattern] = (),
    ) -> None:
        """``path`` is the file, or ``-`` for stdout. ``text`` is the format. ``skip``: the requests
        that are left out."""
        self._is_skipped = compile_skip_patterns(skip)
        self._path = path if path == "-" else os.path.abspath(path)
        pieces = parse_format(text)
        self._format_line = compile_line(pieces, slot, generation)
        plain_lines = compile_plain_lines(pieces, slot, generation)
        self.log_plain = None if plain_lines is None else self._make_log_plain(plain_lines)
        """Adds the line of a plain request that was answered; None: ``log_request`` does."""
        self._logger = logger
        self._writer: LineWriter | None = None
        self._lines: list[str] = []

    def open(self) -> None:
        """Open the file and start the writing thread, before the first write.

        Raises MachineError.
        """
        try:
            self._fd = reopen_nonblocking(1) if self._path == "-" else open_line_file(self._path)
        except OSError as error:
            raise MachineError(f"cannot write the access log: {error.strerror}") from error
        self._sink = NonblockingWriter(self._fd)
        self._writer = LineWriter(self._sink, MAX_QUEUED, self._log_lost, self._log_error)
        self._writer.use_thread()

    def _log_lost(self, count: int) -> None:
        lines = pluralize(count, "line was lost", "lines were lost")
        self._logger.error("access log: %s while it was stuck", lines)

    def _log_error(self, error: OSError, _lines: bytes, first: bool) -> None:
        if first:
            self._logger.error("cannot write the access log: %s", error.strerror)

    def log_request(self, exchange: Exchange) -> None:
        """Add the line of a request that ended."""
        if self._is_skipped is None or not self._is_skipped(exchange.request, exchange.status):
            self._add(self._format_line(exchange), exchange.connection.server.loop)

    def _make_log_plain(self, lines: "_speed.PlainLines") -> LogPlain:
        def log_plain(
            connection: ClientConnection,
            head: "_speed.PlainHead",
            sink: ResponseSink,
            started_at: float,
            status: int,
            response: bytes,
            size: int,
        ) -> None:
            if self._is_skipped is not None and self._is_skipped(head, status):
                return
            line = lines.format(connection.peer, head, started_at, status, size)
            if line is None:
                answered = (connection, head, sink, started_at, status, response, size)
                line = self._format_line(AnsweredExchange(*answered))
            self._add(line, connection.server.loop)

        return log_plain

    def _add(self, line: str, loop: asyncio.AbstractEventLoop) -> None:
        self._lines.append(line)
        if len(self._lines) == 1:
            loop.call_later(COLLECT_TIME, self._submit)
        elif len(self._lines) >= MAX_COLLECTED:
            self._submit()

    def flush(self) -> None:
        """Write all lines before the worker exits, waiting for a second at most.

        Logs the number of lines that could not be written in this time.
        """
        self._submit()
        if self._writer is not None and (left := self._writer.flush()):
            lines = pluralize(left, "line")
            self._logger.error("access log: %s could not be written in time", lines)

    def reopen(self) -> None:
        """Open the file again after a rotation; later lines go to the new file."""
        if self._path != "-":
            self._reopen_in_order(lambda: reopen_line_file(self._path, self._fd, self._logger))

    def reopen_stdout(self) -> None:
        """Write to the new stdout of this process, after it was replaced."""
        if self._path == "-":
            self._reopen_in_order(lambda: reopen_descriptor(1, self._fd, self._logger))

    def _reopen_in_order(self, open_anew: Callable[[], None]) -> None:
        """Call ``open_anew`` in the writing thread, after all lines that were added before."""

        def reopen() -> None:
            open_anew()
            self._sink.refresh()

        self._submit()
        if self._writer is not None:
            self._writer.call_in_order(reopen)

    def _submit(self) -> None:
        lines, self._lines = self._lines, []
        if lines and self._writer is not None:
            self._writer.put("".join(lines).encode(errors="backslashreplace"))
