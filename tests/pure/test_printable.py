"""Texts made printable: over all of str, and for the characters that matter."""

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.printable import cut_middle, printable_line, printable_text, printable_value

EVERY = st.text(st.characters(codec=None, categories=None))
"""All of str, including lone surrogates, which hypothesis leaves out by default."""

DANGEROUS = st.text(
    st.sampled_from(
        "\0\a\b\t\n\v\f\r\x1b\x1c\x1d\x1e\x7f\x85\x9b\x9d\u2028\u2029\u202e\u2066\udce9\ud800a\\ é"
    )
)

BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
MARKS = "\u061c\u200e\u200f"


def is_fit(character: str) -> bool:
    """Return whether a character is printable by Unicode's own tables."""
    category = unicodedata.category(character)
    bidi = unicodedata.bidirectional(character)
    return category not in ("Cc", "Cs", "Zl", "Zp") and bidi not in BIDI and character not in MARKS


@given(EVERY | DANGEROUS)
def test_printable_line_returns_one_line_of_printable_characters(text: str) -> None:
    line = printable_line(text)
    assert all(map(is_fit, line))
    assert len(line.splitlines()) <= 1
    line.encode()
    assert printable_line(line) == printable_text(line) == line


@given(EVERY | DANGEROUS)
def test_printable_text_keeps_line_ends_and_tabs_and_no_other_control_character(text: str) -> None:
    printable = printable_text(text)
    assert all(is_fit(each) or each in "\n\t" for each in printable)
    assert f"{printable}\n".splitlines() == printable.split("\n")
    assert printable.count("\n") == text.count("\n")
    assert printable_text(printable) == printable


def test_exactly_the_unprintable_characters_are_escaped() -> None:
    for code in range(0x110000):
        character = chr(code)
        assert (printable_line(character) == character) == is_fit(character), hex(code)


@pytest.mark.parametrize(
    ("text", "line", "several"),
    [
        ("", "", ""),
        ("café ☕ 👩\u200d💻 עברית", "café ☕ 👩\u200d💻 עברית", "café ☕ 👩\u200d💻 עברית"),
        ("bad\0", r"bad\x00", r"bad\x00"),
        ("\x1b]52;c;aGk=\x07", r"\x1b]52;c;aGk=\x07", r"\x1b]52;c;aGk=\x07"),
        ("a\nb\tc", r"a\nb\tc", "a\nb\tc"),
        ("a\r\nb\rc", r"a\r\nb\rc", "a\nb\\rc"),
        ("a\u2028b\x85c\v\f", r"a\u2028b\x85c\x0b\x0c", r"a\u2028b\x85c\x0b\x0c"),
        ("caf\udce9", r"caf\xe9", r"caf\xe9"),
        ("\ud800", r"\ud800", r"\ud800"),
        ("\u202etxt.exe", r"\u202etxt.exe", r"\u202etxt.exe"),
        (r"C:\new", r"C:\new", r"C:\new"),
    ],
)
def test_a_text_is_escaped_as_python_would_write_it(text: str, line: str, several: str) -> None:
    assert printable_line(text) == line
    assert printable_text(text) == several


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | EVERY,
    lambda inner: st.lists(inner) | st.dictionaries(EVERY, inner),
)


@given(JSON)
def test_every_text_of_a_value_is_made_printable(value: Any) -> None:
    printable = printable_value(value)
    # Every parser takes it: a lone surrogate is no character of JSON (RFC 8259, section 8.2).
    assert json.loads(json.dumps(printable, ensure_ascii=False).encode()) == printable
    assert printable_value(printable) == printable


def test_a_value_keeps_its_shape() -> None:
    value = {"a\0": ["x\x1b", 1, None, {"b": ("\udcff",)}], "c": 2.5}
    assert printable_value(value) == {r"a\x00": [r"x\x1b", 1, None, {"b": [r"\xff"]}], "c": 2.5}


@given(EVERY, st.integers(2, 50))
def test_cut_middle_keeps_both_ends(text: str, most: int) -> None:
    short = cut_middle(text, most)
    if len(text) <= most:
        assert short == text
    else:
        half = most // 2
        assert short[:half] == text[:half]
        assert short[-half:] == text[-half:]
        assert len(short) <= most + len("\n  … cut …\n")
