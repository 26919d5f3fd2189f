"""Tasks run in parallel and in order, and none runs after one that failed."""

import atexit
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from prefork.cli.verbs.launch import StartFailedError
from prefork.cli.verbs.parallel_tasks import Task, run_tasks
from prefork.errors import MachineError


class Book:
    """A file in which processes note what they do, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, line: str) -> None:
        with open(self.path, "a", encoding="ascii") as file:
            file.write(line + "\n")

    def lines(self) -> list[str]:
        return self.path.read_text(encoding="ascii").splitlines() if self.path.exists() else []


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path / "book")


def task(name: str, act: Callable[[], None], *after: str, last: bool = False) -> Task:
    """Return a task whose process runs no exit handlers of the test runner."""

    def alone() -> None:
        atexit._clear()
        act()

    return Task(name, alone, after, last)


def noting(book: Book, name: str, *after: str, last: bool = False) -> Task:
    def act() -> None:
        book.note(f"{name} begins")
        book.note(f"{name} ends")

    return task(name, act, *after, last=last)


def meeting(book: Book, name: str, other: str) -> Task:
    """Return a task that ends once the other one has begun."""
    pipe = book.path.with_name(f"{name}-waits")
    os.mkfifo(pipe)

    def act() -> None:
        # Opening either end of a FIFO waits for the other end (fifo(7)).
        for end in sorted((name, other)):
            mode = "w" if end == name else "r"
            with open(book.path.with_name(f"{end}-waits"), mode, encoding="ascii"):
                pass
        book.note(name)

    return task(name, act)


def test_independent_tasks_run_at_the_same_time(book: Book) -> None:
    assert run_tasks([meeting(book, "a", "b"), meeting(book, "b", "a")], 2) == {"a": 0, "b": 0}
    assert sorted(book.lines()) == ["a", "b"]


def test_no_more_tasks_run_at_a_time_than_allowed(book: Book) -> None:
    run_tasks([noting(book, name) for name in "abc"], 1)
    assert book.lines() == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]


def test_a_task_waits_for_those_before_it_and_the_last_for_all(book: Book) -> None:
    gone = noting(book, "gone", last=True)
    also = noting(book, "also", last=True)
    tasks = [gone, also, noting(book, "web", "db", "not to be done"), noting(book, "db")]
    assert run_tasks(tasks, 8) == dict.fromkeys(["gone", "also", "web", "db"], 0)
    assert book.lines()[:4] == ["db begins", "db ends", "web begins", "web ends"]


def test_a_task_after_a_failed_one_is_not_run(
    book: Book, capfd: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise MachineError("the disk is full")

    def failed() -> None:
        raise StartFailedError("two", 102)

    tasks = [
        noting(book, "four", "three"),
        noting(book, "three", "one"),
        task("one", fails),
        task("two", failed),
        task("killed", lambda: os.kill(os.getpid(), 9)),
        noting(book, "last", last=True),
    ]
    codes = run_tasks(tasks, 2)
    assert codes == {"one": 111, "two": 102, "three": 100, "four": 100, "killed": 101, "last": 0}
    assert book.lines() == ["last begins", "last ends"]
    assert sorted(capfd.readouterr().err.splitlines()) == [
        "prefork: four: not started, three comes before it",
        "prefork: the disk is full",
        "prefork: three: not started, one comes before it",
    ]


def test_the_output_of_a_task_is_printed_once(
    book: Book, capfd: pytest.CaptureFixture[str]
) -> None:
    sys.stdout.write("before\n")
    run_tasks([task("one", lambda: print("one")), task("two", lambda: print("two"))], 1)
    assert capfd.readouterr().out == "before\none\ntwo\n"
