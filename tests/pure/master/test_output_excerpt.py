"""The excerpt of a program's output: the first error, and the last lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.master.output_excerpt import MAX_LINE, MAX_LINES, TAIL_BYTES, TAIL_LINES, OutputExcerpt

NODE = """\
node:events:497
      throw er; // Unhandled 'error' event
      ^

Error: listen EADDRINUSE: address already in use 127.0.0.1:3216
    at Server.setupListenHandle [as _listen2] (node:net:1817:16)
Emitted 'error' event on Server instance at:
    at emitErrorNT (node:net:1796:8) {
  code: 'EADDRINUSE',
  port: 3216
}
"""
NPM = "".join(f"npm error line {n}\n" for n in range(TAIL_LINES + 3))


def excerpt(*pieces: str | bytes) -> OutputExcerpt:
    made = OutputExcerpt()
    for piece in pieces:
        made.feed(piece.encode() if isinstance(piece, str) else piece)
    return made


def lines(made: OutputExcerpt) -> list[str]:
    return [line.removeprefix("  ") for line in made.text().splitlines()]


def test_the_error_stands_before_the_last_lines_of_a_wrapper() -> None:
    made = excerpt("> shop@1.0.0 start\n", NODE, NPM)
    assert lines(made)[:2] == [
        "Error: listen EADDRINUSE: address already in use 127.0.0.1:3216",
        "…",
    ]
    assert lines(made)[2:] == NPM.splitlines()[-TAIL_LINES:]
    assert made.is_address_in_use


def test_an_error_among_the_last_lines_is_not_repeated() -> None:
    assert lines(excerpt("one\n", "TypeError: two\n", "three\n")) == [
        "one",
        "TypeError: two",
        "three",
    ]


@pytest.mark.parametrize(
    "error",
    [
        "TypeError: x is not a function",
        "Uncaught ReferenceError: y is not defined",
        "  \N{VECTOR OR CROSS PRODUCT} Error: no build",
        "django.core.exceptions.ImproperlyConfigured: SECRET_KEY Error",
        "thread 'main' panicked at src/main.rs:2:5:",
        "panic: runtime error: index out of range",
        "sh: 1: nxt: not found",
        "nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)",
        "2026-11-28 22:00:00 ERROR the database refused the password",
    ],
)
def test_the_first_line_that_tells_an_error_is_kept(error: str) -> None:
    noise = "\n".join(f"at frame {n}" for n in range(TAIL_LINES))
    assert lines(excerpt(f"ready to go\n{error}\n{noise}\n"))[0] == error.rstrip()


def test_colors_are_left_out() -> None:
    noise = "\x1b[38;5;245mat frame\x1b[0m\n" * TAIL_LINES
    assert lines(excerpt("\x1b[0m\x1b[1;31merror\x1b[0m: x\n", noise)) == [
        "error: x",
        "…",
        *["at frame"] * TAIL_LINES,
    ]


def test_a_line_that_begins_with_an_error_is_better_than_one_with_a_word_of_failure() -> None:
    noise = "at frame\n" * TAIL_LINES
    assert lines(excerpt("0 checks failed\n", "SyntaxError: no\n", "KeyError: 1\n", noise))[0] == (
        "SyntaxError: no"
    )


@pytest.mark.parametrize(
    "line",
    [
        "Error: listen EADDRINUSE: address already in use :::3000",
        "OSError: [Errno 98] Address already in use",
        "listen tcp :8080: bind: address already in use",
        "Port 3000 is in use, trying 3001 instead.",
        "error: Failed to start server. Is port 3000 in use?",
        "error: Uncaught (in promise) AddrInUse: taken",
    ],
)
def test_a_taken_address_is_noticed(line: str) -> None:
    assert excerpt(line).is_address_in_use is False  # the line may go on
    assert excerpt(line, "\n").is_address_in_use
    made = excerpt(line)
    made.text()
    assert made.is_address_in_use


def test_nothing_is_searched_after_the_start() -> None:
    made = excerpt("Error: one\n")
    made.stop_search()
    made.feed(b"EADDRINUSE\nlast\n" + b"x\n" * TAIL_LINES)
    assert not made.is_address_in_use
    assert lines(made) == ["x"] * TAIL_LINES


def test_the_search_of_one_call_is_bounded() -> None:
    made = excerpt("\n" * MAX_LINES + "Error: one\n" + "x\n" * TAIL_LINES)
    assert lines(made) == ["x"] * TAIL_LINES
    assert excerpt(" " * MAX_LINE + "Error: one\n").text() == f"  {' ' * MAX_LINE}Error: one"


@given(st.lists(st.binary(max_size=300)), st.lists(st.integers(0, 40)))
def test_the_text_does_not_depend_on_how_the_output_was_cut(
    pieces: list[bytes], cuts: list[int]
) -> None:
    output = b"Error: \xff\n".join(pieces)
    parts, rest = [], output
    for cut in cuts:
        parts, rest = [*parts, rest[:cut]], rest[cut:]
    whole, cut_up = excerpt(output), excerpt(*parts, rest)
    assert cut_up.text() == whole.text()
    assert cut_up.is_address_in_use == whole.is_address_in_use
    assert len(whole.text().splitlines()) <= TAIL_LINES + 2


@given(st.binary(max_size=3 * TAIL_BYTES))
def test_the_end_of_any_output_is_kept(output: bytes) -> None:
    made = excerpt(output, b"\nlast\n")
    assert lines(made)[-1] == "last"


@pytest.mark.parametrize("address", ["127.0.0.1:3216", ":::3000", "/run/web.sock"])
def test_the_address_that_node_could_not_get_is_known(address: str) -> None:
    made = excerpt(f"Error: listen EADDRINUSE: address already in use {address}\n    at x\n")
    assert made.node_address == address
    made.stop_search()
    assert made.node_address == ""
    assert excerpt("OSError: [Errno 98] Address already in use\n").node_address == ""
