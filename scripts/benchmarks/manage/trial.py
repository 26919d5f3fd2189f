"""Runs one verb until its goal is reached, and measures time, CPU time and memory.

Each worker writes a line with its pid to a file when it accepts connections. A verb is finished
when the right number of workers accept and its command has returned.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.request import urlopen

from ..server import find_free_port, minimal_environment
from ..usage import cpu_ns, process_pss_bytes, process_tree
from .managers import APPS, STEPS, Manager, Step

TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.002
PR_SET_CHILD_SUBREAPER = 36


class TrialError(Exception):
    """A verb failed, or its goal was not reached."""


@dataclass(frozen=True)
class Trial:
    """The times of one verb, in nanoseconds. The names are keys of `manage.json`.

    `wall_ns` is the time until the goal was reached and the command had returned, `verb_ns` the
    time until the command had returned. `cpu_ns` is the CPU time of the command, the manager and
    all workers, with those that exited.
    """

    wall_ns: int
    verb_ns: int
    cpu_ns: int


@dataclass(frozen=True)
class Memory:
    """Memory (PSS) in bytes: of the manager with its helper processes, and of all workers."""

    manager: int
    workers: int


def adopt_orphans() -> None:
    """Make this process a subreaper (prctl(2)): managers in the background become its children.

    The kernel reports the CPU time of a child at its exit, and all remaining children can be killed
    at the end. Raises TrialError.
    """
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise TrialError("this kernel has no PR_SET_CHILD_SUBREAPER")


class ManagerSession:
    """A manager in a temporary home; at its end the context manager stops all its processes."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._port = find_free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="bench-manage-")
        self._home = Path(self._folder.name, "home")
        self._home.mkdir()
        self._ready_file = Path(self._folder.name, "ready")
        self._ready_file.touch()
        self._log = Path(self._folder.name, "log")
        self._manager_pid: int | None = None
        self._exited_cpu_ns = 0
        """CPU time of all commands and managers that exited."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:  # fmt: skip
        try:
            with suppress(TrialError, OSError):
                self._wait_for(self._start_command(self._manager.shutdown))
        finally:
            kill_adopted()
            self._folder.cleanup()

    def measure_verb(self, step: Step) -> Trial:
        """Run the verb and return its times. Raises TrialError when it fails or takes too long."""
        count = STEPS[step][1]
        before = self._ready_workers()
        replaced = before if step == "reload" else []
        used = self._used_cpu_ns()
        started_at = time.perf_counter_ns()
        command = self._start_command(self._manager.verbs[step])
        returned = None
        while returned is None or not self._is_reached(count, replaced):
            if returned is None and self._has_exited(command):
                returned = time.perf_counter_ns()
            if time.perf_counter_ns() - started_at > TIMEOUT_SECONDS * 1e9:
                limit = f"not finished within {TIMEOUT_SECONDS:g} s"
                raise TrialError(f"{step}: {limit}; {self._last_output()}")
            time.sleep(POLL_SECONDS)
        ended = time.perf_counter_ns()
        if command.returncode != 0:
            raise TrialError(f"{step}: exit code {command.returncode}; {self._last_output()}")
        trial = Trial(ended - started_at, returned - started_at, self._used_cpu_ns() - used)
        if count:
            self._check_response()
        return trial

    def delete(self) -> None:
        """Remove the app from the manager."""
        self._wait_for(self._start_command(self._manager.delete))

    def measure_memory(self) -> Memory:
        """Return the memory of the running manager and workers. Raises TrialError without any."""
        manager = self._manager.find_pid(self._home)
        if manager is None:
            raise TrialError("the manager does not run")
        workers = set(self._ready_workers())
        return Memory(
            sum(process_pss_bytes(pid) for pid in process_tree(manager) if pid not in workers),
            sum(process_pss_bytes(pid) for pid in workers),
        )

    def _start_command(self, arguments: str) -> subprocess.Popen[bytes]:
        environ = minimal_environment() | {
            self._manager.home_variable: str(self._home),
            "BENCH_READY_FILE": str(self._ready_file),
            "PORT": str(self._port),
            "PM2_DISABLE_VERSION_CHECK": "true",
        }
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._manager.command(arguments, self._port),
                cwd=APPS,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _has_exited(self, command: subprocess.Popen[bytes]) -> bool:
        """Return whether the command has exited; then add its CPU time to the total."""
        pid, status, usage = os.wait4(command.pid, os.WNOHANG)
        if pid == 0:
            return False
        command.returncode = os.waitstatus_to_exitcode(status)
        self._exited_cpu_ns += _cpu_of(usage)
        return True

    def _wait_for(self, command: subprocess.Popen[bytes]) -> None:
        """Wait until the command has exited. Raises TrialError after TIMEOUT_SECONDS."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not self._has_exited(command):
            if time.monotonic() > deadline:
                command.kill()
                raise TrialError(f"a command did not return; {self._last_output()}")
            time.sleep(POLL_SECONDS)

    def _used_cpu_ns(self) -> int:
        """Return the CPU time of all commands, managers and workers so far."""
        if self._manager_pid is not None and not self._is_managed():
            _, _, usage = os.wait4(self._manager_pid, 0)  # it has exited or is exiting now
            self._exited_cpu_ns += _cpu_of(usage)
            self._manager_pid = None
        if self._manager_pid is None and self._is_managed():
            self._manager_pid = self._manager.find_pid(self._home)
        return self._exited_cpu_ns + (
            cpu_ns(self._manager_pid) if self._manager_pid is not None else 0
        )

    def _is_managed(self) -> bool:
        """Return whether the manager runs."""
        pid = self._manager.find_pid(self._home)
        return pid is not None and _is_alive(pid)

    def _ready_workers(self) -> list[int]:
        """Return the pids of the workers that accept connections and are alive."""
        pids = {int(line) for line in self._ready_file.read_text().splitlines() if line}
        return [pid for pid in pids if _is_alive(pid)]

    def _is_reached(self, count: int, replaced: list[int]) -> bool:
        """Return whether `count` workers are ready and none of them is in `replaced`."""
        workers = self._ready_workers()
        return len(workers) == count and not set(workers) & set(replaced)

    def _check_response(self) -> None:
        """Send a request and check that one of the workers answers. Raises TrialError."""
        with urlopen(f"http://127.0.0.1:{self._port}/", timeout=10) as answer:
            pid = int(answer.read())
        if pid not in self._ready_workers():
            raise TrialError(f"process {pid} answered, which is not one of the workers")

    def _last_output(self) -> str:
        """Return the last lines that the commands printed, for an error message."""
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line]
        return " | ".join(lines[-3:]) or "it printed nothing"


def _is_alive(pid: int) -> bool:
    """Return whether the process exists and is not a zombie."""
    try:
        stat = Path("/proc", str(pid), "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def _cpu_of(usage: resource.struct_rusage) -> int:
    return int((usage.ru_utime + usage.ru_stime) * 1e9)


def kill_adopted() -> None:
    """Kill and reap all descendants of this process; after `adopt_orphans` they are all its own."""
    while descendants := [pid for pid in process_tree(os.getpid()) if pid != os.getpid()]:
        for pid in descendants:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)
