"""The access log in the common log format, a line for each answered request.

Lines are collected for a moment and written together, whole lines at a time with O_APPEND, so that
the workers of one app can share a file. Control characters and quotes are escaped: a client must
not be able to write lines of its own.
"""

import logging
import os
import re
import time

from prefork.http.exchange import Exchange
from prefork.observe.log import open_append, reopen_append

COLLECT = 0.1
"""Seconds that a line may wait for company."""

FLUSH_AT = 64
"""Lines that do not wait any longer."""

_UNSAFE = re.compile(r'["\\\x00-\x1f\x7f-\xff]')


class AccessLog:
    """One per worker, made before the fork, used after it."""

    def __init__(self, path: str, logger: logging.Logger) -> None:
        self._path = path if path == "-" else os.path.abspath(path)
        self._logger = logger
        self._fd = 1
        self._lines: list[str] = []
        self._stamp = ""
        self._stamped = 0

    def open(self) -> None:
        """To be called before anything is written. Raises MachineError."""
        if self._path != "-":
            self._fd = open_append(self._path)

    def write(self, exchange: Exchange) -> None:
        """Note an answered request."""
        client = exchange.connection.peer.client
        target = _UNSAFE.sub(_escape, exchange.request.target.decode("latin-1"))
        request = f"{exchange.request.method or '-'} {target} HTTP/{exchange.request.version}"
        self._lines.append(
            f"{client[0] if client else '-'} - - [{self._now()}] "
            f'"{request}" {exchange.status} {exchange.sent or "-"}\n'
        )
        if len(self._lines) == 1:
            exchange.connection.service.loop.call_later(COLLECT, self.flush)
        elif len(self._lines) >= FLUSH_AT:
            self.flush()

    def flush(self) -> None:
        """Write what was collected. A full disk costs the lines, never the request."""
        if self._lines:
            data = "".join(self._lines).encode()
            self._lines.clear()
            try:
                while data:
                    data = data[os.write(self._fd, data) :]
            except OSError as error:
                self._logger.error("cannot write the access log: %s", error.strerror)

    def reopen(self) -> None:
        """Follow a rotation."""
        self.flush()
        if self._path != "-":
            reopen_append(self._path, self._fd, self._logger)

    def _now(self) -> str:
        seconds = int(time.time())
        if seconds != self._stamped:
            self._stamped = seconds
            self._stamp = time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(seconds))
        return self._stamp


def _escape(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"
