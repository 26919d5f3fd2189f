"""A worker that was woken for a connection and does not find it still accepts it later, without
another wakeup."""

from pathlib import Path

import pytest

from tests.live.harness import APPS, serving
from tests.live.raw_client import ask, get

ONE = get("/", "Connection: close")


@pytest.mark.parametrize("bound", [[], ["-b", "127.0.0.1:0"]], ids=["one", "two"])
@pytest.mark.parametrize("accept", ["fair", "any"])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_connection_that_was_not_found_at_first_is_accepted_without_another_wakeup(
    tmp_path: Path, workers: int, accept: str, bound: list[str]
) -> None:
    options = (f"--pythonpath={APPS}", f"--accept={accept}", *bound)
    with serving(tmp_path, "missed_wakeup:app", *options, workers=workers) as server:
        assert ask(server, ONE).status == 200
        (tmp_path / "armed").touch()
        assert ask(server, ONE).status == 200
        assert (tmp_path / "lied").exists(), "the fake kernel answer was given"
