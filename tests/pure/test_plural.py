"""``pluralize`` writes a number with its noun, and all messages use it."""

import re
from pathlib import Path

import pytest

from prefork.plural import pluralize

PACKAGE = Path(__file__).parents[2] / "prefork"

FIXED = {"MAX_LINE_SIZE"}
"""Constants that are never 1."""


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 workers"), (1, "1 worker"), (2, "2 workers"), (12, "12 workers")]
)
def test_only_one_is_singular(number: int, text: str) -> None:
    assert pluralize(number, "worker") == text


def test_a_verb_after_the_noun_agrees_with_the_number() -> None:
    assert pluralize(1, "line was lost", "lines were lost") == "1 line was lost"
    assert pluralize(3, "line was lost", "lines were lost") == "3 lines were lost"


def test_the_caller_may_format_the_number() -> None:
    assert pluralize(12345, "connection", show=lambda n: f"{n:,}") == "12,345 connections"


def test_no_message_has_a_fixed_plural_after_a_number() -> None:
    """Such a message would say ``1 workers``."""
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
