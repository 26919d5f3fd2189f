"""Numbers together with their noun."""

import re
from pathlib import Path

import pytest

from prefork.plural import pluralize

PACKAGE = Path(__file__).parents[2] / "prefork"

FIXED = {"MAX_LINE_SIZE"}
"""Constants that are never one."""


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 workers"), (1, "1 worker"), (2, "2 workers"), (12, "12 workers")]
)
def test_only_one_is_singular(number: int, text: str) -> None:
    assert pluralize(number, "worker") == text


def test_the_verb_goes_with_the_noun() -> None:
    assert pluralize(1, "line was lost", "lines were lost") == "1 line was lost"
    assert pluralize(3, "line was lost", "lines were lost") == "3 lines were lost"


def test_a_number_may_be_shown_in_another_way() -> None:
    assert pluralize(12345, "connection", show=lambda n: f"{n:,}") == "12,345 connections"


def test_no_text_writes_a_plural_behind_a_number_by_itself() -> None:
    """A text that does so says ``1 workers`` for one of them."""
    nouns = "worker|app|line|file|connection|request|death|slot|byte|listener|record"
    plural = re.compile(rf"(\{{([^{{}}]*)\}}|%d) ({nouns})s\b")
    found = [
        f"{path.relative_to(PACKAGE)}: {text[0]}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for text in plural.finditer(path.read_text())
        if text[2] not in FIXED
    ]
    if found:
        pytest.fail("\n".join(found), pytrace=False)
