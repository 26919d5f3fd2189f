"""stdout and stderr of a command: texts are made printable before they are written.

A verb prints texts of others: reasons of failures, statuses of programs, folders, settings. On a
terminal none of them may act on it, so each text passes printable.py. In a pipe or a file texts
stay as they are; only what the encoding cannot hold is escaped, because a lone surrogate would
raise UnicodeEncodeError.

An app has the streams as Python made them: a server, and a child that loads the app, restore them.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from prefork.printable import printable_text, printable_value


class PrintableStream:
    """A text stream that makes texts fit for ``stream`` and writes them there.

    For a terminal, control characters become escapes; for everything else, only characters that the
    encoding cannot hold. All other attributes are those of ``stream``.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._is_terminal = stream.isatty()

    def write(self, text: str) -> int:
        """Write the text; return the number of its characters."""
        if self._is_terminal:
            text = printable_text(text)
        encoding = self.stream.encoding or "utf-8"
        self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of the lines; no line ends are added."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def original_stream(stream: TextIO) -> TextIO:
    """Return the stream that Python made, for a caller that makes its texts printable itself."""
    return stream.stream if isinstance(stream, PrintableStream) else stream


@contextmanager
def printable_streams() -> Iterator[None]:
    """A context manager: within it ``sys.stdout`` and ``sys.stderr`` are printable streams."""
    with _streams(_printable(sys.stdout), _printable(sys.stderr)):
        yield


@contextmanager
def original_streams() -> Iterator[None]:
    """A context manager: within it ``sys.stdout`` and ``sys.stderr`` are those that Python made.

    It surrounds the code that serves or loads an app.
    """
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
    """Print ``value`` as JSON, for programs.

    Its texts are made printable: a program may show them on a terminal, and JSON has no place for
    lone surrogates (RFC 8259, section 8.2). ``indent`` None: in one line.
    """
    print(json.dumps(printable_value(value), indent=indent), flush=True)
