"""Keys and values of a store as texts: unambiguous, and harmless on a terminal."""

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prefork.cli.view.stored_bytes import (
    describe_value,
    escape_bytes,
    text_of_value,
    unescape_bytes,
)
from prefork.store.entry_format import count_by_namespace

HOSTILE = [
    b"\x1b]52;c;cm0gLXJm\x07",
    b"one\nforged",
    b"\x85\xc2\x85",
    b"\\x1b",
    b"a\\b",
    "\u202eexe.txt".encode(),
    "\U000e0041".encode(),
    b"\xed\xa0\x80",
    b"",
]


@given(st.binary() | st.sampled_from(HOSTILE) | st.text().map(str.encode))
@example(b"\\\\n\\u0041")
def test_a_text_stands_for_exactly_one_key_and_acts_on_nothing(key: bytes) -> None:
    text = escape_bytes(key)
    assert text.isprintable()
    assert unescape_bytes(text.encode()) == key


@given(st.binary(), st.binary())
def test_two_keys_never_look_alike(one: bytes, other: bytes) -> None:
    assert (escape_bytes(one) == escape_bytes(other)) == (one == other)


@pytest.mark.parametrize("text", ["page:1", "año", r"a\b", "\\", r"\xZZ", r"\Uffffffff", r"\ud800"])
def test_a_backslash_that_begins_no_escape_means_itself(text: str) -> None:
    assert unescape_bytes(text.encode()) == text.encode()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"hello", "hello"),
        (b"two\nlines\t", "two\nlines\t"),
        (b"\x80\x04", None),
        (b"\x1b[31m", None),
        ("\u202e".encode(), None),
    ],
)
def test_a_value_is_text_or_it_is_not(value: bytes, text: str | None) -> None:
    assert text_of_value(value) == text
    described = describe_value(b"k\n", value)
    assert base64.b64decode(described.pop("base64")) == value
    assert described == {"key": "k\\n", "bytes": len(value), "text": text}


def test_namespaces_are_counted_and_keys_of_locks_are_not() -> None:
    keys = [b"\0a", b"\0b\0c", b"cart\0x", b"lock:job"]
    assert count_by_namespace(keys) == {b"": 2, b"cart": 1}
