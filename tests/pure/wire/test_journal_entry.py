"""Entries of the native protocol of journald."""

from hypothesis import given
from hypothesis import strategies as st

from prefork.wire.journal_entry import decode_entry, encode_entry

NAMES = st.from_regex(r"[A-Z][A-Z0-9_]{0,20}", fullmatch=True)
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def test_a_value_of_one_line_is_written_behind_its_name() -> None:
    assert encode_entry({"MESSAGE": "a=b é", "PRIORITY": "6"}) == (
        b"MESSAGE=a=b \xc3\xa9\nPRIORITY=6\n"
    )


def test_a_value_of_several_lines_has_its_length_before_it() -> None:
    """The example of the protocol's document."""
    assert encode_entry({"MESSAGE": "foobar\nwaldo"}) == (
        b"MESSAGE\n\x0c\x00\x00\x00\x00\x00\x00\x00foobar\nwaldo\n"
    )


def test_what_utf_8_does_not_have_is_escaped() -> None:
    assert encode_entry({"MESSAGE": "\ud800"}) == b"MESSAGE=\\ud800\n"


@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_no_value_can_add_a_field_or_change_another_one(fields: dict[str, str]) -> None:
    assert decode_entry(encode_entry(fields)) == fields
