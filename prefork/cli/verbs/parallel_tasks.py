"""Run tasks in child processes: in an order, and several at a time.

Design
------
- **Each task is a process of its own.** Threads would not do, because starting an app forks, and a
  fork copies the locks that other threads hold at that moment.
- **As many tasks run at a time as there are cores:** the starts of apps compute.
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
    """One thing to do. ``action`` does it and may raise PreforkError.

    ``after``: names of the tasks that must have ended well before, as far as they are among the
    tasks; ``last``: the task waits for all tasks that are not last, whether they fail or not.
    """

    name: str
    action: Callable[[], None]
    after: Sequence[str] = ()
    last: bool = False


def run_tasks(tasks: Sequence[Task], max_parallel: int) -> dict[str, int]:
    """Run all tasks, at most ``max_parallel`` at a time; return their exit codes by name.

    A task that comes after one that failed is not run and gets the exit code of UsageError.
    """
    scheduler = _TaskScheduler(tasks)
    while scheduler.pending or scheduler.running:
        scheduler.fail_dependents()
        for task in scheduler.startable()[: max_parallel - len(scheduler.running)]:
            scheduler.start(task)
        if scheduler.running:
            scheduler.wait_for_one()
    return scheduler.codes


class _TaskScheduler:
    def __init__(self, tasks: Sequence[Task]) -> None:
        self.pending = {task.name: task for task in tasks}
        self.running: dict[str, Child] = {}
        self.codes: dict[str, int] = {}
        self._total = len(tasks)
        self._first = {task.name for task in tasks if not task.last}
        self._waiter = Poller()

    def fail_dependents(self) -> None:
        """Fail the tasks that come after a failed one, and those that come after them."""
        while blocked := [task for task in self.pending.values() if self._failed_dependency(task)]:
            for task in blocked:
                dependency = self._failed_dependency(task)
                error = UsageError(f"{task.name}: not started, {dependency} comes before it")
                self._finish(task.name, _report_failure(error))

    def _failed_dependency(self, task: Task) -> str:
        return next((name for name in task.after if self.codes.get(name)), "")

    def startable(self) -> list[Task]:
        """Return the pending tasks that wait for no other task."""
        unfinished = {*self.running, *self.pending}
        return [
            task
            for task in self.pending.values()
            if unfinished.isdisjoint(self._first if task.last else task.after)
        ]

    def start(self, task: Task) -> None:
        """Run the task in a child process."""
        if os.isatty(2):
            number = self._total - len(self.pending) + 1
            print(f"  {task.name}: {number} of {self._total}", file=sys.stderr)
        sys.stdout.flush()  # else the child would write the buffered text once more
        child = fork(lambda: _run_task(task))
        self.running[task.name] = child
        del self.pending[task.name]
        self._waiter.add_reader(child.pidfd, lambda: self._reap(task.name))

    def wait_for_one(self) -> None:
        """Wait until a child process has ended."""
        for react in self._waiter.wait(None):
            react()

    def _reap(self, name: str) -> None:
        child = self.running.pop(name)
        self._waiter.remove(child.pidfd)
        code = child.reap().code
        self._finish(name, PreforkError.exit_code if code is None else code)

    def _finish(self, name: str, code: int) -> None:
        self.pending.pop(name, None)
        self.codes[name] = code


def _run_task(task: Task) -> int:
    unblock_signals()
    try:
        task.action()
        return 0
    except PreforkError as error:
        return _report_failure(error)


def _report_failure(error: PreforkError) -> int:
    if not isinstance(error, StartFailedError):
        print_error(str(error))
    return error.exit_code
