"""The walks in the page about the architecture are short, and name functions that exist.

``tests/live/test_walks.py`` checks that a running server takes these ways.
"""

import ast

import pytest

from tests.walks import ROOT, Hop, read_walk

WALKS = {"One request": 12, "One SIGHUP": 15}
"""The most hops of each walk: what a reader can keep in mind, and a stack trace on one page."""

walks = pytest.mark.parametrize("title", WALKS)


@walks
def test_a_walk_is_short(title: str) -> None:
    assert 2 <= len(read_walk(title)) <= WALKS[title]


@walks
def test_each_function_of_a_walk_exists_in_its_file(title: str) -> None:
    missing = [hop.name for hop in read_walk(title) if not is_defined(hop)]
    assert not missing


@walks
def test_a_walk_begins_with_an_event_and_passes_no_function_twice(title: str) -> None:
    hops = read_walk(title)
    assert hops[0].is_event
    assert len(set(hops)) == len(hops)


def is_defined(hop: Hop) -> bool:
    """Return whether the file defines the function, in the class that the name says."""
    path = ROOT / hop.file
    scope: list[ast.stmt] = ast.parse(path.read_bytes()).body if path.exists() else []
    for word in hop.function.split("."):
        kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        found = [each for each in scope if isinstance(each, kinds) and each.name == word]
        if not found:
            return False
        scope = found[0].body
    return True
