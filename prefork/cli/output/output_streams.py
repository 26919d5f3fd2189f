"""stdout and stderr of a command, for everything that it prints.

What a verb prints is full of texts of others: reasons of failures, statuses of programs, folders,
settings. On a terminal none of them may act on it, so each text passes printable.py. In a pipe or a
file texts stay as they are; only what the encoding cannot hold is escaped, because a lone surrogate
would raise UnicodeEncodeError.

An app has the streams as Python made them: a server and a child that loads the app put those back.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from prefork.printable import printable_text, printable_value


class PrintableStream:
    """A text stream whose texts are made fit for ``stream`` before they are written there."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._is_terminal = stream.isatty()

    def write(self, text: str) -> int:
        """Write the text; the number of its characters."""
        if self._is_terminal:
            text = printable_text(text)
        encoding = self.stream.encoding or "utf-8"
        self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of them."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def original_stream(stream: TextIO) -> TextIO:
    """The stream that Python made, for a caller that makes its texts printable itself."""
    return stream.stream if isinstance(stream, PrintableStream) else stream


@contextmanager
def printable_streams() -> Iterator[None]:
    """Meanwhile everything that is printed is fit for the terminal."""
    with _streams(_printable(sys.stdout), _printable(sys.stderr)):
        yield


@contextmanager
def original_streams() -> Iterator[None]:
    """Meanwhile they are those that Python made: an app is served, or loaded."""
    with _streams(original_stream(sys.stdout), original_stream(sys.stderr)):
        yield


@contextmanager
def _streams(stdout: TextIO, stderr: TextIO) -> Iterator[None]:
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = stdout, stderr
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _printable(stream: TextIO) -> TextIO:
    return cast(TextIO, PrintableStream(original_stream(stream)))


def print_json(value: Any, indent: int | None = 1) -> None:
    """Print a value for programs. Its texts are printable: a program may show them on a terminal,
    and JSON has no place for lone surrogates (RFC 8259, section 8.2)."""
    print(json.dumps(printable_value(value), indent=indent), flush=True)
