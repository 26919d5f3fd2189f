"""Read what the workers of tests/apps/leaders.py have noted about their terms."""

import itertools
from pathlib import Path

import psutil

from tests.live.harness import is_alive, wait_for


def read_terms(folder: Path) -> list[list[str]]:
    """Return the words of each note so far."""
    path = folder / "terms"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def begun(folder: Path) -> list[tuple[int, int]]:
    """Return token and pid of each term that began."""
    return [(int(note[1]), int(note[-1])) for note in read_terms(folder) if note[0] == "begin"]


def wait_for_leader(folder: Path, terms: int) -> psutil.Process:
    """Wait until so many terms have begun, and return the process that leads then, alive."""

    def last_leader() -> psutil.Process | None:
        found = begun(folder)
        if len(found) < terms:
            return None
        try:
            process = psutil.Process(found[-1][1])
        except psutil.NoSuchProcess:
            return None
        return process if is_alive(process) else None

    found = wait_for(last_leader, f"{terms} terms in {read_terms(folder)}")
    assert found is not None
    return found


def assert_one_at_a_time(folder: Path) -> None:
    """Assert that no two terms overlapped: by the notes, and by what ``leader()`` returned."""
    notes = read_terms(folder)
    assert not [note for note in notes if note[0] == "two"], notes
    tokens = [token for token, _ in begun(folder)]
    assert tokens == sorted(set(tokens)), "the fencing token did not rise"
    led = [path.read_text().split() for path in folder.glob("led-*")]
    spans = sorted((float(span[0]), float(span[1])) for span in led if span)
    for (_, ended), (began, _) in itertools.pairwise(spans):
        assert ended < began, "leader() was true in two workers at a time"
