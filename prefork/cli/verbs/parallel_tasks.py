"""Several things to do, some of which come after others: as many at a time as there are cores.

Each is done in a process of its own. Threads would not do, because starting an app forks, and a
fork copies the locks that other threads hold at that moment.
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prefork.cli.output.standard_output import print_error
from prefork.cli.verbs.launch import StartFailedError
from prefork.errors import PreforkError, UsageError
from prefork.unix.poller import Poller
from prefork.unix.process import Child, fork, unblock_signals


@dataclass(frozen=True, slots=True)
class Task:
    """``act`` does it, and may raise PreforkError. ``after``: tasks that come before it, as far as
    they are to be done; ``last``: all that are not last do, whether they fail or not."""

    name: str
    act: Callable[[], None]
    after: Sequence[str] = ()
    last: bool = False


def run_tasks(tasks: Sequence[Task], at_a_time: int) -> dict[str, int]:
    """Do all of them; the exit codes by name. What comes after one that failed is not done."""
    run = _TaskScheduler(tasks)
    while run.waiting or run.going:
        run.refuse()
        for task in run.ready()[: at_a_time - len(run.going)]:
            run.begin(task)
        if run.going:
            run.wait()
    return run.codes


class _TaskScheduler:
    def __init__(self, tasks: Sequence[Task]) -> None:
        self.waiting = {task.name: task for task in tasks}
        self.going: dict[str, Child] = {}
        self.codes: dict[str, int] = {}
        self._total = len(tasks)
        self._first = {task.name for task in tasks if not task.last}
        self._waiter = Poller()

    def refuse(self) -> None:
        """Those that come after one that failed, one behind the other."""
        while refused := [task for task in self.waiting.values() if self._failed_before(task)]:
            for task in refused:
                before = self._failed_before(task)
                error = UsageError(f"{task.name}: not started, {before} comes before it")
                self._end(task.name, _failed(error))

    def _failed_before(self, task: Task) -> str:
        return next((name for name in task.after if self.codes.get(name)), "")

    def ready(self) -> list[Task]:
        """Those that wait for no other."""
        unfinished = {*self.going, *self.waiting}
        return [
            task
            for task in self.waiting.values()
            if unfinished.isdisjoint(self._first if task.last else task.after)
        ]

    def begin(self, task: Task) -> None:
        """In a process of its own."""
        if os.isatty(2):
            number = self._total - len(self.waiting) + 1
            print(f"  {task.name}: {number} of {self._total}", file=sys.stderr)
        sys.stdout.flush()
        child = fork(lambda: _act(task))
        self.going[task.name] = child
        del self.waiting[task.name]
        self._waiter.add_reader(child.pidfd, lambda: self._reap(task.name))

    def wait(self) -> None:
        """Until one has ended."""
        for react in self._waiter.wait(None):
            react()

    def _reap(self, name: str) -> None:
        child = self.going.pop(name)
        self._waiter.remove(child.pidfd)
        code = child.reap().code
        self._end(name, PreforkError.exit_code if code is None else code)

    def _end(self, name: str, code: int) -> None:
        self.waiting.pop(name, None)
        self.codes[name] = code


def _act(task: Task) -> int:
    unblock_signals()
    try:
        task.act()
        return 0
    except PreforkError as error:
        return _failed(error)


def _failed(error: PreforkError) -> int:
    if not isinstance(error, StartFailedError):
        print_error(str(error))
    return error.exit_code
