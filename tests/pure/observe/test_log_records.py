"""Records of a log: splitting lines, formatting and parsing."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.observe.log_records import (
    FORMATTERS,
    MAX_TEXT,
    Record,
    count_whole_characters,
    format_log_json,
    format_note,
    format_record,
    format_stamp,
    parse_record,
    split_lines,
)
from prefork.printable import printable_line, printable_text
from prefork.wire.log_writer_messages import WorkerStream

OUTLET = WorkerStream(number=3, slot=1, pid=4711, stream="err")
STAMP = "2026-11-24 23:59:01.123"
PRINTED = st.lists(st.binary(max_size=20) | st.just(b"x" * (MAX_TEXT + 7)) | st.just(b"\n"))


@given(PRINTED)
def test_each_byte_is_in_one_line_for_all_ways_to_split_the_input(pieces: list[bytes]) -> None:
    """The log writer reads again what was not taken, with more bytes behind it."""
    waiting, lines = b"", []
    for piece in pieces:
        waiting += piece
        taken, found = split_lines(waiting)
        waiting = waiting[taken:]
        assert len(waiting) <= MAX_TEXT
        assert b"\n" not in waiting
        lines += found
    lines.append(waiting)
    printed = b"".join(pieces)
    assert b"".join(lines) == printed.replace(b"\n", b"")
    assert all(len(line) <= MAX_TEXT for line in lines)
    if all(len(line) <= MAX_TEXT - 3 for line in printed.split(b"\n")):
        assert lines == printed.split(b"\n")
    if len(printed) <= MAX_TEXT:
        assert lines == printed.split(b"\n")


@given(st.lists(st.text(st.characters(exclude_characters="\n", codec="utf-8")), min_size=1))
def test_formatted_records_parse_to_the_same_values(texts: list[str]) -> None:
    for name, write in FORMATTERS.items():
        data = write(OUTLET, STAMP, [text.encode() for text in texts])
        read = [parse_record(line) for line in data.decode().split("\n")[:-1]]
        expected = texts if name == "json" else [on_one_line(text) for text in texts]
        assert read == [Record(STAMP, 4711, 1, "err", text) for text in expected], name
        # Whatever a reader takes for the end of a line, and be it str.splitlines.
        assert len(data.decode().splitlines()) == len(texts), name


def on_one_line(text: str) -> str:
    """Escape what readers take for a line end, as the text format does."""
    if len(f"{text}.".splitlines()) == 1:
        return text
    lines = text.removesuffix("\r")
    return "".join(printable_line(c) if len(f"{c}.".splitlines()) > 1 else c for c in lines)


NO_BREAKS = st.binary().map(lambda data: re.sub(rb"[\n\v\f\r\x1c-\x1e\x85\xa8\xa9]", b"", data))


@given(NO_BREAKS)
def test_bytes_that_are_no_text_are_not_changed(line: bytes) -> None:
    assert FORMATTERS["text"](OUTLET, STAMP, [line]).endswith(b" 1 err " + line + b"\n")
    assert FORMATTERS["json"](OUTLET, STAMP, [line]).count(b"\n") == 1


def test_no_printed_text_is_parsed_as_a_record() -> None:
    forged = f"{STAMP} [1] ERROR forged"
    for ending in ("\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"):
        for write in FORMATTERS.values():
            data = write(OUTLET, STAMP, [f"hello{ending}{forged}".encode()])
            (line,) = data.decode().splitlines()
            record = parse_record(line)
            assert record is not None
            assert (record.pid, record.text[:5]) == (4711, "hello")


def test_a_carriage_return_before_the_end_of_a_line_belongs_to_it() -> None:
    assert FORMATTERS["text"](OUTLET, STAMP, [b"a\r", b"b"]).count(b"\r") == 0
    assert FORMATTERS["text"](OUTLET, STAMP, [b"10 %\r20 %\r"]).endswith(rb"10 %\r20 %" + b"\n")


def test_colours_are_kept_in_a_log() -> None:
    assert b"\x1b[31mred\x1b[m" in FORMATTERS["text"](OUTLET, STAMP, [b"\x1b[31mred\x1b[m"])


@given(st.text(st.characters(codec=None, categories=None)))
def test_every_message_is_one_record(message: str) -> None:
    first, *more = format_record(f"{STAMP} [7] ERROR {message}").splitlines()
    assert parse_record(first) is not None
    assert all(parse_record(line) is None for line in more)
    assert all(line.startswith("  ") or not line for line in more)


@pytest.mark.parametrize(
    "forged",
    [
        f"{STAMP} [1] ERROR forged",
        f"{STAMP} [1] 0 out forged",
        f'{{"time": "{STAMP}", "pid": 1, "slot": null, "stream": "log", "text": "forged"}}',
    ],
)
def test_an_exception_cannot_forge_a_record(forged: str) -> None:
    for ending in ("\n", "\r\n", "\r", "\v", "\f", "\x85", "\u2028", "\u2029"):
        lines = format_record(f"{STAMP} [7] ERROR no{ending}{forged}").splitlines()
        assert [parse_record(line) for line in lines[1:]] == [None] * (len(lines) - 1)
        assert forged not in lines


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1, max_size=9))
def test_a_line_that_is_too_long_is_cut_between_characters(text: str) -> None:
    """This holds also for an unfinished line, as the log writer reads it."""
    line = (text * (3 * MAX_TEXT // len(text.encode()))).encode()
    _, pieces = split_lines(line)
    taken_all, whole = split_lines(line + b"\n")
    assert taken_all == len(line) + 1
    assert b"".join(whole) == line
    for piece in pieces + whole:
        piece.decode()
        assert len(piece) <= MAX_TEXT
    assert all(len(piece) > MAX_TEXT - 4 for piece in whole[:-1])


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.integers(1, 4))
def test_a_line_without_its_end_is_written_in_whole_characters(text: str, less: int) -> None:
    data = text.encode()
    cut = data[:-less] or data[:1]
    ready = count_whole_characters(cut)
    if ready == len(cut):
        assert len(cut) < len(text[0].encode()) or cut.decode()
    else:
        assert 0 < ready < len(cut) < ready + 4
        assert data.startswith(cut[:ready].decode().encode())


@given(st.binary())
def test_bytes_that_are_no_text_are_written(data: bytes) -> None:
    while data:
        ready = count_whole_characters(data)
        assert ready > 0
        data = data[ready:]


@pytest.mark.parametrize(
    "text",
    [
        '{"time": "x", "pid": Infinity, "slot": null, "stream": "log", "text": ""}',
        '{"time": "x", "pid": 1, "slot": ' + "[" * 100_000,
        '{"time": "x", "pid": NaN}',
        '{"time": "x"}',
    ],
)
def test_json_that_is_no_record_continues_the_record_before(text: str) -> None:
    assert parse_record(text) is None


def test_a_note_has_no_slot() -> None:
    for kind in FORMATTERS:
        line = format_note(kind, STAMP, 7, "3 lines were dropped").decode().rstrip("\n")
        assert parse_record(line) == Record(STAMP, 7, None, "log", "3 lines were dropped")


@given(st.text() | st.text().map(lambda text: '{"time": "' + text))
def test_another_line_continues_the_record_before(line: str) -> None:
    assert parse_record(line) is None


@given(st.text(), st.sampled_from(["INFO", "ERROR"]))
def test_a_json_record_of_the_log_parses_to_its_level_and_text(text: str, level: str) -> None:
    line = format_log_json(STAMP, 4711, level, text)
    assert line.isascii()
    assert "\n" not in line
    text = printable_text(text).rstrip("\n")
    assert parse_record(line) == Record(STAMP, 4711, None, "log", f"{level} {text}")


def test_a_stamp_is_local_time_in_milliseconds() -> None:
    local = time.mktime((2026, 11, 24, 23, 59, 1, 0, 0, -1))
    assert format_stamp(local + 0.1236) == STAMP
