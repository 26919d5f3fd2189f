"""The messages between the master and the log writer."""

from dataclasses import asdict

import hypothesis.strategies as st
import pytest
from hypothesis import given

from prefork.wire.log_writer_messages import (
    WorkerStream,
    decode_message,
    encode_message,
    message_number,
    unknown_message_error,
)


def test_a_worker_stream_is_decoded_as_encoded() -> None:
    outlet = WorkerStream(number=7, slot=0, pid=4711, stream="err")
    say, details = decode_message(encode_message("outlet", **asdict(outlet)))
    assert (say, WorkerStream(**details)) == ("outlet", outlet)


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"\xff", b"5", b"null", b"[]", b"{}", b'{"say": 5}', b'{"say": null}', b"[" * 9999],
    ids=lambda data: repr(data[:20]),
)
def test_an_invalid_message_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message of json is fine, too
        decode_message(data)


@given(st.binary())
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        say, _ = decode_message(data)
    except ValueError:
        return
    assert isinstance(say, str)


@pytest.mark.parametrize("number", [None, "1", 1.0, True, [1]])
def test_a_message_number_is_an_integer(number: object) -> None:
    assert message_number({"number": 7}) == 7
    with pytest.raises(ValueError, match="the message has no number"):
        message_number({"number": number})


def test_the_error_for_an_unknown_message_is_short_and_printable() -> None:
    assert str(unknown_message_error("\x1b" * 50)) == "an unknown message: '" + "\\x1b" * 40 + "'"
