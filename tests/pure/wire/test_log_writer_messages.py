"""What master and log writer say to each other."""

from dataclasses import asdict

import hypothesis.strategies as st
import pytest
from hypothesis import given

from prefork.wire.log_writer_messages import Outlet, message, number_of, read, unknown


def test_an_outlet_is_read_as_it_was_written() -> None:
    outlet = Outlet(number=7, slot=0, pid=4711, stream="err")
    say, details = read(message("outlet", **asdict(outlet)))
    assert (say, Outlet(**details)) == ("outlet", outlet)


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"\xff", b"5", b"null", b"[]", b"{}", b'{"say": 5}', b'{"say": null}', b"[" * 9999],
    ids=lambda data: repr(data[:20]),
)
def test_what_makes_no_sense_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the decoder's own words are as good
        read(data)


@given(st.binary())
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        say, _ = read(data)
    except ValueError:
        return
    assert isinstance(say, str)


@pytest.mark.parametrize("number", [None, "1", 1.0, True, [1]])
def test_a_number_is_a_whole_one(number: object) -> None:
    assert number_of({"number": 7}) == 7
    with pytest.raises(ValueError, match="without its number"):
        number_of({"number": number})


def test_an_unknown_message_is_told_short_and_printable() -> None:
    assert str(unknown("\x1b" * 50)) == "an unknown message: '" + "\\x1b" * 40 + "'"
