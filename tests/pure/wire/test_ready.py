"""The private protocols: messages on the ready pipe, and the layout of the scoreboard."""

import itertools
import json
import math
import struct

import hypothesis.strategies as st
import pytest
from hypothesis import given

from prefork.printable import MAX_TEXT_LENGTH
from prefork.wire.fields import FIELDS, Field
from prefork.wire.ready import (
    MAX_LINE_SIZE,
    MAX_MESSAGES,
    InvalidMessage,
    MessageKind,
    ReadyDecoder,
    ReadyMessage,
    encode_message,
)
from prefork.wire.scoreboard import (
    FIELD_INDEX,
    FIELD_SIZE,
    FIRST_ROW,
    HEAD_SIZE,
    LOADS_SIZE,
    MASTER_FIELDS,
    MASTER_SIZE,
    RECORD_SIZE,
    ROW_SIZE,
    ROWS,
    SIZE,
    WORKER_FIELDS,
    plausible_count,
    plausible_time,
    record_offset,
    row_offset,
)

MESSAGES = st.builds(ReadyMessage, st.sampled_from(MessageKind), st.text())


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut ``data`` into pieces; cuts beyond the end have no effect."""
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def decode(*chunks: bytes) -> list[ReadyMessage | InvalidMessage]:
    decoder = ReadyDecoder()
    return [message for chunk in chunks for message in decoder.feed(chunk)]


@given(st.lists(MESSAGES, max_size=5), st.lists(st.integers(0, 500)))
def test_messages_are_decoded_as_encoded_whatever_the_pieces(
    messages: list[ReadyMessage], cuts: list[int]
) -> None:
    data = b"".join(encode_message(message.kind, message.text) for message in messages)
    assert decode(*pieces(data, cuts)) == messages


@given(MESSAGES)
def test_a_message_is_one_line_whatever_its_text(message: ReadyMessage) -> None:
    data = encode_message(message.kind, message.text)
    assert data.endswith(b"\n")
    assert data.count(b"\n") == 1


def test_a_message_without_a_text_has_an_empty_one() -> None:
    assert decode(b'{"say": "ready"}\n') == [ReadyMessage(MessageKind.READY, "")]
    assert decode(encode_message(MessageKind.LEAVING)) == [ReadyMessage(MessageKind.LEAVING, "")]
    assert decode(encode_message(MessageKind.FAILED, "why", 111)) == [
        ReadyMessage(MessageKind.FAILED, "why", 111)
    ]


def test_an_unfinished_line_waits_for_its_end() -> None:
    data = encode_message(MessageKind.READY)
    decoder = ReadyDecoder()
    assert list(decoder.feed(data[:-1])) == []
    assert list(decoder.feed(data[-1:])) == [ReadyMessage(MessageKind.READY)]


NESTED = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b"\xff\xfe",
        b"null",
        b"5",
        b"[]",
        b'"ready"',
        b"{}",
        b'{"say": "sing"}',
        b'{"say": null}',
        b'{"say": ["ready"]}',
        b'{"say": {"ready": 1}}',
        b'{"text": "ready"}',
        b'{"say": "ready"',
        b'{"say": "failed", "code": 256}',
        b'{"say": "failed", "code": -1}',
        b'{"say": "failed", "code": 1.5}',
        b'{"say": "failed", "code": "102"}',
        b'{"say": "failed", "code": Infinity}',
        b"9" * 5000,
        NESTED,
    ],
    ids=lambda line: repr(line[:20]),
)
def test_an_invalid_line_is_reported_and_the_last_that_is_read(line: bytes) -> None:
    before, nonsense = decode(
        encode_message(MessageKind.READY), line + b"\n" + encode_message(MessageKind.READY), b"\n"
    )
    assert before == ReadyMessage(MessageKind.READY)
    assert isinstance(nonsense, InvalidMessage)


@pytest.mark.parametrize("text", ["5", "null", "[1, 2]", '{"a": 1}'])
def test_a_text_of_another_type_becomes_text(text: str) -> None:
    (message,) = decode(b'{"say": "worn", "text": ' + text.encode() + b"}\n")
    assert message == ReadyMessage(MessageKind.WORN, str(json.loads(text)))


@given(
    st.lists(st.binary() | st.just(b"\n") | st.just(encode_message(MessageKind.READY)), max_size=6)
)
def test_hostile_bytes_never_raise_and_nothing_follows_an_invalid_message(
    chunks: list[bytes],
) -> None:
    messages = decode(*chunks)
    assert not any(isinstance(message, InvalidMessage) for message in messages[:-1])
    if all(isinstance(message, ReadyMessage) for message in messages):
        assert len(messages) == b"".join(chunks).count(b"\n")


def test_a_flood_of_lines_is_one_invalid_message() -> None:
    assert decode(*[b"\n" * 65536] * 10) == [InvalidMessage("")]


def test_a_flood_of_messages_ends_with_an_invalid_message() -> None:
    messages = decode(*[encode_message(MessageKind.WORN, "again") * 300] * 10)
    assert messages[:-1] == [ReadyMessage(MessageKind.WORN, "again")] * MAX_MESSAGES
    assert messages[-1] == InvalidMessage(f"more than {MAX_MESSAGES} messages")


def test_a_text_that_is_longer_than_the_encoder_allows_is_cut() -> None:
    (message,) = decode(
        json.dumps({"say": "failed", "text": "x" * (MAX_LINE_SIZE - 50)}).encode() + b"\n"
    )
    assert isinstance(message, ReadyMessage)
    assert MAX_TEXT_LENGTH < len(message.text) <= MAX_TEXT_LENGTH + 100


def test_an_invalid_line_is_kept_short_and_printable() -> None:
    (nonsense,) = decode(b"\xff" + b"x" * 5000 + b"\n")
    assert nonsense == InvalidMessage("\\xff" + "x" * 199)


def test_an_endless_line_is_cut_off_and_nothing_more_is_read() -> None:
    decoder = ReadyDecoder()
    piece = b"x" * 65536
    messages = [message for _ in range(100) for message in decoder.feed(piece)]
    assert messages == [InvalidMessage("x" * 200)]
    assert list(decoder.feed(b"\n" + encode_message(MessageKind.READY))) == []


def test_a_line_may_be_exactly_as_long_as_the_longest() -> None:
    decoder = ReadyDecoder()
    assert list(decoder.feed(b"x" * MAX_LINE_SIZE)) == []
    assert list(decoder.feed(b"x")) == [InvalidMessage("x" * 200)]


@pytest.mark.parametrize("character", ["x", "\n", "\x01", "é", "\ud800", "😀"])
def test_the_longest_text_fits_into_the_longest_line_in_any_script(character: str) -> None:
    data = encode_message(MessageKind.FAILED, character * (MAX_TEXT_LENGTH * 3))
    assert len(data) <= MAX_LINE_SIZE
    (message,) = decode(*pieces(data, list(range(0, len(data), 65536))))
    assert isinstance(message, ReadyMessage)


def test_a_long_text_loses_its_middle() -> None:
    (message,) = decode(
        encode_message(MessageKind.FAILED, "a" * MAX_TEXT_LENGTH + "z" * MAX_TEXT_LENGTH)
    )
    assert isinstance(message, ReadyMessage)
    half = MAX_TEXT_LENGTH // 2
    assert message.text == "a" * half + "\n  … cut …\n" + "z" * half


def test_a_text_of_the_longest_length_is_left_whole() -> None:
    assert decode(encode_message(MessageKind.FAILED, "a" * MAX_TEXT_LENGTH)) == [
        ReadyMessage(MessageKind.FAILED, "a" * MAX_TEXT_LENGTH)
    ]


def test_every_field_has_eight_bytes_so_that_it_is_stored_whole() -> None:
    assert FIELD_SIZE == 8
    assert {struct.calcsize(field.code) for field in FIELDS} == {FIELD_SIZE}
    assert {field.code for field in FIELDS} <= {"Q", "d"}


@pytest.mark.parametrize(
    ("fields", "size"), [(MASTER_FIELDS, RECORD_SIZE), (WORKER_FIELDS, ROW_SIZE)]
)
def test_every_field_has_a_column_of_its_own_inside_its_part(
    fields: tuple[Field, ...], size: int
) -> None:
    assert {FIELD_INDEX[field.name]: field.name for field in fields} == {
        column: field.name for column, field in enumerate(fields)
    }
    assert (max(FIELD_INDEX[field.name] for field in fields) + 1) * FIELD_SIZE <= size


def test_the_two_parts_have_all_fields() -> None:
    assert len(FIELD_INDEX) == len(FIELDS) == len(MASTER_FIELDS) + len(WORKER_FIELDS)


def test_every_field_has_one_writer_and_a_help_text() -> None:
    assert {field.writer for field in FIELDS} <= {"master", "worker"}
    assert all(field.text for field in FIELDS)
    masters = [field.name for field in FIELDS if field.writer == "master"]
    first = ["worker", "slot", "generation", "pid", "state", "born", "ends"]
    assert masters == [*first, "outdated"]


def test_rows_follow_each_other_without_overlap_on_cache_lines_of_their_own() -> None:
    offsets = [row_offset(row) for row in range(ROWS)]
    assert offsets[0] == FIRST_ROW
    assert {b - a for a, b in itertools.pairwise(offsets)} == {ROW_SIZE}
    assert ROW_SIZE % 64 == 0
    assert offsets[-1] + ROW_SIZE == SIZE
    assert LOADS_SIZE <= FIRST_ROW
    records = [record_offset(row) for row in range(ROWS)]
    assert records[0] == HEAD_SIZE
    assert {b - a for a, b in itertools.pairwise(records)} == {RECORD_SIZE}
    assert records[-1] + RECORD_SIZE == MASTER_SIZE


@pytest.mark.parametrize("row", [-1, ROWS, ROWS + 1])
def test_a_row_beyond_the_last_is_an_error(row: int) -> None:
    with pytest.raises(IndexError, match=f"row {row} of {ROWS}"):
        row_offset(row)
    with pytest.raises(IndexError, match=f"row {row} of {ROWS}"):
        record_offset(row)


@pytest.mark.parametrize("count", [0, 1, 2**63 - 1])
def test_a_plausible_count_is_unchanged(count: int) -> None:
    assert plausible_count(count) == count


@given(st.floats(0.0, 1e12))
def test_a_plausible_time_is_unchanged(time: float) -> None:
    assert plausible_time(time) == time


@pytest.mark.parametrize("count", [2**63, 2**64 - 1])
def test_an_implausible_count_is_zero(count: int) -> None:
    assert plausible_count(count) == 0


@pytest.mark.parametrize("time", [math.nan, math.inf, -math.inf, -1e-300, -1.0, 1.1e12, 1.7e308])
def test_an_implausible_time_is_zero(time: float) -> None:
    assert plausible_time(time) == 0.0
