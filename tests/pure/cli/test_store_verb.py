"""The child that opens the files of a store for a verb."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from prefork.cli.verbs.store_verb import run_in_child
from prefork.errors import MachineError, StoreBusy
from prefork.unix.store_place import StorePlace
from tests.pure.children import fork_child
from tests.pure.store.stores import place_in


@pytest.fixture
def place(tmp_path: Path) -> StorePlace:
    path = tmp_path / "store"
    path.mkdir(mode=0o700)
    return place_in(path)


def outcome(place: StorePlace, operate: Callable[[StorePlace], int], tmp_path: Path) -> str:
    """Return the exit code or the error of an operation that changes, with a limit of a second."""
    answer = tmp_path / "answer"

    def life() -> int:
        os.dup2(os.open(tmp_path / "errors", os.O_WRONLY | os.O_CREAT), 2)
        try:
            answer.write_text(str(run_in_child(place, operate, changes=True, limit=1)))
        except MachineError as error:
            answer.write_text(str(error))
        return 0

    assert fork_child(life).reap().code == 0
    return answer.read_text()


def wait_without_end(_place: StorePlace) -> int:
    while True:
        time.sleep(60)


def die(_place: StorePlace) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def fail(_place: StorePlace) -> int:
    raise StoreBusy("held")


def find_garbage(_place: StorePlace) -> int:
    return int(b"many")


@pytest.mark.parametrize(
    ("operate", "expected", "errors"),
    [
        (lambda _place: 7, "7", ""),
        (wait_without_end, "could not be opened or changed within 1 s", ""),
        (die, "was ended by SIGKILL", ""),
        (fail, "111", "prefork: held\n"),
        (find_garbage, "111", "has what prefork did not write there"),
    ],
)
def test_the_command_survives_its_child_and_says_what_happened(
    place: StorePlace,
    tmp_path: Path,
    operate: Callable[[StorePlace], int],
    expected: str,
    errors: str,
) -> None:
    assert expected in outcome(place, operate, tmp_path)
    assert errors in (tmp_path / "errors").read_text()
