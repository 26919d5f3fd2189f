"""A worker that was woken for a connection and does not find it still accepts it later, without
another wakeup."""

from pathlib import Path

import pytest

from tests.live.harness import APPS, serving, wait_for
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

        def answers_after_the_lie() -> bool:
            # A heartbeat may find one before the epoll reports it; then the lie comes later.
            assert ask(server, ONE).status == 200
            return (tmp_path / "lied").exists()

        wait_for(answers_after_the_lie, "the fake kernel answer was given")
