"""Dataclasses as JSON, and back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from prefork.json_records import REFERENCE, dump_record, load_record


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Point:
    x: int
    y: float = 0.5


@dataclass(frozen=True)
class Label:
    text: str


@dataclass
class Drawing:
    colour: Colour
    points: dict[int, Point]
    corners: list[Point]
    layers: frozenset[int]
    mark: Point | Label | None
    notes: Mapping[str, Any] = field(default_factory=dict)
    is_open: bool = False
    canvas: object = field(default=None, metadata=REFERENCE)


def through_json(drawing: Drawing) -> Any:
    return json.loads(json.dumps(dump_record(drawing)))


INTEGERS = st.integers(-(2**53), 2**53)
POINTS = st.builds(Point, INTEGERS, st.floats(allow_nan=False, allow_infinity=False))
DRAWINGS = st.builds(
    Drawing,
    st.sampled_from(Colour),
    st.dictionaries(INTEGERS, POINTS),
    st.lists(POINTS),
    st.frozensets(INTEGERS),
    st.none() | POINTS | st.builds(Label, st.text()),
    st.dictionaries(st.text(), st.text() | INTEGERS | st.none()),
    st.booleans(),
)


@given(DRAWINGS)
def test_a_record_comes_back_as_it_was(drawing: Drawing) -> None:
    assert load_record(Drawing, through_json(drawing)) == drawing


def test_a_reference_is_not_dumped_but_given() -> None:
    drawing = Drawing(Colour.RED, {}, [], frozenset(), None, canvas="wood")
    dumped = through_json(drawing)
    assert "canvas" not in dumped
    assert load_record(Drawing, dumped, canvas="wood") == drawing


def test_a_missing_key_has_its_default() -> None:
    assert load_record(Point, {"x": 3}) == Point(3, 0.5)


@pytest.mark.parametrize(
    "dumped",
    [
        None,
        [],
        {},
        {"x": "3"},
        {"x": True},
        {"x": 3.5},
        {"x": 3, "y": None},
        {"x": 3, "z": 4},
    ],
)
def test_a_value_of_another_form_is_refused(dumped: object) -> None:
    with pytest.raises(ValueError, match=r"Point|object|type"):
        load_record(Point, dumped)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("colour", "green", "green"),
        ("points", [], "object"),
        ("points", {"one": {"x": 1}}, "one"),
        ("corners", {"x": 1}, "list"),
        ("layers", 3, "list"),
        ("mark", {"x": "a", "text": 3}, "Point has no text; Label has no x"),
        ("canvas", "wood", "has no canvas"),
    ],
)
def test_a_field_of_another_form_is_refused(key: str, value: object, why: str) -> None:
    dumped = through_json(Drawing(Colour.RED, {}, [], frozenset(), None))
    with pytest.raises(ValueError, match=why):
        load_record(Drawing, {**dumped, key: value})
