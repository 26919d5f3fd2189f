"""The access log: a line for each request that was answered, refused, or left by its client.

Lines are collected for a moment and handed over together.
"""

import logging
import os

from prefork.config.access_format import parse_format
from prefork.http.exchange import Exchange
from prefork.observe.access_line import compile_line
from prefork.observe.line_writer import LineWriter
from prefork.observe.log import follow_rotation
from prefork.unix.appending import open_append

COLLECT = 0.1
"""Seconds that a line may wait for company."""

FLUSH_AT = 256
"""Lines that do not wait any longer."""


class AccessLog:
    """One per worker, made and opened after the fork."""

    def __init__(
        self, path: str, text: str, slot: int, generation: int, logger: logging.Logger
    ) -> None:
        """``path``: ``-`` is stdout. ``text``: the format."""
        self._path = path if path == "-" else os.path.abspath(path)
        self._line = compile_line(parse_format(text), slot, generation)
        self._logger = logger
        self._writer: LineWriter | None = None
        self._fd = 1
        self._lines: list[str] = []

    def open(self) -> None:
        """To be called before anything is written. Raises MachineError."""
        if self._path != "-":
            self._fd = open_append(self._path)
        self._writer = LineWriter(self._fd, "access log", self._logger)

    def write(self, exchange: Exchange) -> None:
        """Note a request that is over."""
        line = self._line(exchange)
        self._lines.append(line)
        if len(self._lines) == 1:
            exchange.connection.service.loop.call_later(COLLECT, self._hand_over)
        elif len(self._lines) >= FLUSH_AT:
            self._hand_over()

    def flush(self) -> None:
        """Write what was collected, before the end."""
        self._hand_over()
        if self._writer is not None:
            self._writer.settle()

    def reopen(self) -> None:
        """Follow a rotation: what comes from now on goes to the new file."""
        self._hand_over()
        if self._path != "-" and self._writer is not None:
            self._writer.call(lambda: follow_rotation(self._path, self._fd, self._logger))

    def _hand_over(self) -> None:
        lines, self._lines = self._lines, []
        if lines and self._writer is not None:
            self._writer.put("".join(lines).encode(errors="backslashreplace"), len(lines))
