"""Decides when a program is ready, from looks at its processes and sockets.

``--ready`` is the condition:

    auto, with --bind      a process of the program accepts on each shared socket
    auto, without          it has run for --min-uptime
    TIME                   it has run for that time
    connect:ADDRESS        a process of the program listens there
    notify                 it sends READY=1; no look is needed

READY=1 counts at once with auto, too (programs.py).

Design
------
- **A program with --bind is ready when it accepts on the shared sockets,** not when it has lived
  for a second. unix/accept_check.py says what of that is certain. Wrappers (npm, sh) take long
  before they start the real server, so the looks go on until ``--boot-timeout``.
- **What cannot be seen is decided by time:** where /proc hides processes of the program, it counts
  as ready after ``--min-uptime``, and a warning names ``--ready notify``. Rejected: to fail such a
  start, because a program of another user is healthy also in a container without CAP_SYS_PTRACE.
- **A program that listens elsewhere, and computes nothing more, is given up early:** after a sixth
  of the boot timeout. A program that opens a port for metrics or a debugger before it accepts may
  well load for longer, but then it uses the CPU; one that waits for a database for so long without
  it, behind an open port of its own, can say READY=1.
- **A thread that polls waits for a moment only,** and on a busy machine it stands in the queue of a
  core most of the time. So the processes that have the sockets are checked thirty times a second,
  which costs 0.2 ms for each check, and what was seen once counts. With looks at all processes
  alone, each 0.5 s, programs under load were found only after 14 s.
- **Looks take a tenth of the master's time at most** (``ReadinessLooks``), and so do checks,
  whatever the number of programs and processes (unix/measurement_pace.py).
"""

import logging
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from time import monotonic

from prefork.config import Config
from prefork.config.addresses import TcpAddress, UnixAddress
from prefork.master.output_excerpt import OutputExcerpt
from prefork.master.preload_check import find_preload_obstacle
from prefork.master.program_failure import USES_DESCRIPTORS, add_output
from prefork.pool import facts
from prefork.unix.accept_check import find_accepting
from prefork.unix.listen_check import SocketTables, is_listening_at, own_listeners
from prefork.unix.listeners import Listener
from prefork.unix.measurement_pace import MeasurementPace
from prefork.unix.process_tree import ProcessInfo, iter_processes, program_processes

CHECK_INTERVAL = 0.03
"""Seconds between two checks of the processes that have the shared sockets."""

FIRST_INTERVAL = 0.05
"""Seconds between the first looks; later ones come after a tenth of the program's age."""

LAST_INTERVAL = 0.5
"""The longest time in seconds between two looks."""

IDLE_SHARE = 0.05
"""The share of a core up to which the processes of a program count as idle."""

ELSEWHERE_SHARE = 1 / 6
"""The share of the boot timeout after which an idle program that listens elsewhere is given up."""

PAUSE_FACTOR = 10
"""Looks at all programs, and checks of all, pause for as many times as long as they took."""

MAX_NAMED = 3
"""Addresses of its own that a message names."""

_CPU_RESOLUTION = 1 / os.sysconf("SC_CLK_TCK")
"""Seconds: in such units the kernel tells the CPU time of a process."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The processes by pid, and the sockets of the machine, at the moment of one or more looks."""

    processes: Mapping[int, ProcessInfo]
    tables: SocketTables


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a look.

    ``is_ready``: the program is ready; else ``reason`` says why not. ``is_final``: it will not
    become ready. ``warning``: what the operator should know; empty: nothing.
    """

    is_ready: bool
    reason: str = ""
    is_final: bool = False
    warning: str = ""


READY = Finding(True)


class ReadinessProbe:
    """Looks at one program.

    ``leader``: the pid that leads its session. ``listeners``: the shared ones.
    ``preload_obstacle``: why its processes do not load the Node preload. ``next_look_at``:
    monotonic time of the next look at all its processes; None: no look is needed.
    ``next_check_at``: that of the next check of those that had the sockets; None: none had them.
    """

    def __init__(
        self, leader: int, config: Config, listeners: Collection[Listener], now: float
    ) -> None:
        self._leader = leader
        self.config = config
        self.listeners = listeners
        self._shared = {each.inode_number: each for each in listeners}
        self._begun_at = self._idle_since = self._looked_at = now
        self._accepted: set[int] = set()
        """The inodes of shared sockets that it was seen to accept on."""
        self._holders: tuple[int, ...] = ()
        """The processes that had the shared sockets at the last look."""
        self.preload_obstacle = ""
        self._elsewhere: list[TcpAddress | UnixAddress] = []
        """The addresses that it listened at with sockets of its own at the last look."""
        self.next_check_at: float | None = None
        self._processes: frozenset[int] = frozenset()
        self._cpu_seconds = 0.0
        self.next_look_at = self._first_look_at(now)

    def _first_look_at(self, now: float) -> float | None:
        match self.config.ready.mode:
            case "auto" if not self._shared:
                return now + self.config.min_uptime
            case "after":
                return now + self.config.ready.delay
            case "auto" | "connect":
                return now
        return None

    def look(self, now: float, around: Surroundings) -> Finding:
        """Look at the program, and set the time of the next look."""
        mode = self.config.ready.mode
        if mode == "after" or (mode == "auto" and not self._shared):
            return READY
        interval = max(FIRST_INTERVAL, (now - self._begun_at) / 10)
        self.next_look_at = now + min(interval, LAST_INTERVAL)
        processes = program_processes(self._leader, around.processes)
        self._note_activity(now, processes)
        pids = [each.pid for each in processes]
        if mode == "connect":
            return self._look_for_address(pids, around.tables)
        return self._look_for_accept(now, pids, around.tables)

    def check(self, now: float) -> Finding:
        """Check the processes that had the sockets, and set the time of the next check."""
        self.next_check_at = now + CHECK_INTERVAL
        wanted = self._shared.keys() - self._accepted
        self._accepted |= find_accepting(self._holders, wanted, frozenset).accepted
        return Finding(False, self._describe_missing()) if self._missing() else READY

    def _note_activity(self, now: float, processes: Collection[ProcessInfo]) -> None:
        """Note since when the processes are the same ones and use no CPU."""
        pids = frozenset(each.pid for each in processes)
        used = sum(each.cpu_seconds for each in processes)
        idle = IDLE_SHARE * (now - self._looked_at) + _CPU_RESOLUTION
        if pids != self._processes or used - self._cpu_seconds > idle:
            self._idle_since = now
        self._processes, self._cpu_seconds, self._looked_at = pids, used, now

    def _look_for_address(self, pids: Collection[int], tables: SocketTables) -> Finding:
        address = self.config.ready.address
        assert address is not None, "connect has an address"
        if is_listening_at(address, pids, tables):
            return READY
        where = _name_addresses(self._own_addresses(pids, tables))
        return Finding(False, f"the program listens {where}, not on {address} (--ready connect)")

    def _look_for_accept(self, now: float, pids: Collection[int], tables: SocketTables) -> Finding:
        wanted = self._shared.keys() - self._accepted
        check = find_accepting(pids, wanted, lambda: tables.connections_at(wanted))
        self._accepted |= check.accepted
        self._holders = check.holders
        self.next_check_at = now + CHECK_INTERVAL if self._holders else None
        if not self._missing():
            return READY
        if not check.is_complete:
            return self._decide_by_time(now)
        if self.config.node_shim == "auto":
            self.preload_obstacle = find_preload_obstacle(pids) or self.preload_obstacle
        self._elsewhere = self._own_addresses(pids, tables)
        if not self._elsewhere:
            self._idle_since = now
        is_final = now - self._idle_since >= self.config.boot_timeout * ELSEWHERE_SHARE
        return Finding(False, self._describe_missing(), is_final)

    def _missing(self) -> list[str]:
        """Return the shared sockets that it was not seen to accept on."""
        return [str(each) for inode, each in self._shared.items() if inode not in self._accepted]

    def _describe_missing(self) -> str:
        where, bound = _name_addresses(self._elsewhere), " and ".join(self._missing())
        advice = f"let it accept on {USES_DESCRIPTORS}, or leave out --bind"
        advice = self.preload_obstacle or advice
        return f"the program listens {where}, and does not accept on the bound {bound}: {advice}"

    def _decide_by_time(self, now: float) -> Finding:
        """Return what counts where /proc hides the program."""
        if now - self._begun_at < self.config.min_uptime:
            return Finding(False, "its processes are hidden, so --min-uptime decides")
        warning = (
            "whether the program accepts cannot be seen in /proc, so it counts as ready after "
            "--min-uptime; with --ready notify it reports that itself"
        )
        return Finding(True, warning=warning)

    def _own_addresses(
        self, pids: Collection[int], tables: SocketTables
    ) -> list[TcpAddress | UnixAddress]:
        """Return the addresses at which the program listens with sockets of its own."""
        found = own_listeners(pids, tables)
        return [row.address for row in found if row.inode not in self._shared]


class ReadinessLooks:
    """The looks at all programs that are not ready yet, by the serial number of their worker.

    ``on_ready``: called when a look finds a program ready. ``on_fact``: called with what other
    looks find.
    """

    def __init__(
        self,
        on_ready: Callable[[int], None],
        on_fact: Callable[[facts.Fact], None],
        logger: logging.Logger,
    ) -> None:
        self._on_ready = on_ready
        self._on_fact = on_fact
        self._logger = logger
        self._waiting: dict[int, tuple[ReadinessProbe, OutputExcerpt]] = {}
        self._told: dict[int, str] = {}
        """Why each program is not ready, as the pool knows it."""
        self._warnings: set[str] = set()
        self._looks = MeasurementPace(factor=PAUSE_FACTOR)
        self._checks = MeasurementPace(factor=PAUSE_FACTOR)

    def add(self, worker: int, probe: ReadinessProbe, output: OutputExcerpt) -> None:
        """Begin to look at a program. ``output``: an excerpt of what it prints, for the reason."""
        self._waiting[worker] = probe, output
        if probe.next_look_at is None:
            self._tell_unready(worker, "the program has not sent READY=1 (--ready notify)")

    def remove(self, worker: int) -> str:
        """Look at a program no more; it is ready, ends, or has ended.

        Returns why its processes did not load the Node preload; empty: nothing was seen.
        """
        self._told.pop(worker, None)
        probe, _ = self._waiting.pop(worker, (None, None))
        return "" if probe is None else probe.preload_obstacle

    def next_deadline(self) -> float | None:
        """Return the monotonic time at which ``run_due`` is due; None: never."""
        due = []
        for probe, _ in self._waiting.values():
            if probe.next_look_at is not None:
                due.append(max(probe.next_look_at, self._looks.due_at))
            if probe.next_check_at is not None:
                due.append(max(probe.next_check_at, self._checks.due_at))
        return min(due, default=None)

    def run_due(self, now: float) -> None:
        """Check and look at the programs that are due."""
        if self._checks.is_due(now):
            with self._checks.measure():
                self._check_due(now)
        if self._looks.is_due(now):
            with self._looks.measure():
                self._look_at_due(monotonic())

    def _check_due(self, now: float) -> None:
        """Check the programs that are due."""
        for worker, (probe, _) in list(self._waiting.items()):
            if probe.next_check_at is not None and probe.next_check_at <= now:
                self._report(worker, probe.check(now))

    def _look_at_due(self, now: float) -> None:
        """Look at the programs that are due, at the same processes and sockets."""
        due = [
            (worker, probe)
            for worker, (probe, _) in self._waiting.items()
            if probe.next_look_at is not None and probe.next_look_at <= now
        ]
        if due:
            around = Surroundings({each.pid: each for each in iter_processes()}, SocketTables())
            for worker, probe in due:
                self._report(worker, probe.look(now, around))

    def _report(self, worker: int, found: Finding) -> None:
        if found.warning and found.warning not in self._warnings:
            self._warnings.add(found.warning)
            self._logger.warning("%s", found.warning)
        if found.is_ready:
            self._on_ready(worker)
        elif found.is_final:
            reason = self._with_output(worker, found.reason)
            self._on_fact(facts.BootFailed(worker, reason, lives=True))
        else:
            self._tell_unready(worker, found.reason)

    def _tell_unready(self, worker: int, reason: str) -> None:
        """Tell the pool why a program is not ready, if that changed."""
        reason = self._with_output(worker, reason)
        if self._told.get(worker) != reason:
            self._told[worker] = reason
            self._on_fact(facts.NotReady(worker, reason))

    def _with_output(self, worker: int, reason: str) -> str:
        probe, output = self._waiting[worker]
        return add_output(reason, probe.config, probe.listeners, output)


def _name_addresses(addresses: Collection[TcpAddress | UnixAddress]) -> str:
    """Return ``nowhere``, or ``on`` the first addresses."""
    names = [str(address) for address in addresses]
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return f"on {', '.join(names[:MAX_NAMED])}{more}" if names else "nowhere"
