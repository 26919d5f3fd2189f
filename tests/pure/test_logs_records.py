"""Lines of a log: joined, cut, written and read again."""

from hypothesis import given
from hypothesis import strategies as st

from prefork.observe.records import (
    FORMATS,
    LONGEST,
    Record,
    format_note,
    parse,
    whole_lines,
)
from prefork.wire.outlets import Outlet

OUTLET = Outlet(number=3, slot=1, pid=4711, stream="err")
STAMP = "2026-11-24 23:59:01.123"
PRINTED = st.lists(st.binary(max_size=20) | st.just(b"x" * (LONGEST + 7)) | st.just(b"\n"))


@given(PRINTED)
def test_whatever_the_pieces_each_byte_is_in_one_line(pieces: list[bytes]) -> None:
    """As the writer reads: what was not taken comes again, with more behind it."""
    waiting, lines = b"", []
    for piece in pieces:
        waiting += piece
        taken, found = whole_lines(waiting)
        waiting = waiting[taken:]
        assert len(waiting) <= LONGEST
        assert b"\n" not in waiting
        lines += found
    lines.append(waiting)
    printed = b"".join(pieces)
    assert b"".join(lines) == printed.replace(b"\n", b"")
    assert all(len(line) <= LONGEST for line in lines)
    if len(printed) <= LONGEST:
        assert lines == printed.split(b"\n")


@given(st.lists(st.text(st.characters(exclude_characters="\n", codec="utf-8")), min_size=1))
def test_records_are_read_as_they_were_written(texts: list[str]) -> None:
    for name, write in FORMATS.items():
        data = write(OUTLET, STAMP, [text.encode() for text in texts])
        read = [parse(line) for line in data.decode().split("\n")[:-1]]
        assert read == [Record(STAMP, 4711, 1, "err", text) for text in texts], name


@given(st.binary().filter(lambda data: b"\n" not in data))
def test_bytes_that_are_no_text_stay_what_they_are(line: bytes) -> None:
    assert FORMATS["text"](OUTLET, STAMP, [line]).endswith(b" 1 err " + line + b"\n")
    assert FORMATS["json"](OUTLET, STAMP, [line]).count(b"\n") == 1


def test_a_note_is_from_no_worker() -> None:
    for kind in FORMATS:
        line = format_note(kind, STAMP, 7, "3 lines were dropped").decode().rstrip("\n")
        assert parse(line) == Record(STAMP, 7, None, "log", "3 lines were dropped")


@given(st.text() | st.text().map(lambda text: '{"time": "' + text))
def test_a_line_of_something_else_belongs_to_the_one_before(line: str) -> None:
    assert parse(line) is None
