"""WSGI apps that break HTTP, PEP 3333 or themselves; the path is the name of the function."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Environ = dict[str, Any]
Start = Callable[..., Callable[[bytes], None]]

closed: list[str] = []


def app(environ: Environ, start_response: Start) -> Any:
    """Call the function that the path names."""
    return globals()[environ["PATH_INFO"].removeprefix("/")](environ, start_response)


def pid(environ: Environ, start: Start) -> Any:
    start("200 OK", [])
    return [b"%d" % os.getpid()]


def what_was_closed(environ: Environ, start: Start) -> Any:
    start("200 OK", [])
    return [" ".join(closed).encode()]


class Closing:
    """An iterable that records when it is closed."""

    def __init__(self, name: str, pieces: Iterable[Any]) -> None:
        self._name = name
        self._pieces = iter(pieces)

    def __iter__(self) -> Iterator[Any]:
        return self._pieces

    def close(self) -> None:
        closed.append(self._name)


def raises_at_once(environ: Environ, start: Start) -> Any:
    raise ValueError("at once")


def raises_after_start(environ: Environ, start: Start) -> Any:
    start("200 OK", [])
    raise ValueError("after start")


def raises_in_first_piece(environ: Environ, start: Start) -> Any:
    start("200 OK", [])

    def pieces() -> Iterator[bytes]:
        raise ValueError("in first piece")
        yield b""

    return Closing("raises_in_first_piece", pieces())


def raises_after_bytes(environ: Environ, start: Start) -> Any:
    start("200 OK", [])

    def pieces() -> Iterator[bytes]:
        yield b"some"
        raise ValueError("after bytes")

    return Closing("raises_after_bytes", pieces())


def raises_after_write(environ: Environ, start: Start) -> Any:
    start("200 OK", [])(b"some")
    raise ValueError("after write")


def exits(environ: Environ, start: Start) -> Any:
    sys.exit(3)


def exits_after_bytes(environ: Environ, start: Start) -> Any:
    start("200 OK", [])

    def pieces() -> Iterator[bytes]:
        yield b"some"
        sys.exit(3)

    return pieces()


def interrupts(environ: Environ, start: Start) -> Any:
    raise KeyboardInterrupt


def recurses(environ: Environ, start: Start) -> Any:
    return recurses(environ, start)


def too_short(environ: Environ, start: Start) -> Any:
    start("200 OK", [("Content-Length", "10")])
    return [b"short"]


def too_short_in_pieces(environ: Environ, start: Start) -> Any:
    start("200 OK", [("Content-Length", "10")])
    return Closing("too_short_in_pieces", [b"sho", b"rt"])


def nothing_of_ten(environ: Environ, start: Start) -> Any:
    start("200 OK", [("Content-Length", "10")])
    return []


def too_long(environ: Environ, start: Start) -> Any:
    start("200 OK", [("Content-Length", "3")])
    return [b"too long"]


def too_long_in_first_piece(environ: Environ, start: Start) -> Any:
    start("200 OK", [("Content-Length", "3")])
    return iter([b"too long", b"more"])


def too_long_by_write(environ: Environ, start: Start) -> Any:
    start("200 OK", [("Content-Length", "3")])(b"too long")
    return []


def length_no_number(environ: Environ, start: Start) -> Any:
    start("200 OK", [("Content-Length", "many")])
    return [b"x"]


def length_negative(environ: Environ, start: Start) -> Any:
    start("200 OK", [("Content-Length", "-1")])
    return [b"x"]


def lengths_differ(environ: Environ, start: Start) -> Any:
    start("200 OK", [("Content-Length", "1"), ("content-length", "2")])
    return [b"x"]


def length_with_204(environ: Environ, start: Start) -> Any:
    start("204 No Content", [("Content-Length", "5")])
    return []


def line_end_in_value(environ: Environ, start: Start) -> Any:
    start("200 OK", [("X-A", "b\r\nSet-Cookie: evil")])
    return [b"x"]


def lf_in_value(environ: Environ, start: Start) -> Any:
    start("200 OK", [("X-A", "b\nSet-Cookie: evil")])
    return [b"x"]


def nul_in_value(environ: Environ, start: Start) -> Any:
    start("200 OK", [("X-A", "b\0")])
    return [b"x"]


def line_end_in_name(environ: Environ, start: Start) -> Any:
    start("200 OK", [("X-A: b\r\nSet-Cookie", "evil")])
    return [b"x"]


def space_in_name(environ: Environ, start: Start) -> Any:
    start("200 OK", [("X A", "b")])
    return [b"x"]


def empty_name(environ: Environ, start: Start) -> Any:
    start("200 OK", [("", "b")])
    return [b"x"]


def value_not_latin(environ: Environ, start: Start) -> Any:
    start("200 OK", [("X-A", "\u20ac")])
    return [b"x"]


def value_no_text(environ: Environ, start: Start) -> Any:
    start("200 OK", [("X-A", 5)])
    return [b"x"]


def value_none(environ: Environ, start: Start) -> Any:
    start("200 OK", [("X-A", None)])
    return [b"x"]


def header_of_three(environ: Environ, start: Start) -> Any:
    start("200 OK", [("X-A", "b", "c")])
    return [b"x"]


def header_no_pair(environ: Environ, start: Start) -> Any:
    start("200 OK", ["X-A: b"])
    return [b"x"]


def headers_none(environ: Environ, start: Start) -> Any:
    start("200 OK", None)
    return [b"x"]


def headers_unhashable(environ: Environ, start: Start) -> Any:
    start("200 OK", [("X-A", ["b"])])
    return [b"x"]


def line_end_in_status(environ: Environ, start: Start) -> Any:
    start("200 OK\r\nSet-Cookie: evil", [])
    return [b"x"]


def status_no_text(environ: Environ, start: Start) -> Any:
    start(200, [])
    return [b"x"]


def status_no_number(environ: Environ, start: Start) -> Any:
    start("OK", [])
    return [b"x"]


def status_two_digits(environ: Environ, start: Start) -> Any:
    start("99 Low", [])
    return [b"x"]


def status_interim(environ: Environ, start: Start) -> Any:
    start("100 Continue", [])
    return [b"x"]


def status_switching(environ: Environ, start: Start) -> Any:
    start("101 Switching Protocols", [("Upgrade", "foo")])
    return []


def never_starts(environ: Environ, start: Start) -> Any:
    return [b"x"]


def never_starts_empty(environ: Environ, start: Start) -> Any:
    return []


def starts_without_arguments(environ: Environ, start: Start) -> Any:
    start()
    return [b"x"]


def starts_twice(environ: Environ, start: Start) -> Any:
    start("200 OK", [])
    start("200 OK", [])
    return [b"x"]


def starts_again_after_bytes(environ: Environ, start: Start) -> Any:
    start("200 OK", [])

    def pieces() -> Iterator[bytes]:
        yield b"some"
        try:
            raise ValueError("too late")
        except ValueError:
            start("500 Oh", [], sys.exc_info())
        yield b"never"

    return pieces()


def returns_none(environ: Environ, start: Start) -> Any:
    start("200 OK", [])


def returns_text(environ: Environ, start: Start) -> Any:
    start("200 OK", [])
    return "text"


def returns_bytes(environ: Environ, start: Start) -> Any:
    start("200 OK", [])
    return b"bytes"


def returns_number(environ: Environ, start: Start) -> Any:
    start("200 OK", [])
    return 5


def returns_list_of_text(environ: Environ, start: Start) -> Any:
    start("200 OK", [])
    return ["text"]


def returns_list_of_none(environ: Environ, start: Start) -> Any:
    start("200 OK", [])
    return [None]


def yields_text(environ: Environ, start: Start) -> Any:
    start("200 OK", [])
    return iter(["text", "more"])


def yields_none(environ: Environ, start: Start) -> Any:
    start("200 OK", [])
    return iter([None])


def yields_text_after_bytes(environ: Environ, start: Start) -> Any:
    start("200 OK", [])
    return Closing("yields_text_after_bytes", [b"some", "text"])


def writes_text(environ: Environ, start: Start) -> Any:
    start("200 OK", [])("text")
    return []


def close_raises(environ: Environ, start: Start) -> Any:
    start("200 OK", [])

    class Body(Closing):
        def close(self) -> None:
            raise ValueError("in close")

    return Body("", [b"fi", b"ne"])


def close_exits(environ: Environ, start: Start) -> Any:
    start("200 OK", [])

    class Body(Closing):
        def close(self) -> None:
            sys.exit(3)

    return Body("", [b"fi", b"ne"])


def writes_at_close(environ: Environ, start: Start) -> Any:
    write = start("200 OK", [])

    class Body(Closing):
        def close(self) -> None:
            write(b"too late")

    return Body("", [b"fi", b"ne"])


kept_writes: list[Any] = []


def keeps_write(environ: Environ, start: Start) -> Any:
    kept_writes.append(start("200 OK", []))
    return [b"fine"]


def writes_to_the_one_before(environ: Environ, start: Start) -> Any:
    kept_writes.pop()(b"too late")
    start("200 OK", [])
    return [b"fine"]


def stop_iteration(environ: Environ, start: Start) -> Any:
    raise StopIteration


def exception_without_text(environ: Environ, start: Start) -> Any:
    class BadError(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    raise BadError
