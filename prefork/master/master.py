"""The master: it waits, gathers facts, passes them to the pool, and carries out the orders.

The master decides nothing about workers (``prefork.pool`` does) and never runs code of the app
(``prefork.worker`` does). A reload takes this way: ``_on_signal`` -> ``reload`` has the settings
read and the next generation prepared -> the fact ReloadRequested -> the pool orders Spawn ->
``_spawn`` forks -> the worker reports ready -> the fact Ready -> the pool orders Stop for the
worker that is relieved.

Design
------
- **A SIGHUP is always a roll, also when only certificates changed.** The master cannot know whether
  code changed, and a HUP that sometimes brings no new code would be a trap. ``--tls-watch`` brings
  new certificates without new workers: each worker looks at the files once a second.
- **The scoreboard is written before the log,** so a client that waited for "running" finds it there
  (``_announce``).
"""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from random import Random
from time import monotonic, time
from typing import Any

from prefork.config import Config
from prefork.config.target import resolve_name
from prefork.errors import MachineError, PreforkError
from prefork.master.autoscale import Autoscaler
from prefork.master.child_setup import ChildSetup, WorkerRun
from prefork.master.children import Children
from prefork.master.control_server import ControlServer
from prefork.master.generation import Generations, prepare_first_generation
from prefork.master.leader_writer import LeaderWriter
from prefork.master.master_logs import MasterLogs
from prefork.master.planned_restarts import PlannedRestarts
from prefork.master.process_titles import ProcessTitles
from prefork.master.programs import Programs
from prefork.master.ready_messages import facts_of
from prefork.master.registration import Registration
from prefork.master.reload_preparation import (
    AcceptedReload,
    ReloadPreparation,
    ReloadPreview,
    UnrollableError,
)
from prefork.master.scoreboard_writer import ScoreboardWriter
from prefork.master.state_dump import MasterParts
from prefork.master.status_process import StatusProcess
from prefork.master.status_report import describe
from prefork.observe.event_text import describe_event, describe_status, fields_of_event
from prefork.observe.logger import Log
from prefork.pool import MasterState, Pool, facts, orders
from prefork.pool.policy import ManualTarget
from prefork.unix import descriptor_disposal
from prefork.unix.daemon import ForegroundProcess
from prefork.unix.descriptor_store import DescriptorStore
from prefork.unix.listener_handover import NOTHING_INHERITED
from prefork.unix.listeners import Listener
from prefork.unix.memory import OutOfMemoryDetector
from prefork.unix.pidfile import PidFile
from prefork.unix.poller import Poller
from prefork.unix.process import ExitStatus, reap_adopted_orphans
from prefork.unix.scoreboard import Scoreboard
from prefork.unix.signals import SignalQueue, is_in_terminal_foreground
from prefork.wire.ready import InvalidMessage, ReadyMessage
from prefork.worker.end_signal import END_SIGNAL

_SIGNAL_NAMES = "HUP TERM INT QUIT TTIN TTOU USR1 USR2 WINCH CHLD"
SIGNALS = tuple(signal.Signals[f"SIG{name}"] for name in _SIGNAL_NAMES.split())
"""The signals that the master handles."""


class Master:
    """The master of one app, created after daemonizing and after ``signals`` took over its signals.

    ``read_settings``: reads file, environment and flags anew. ``start_dir``: the directory where
    the command was started. ``registration``: its entry in the list of apps; None: it has none.
    ``store``: keeps its listeners when it crashes.
    """

    def __init__(
        self,
        config: Config,
        read_settings: Callable[[], Config],
        start_dir: str,
        log: Log,
        signals: SignalQueue,
        store: DescriptorStore,
        foreground: ForegroundProcess,
        registration: Registration | None,
    ) -> None:
        self._log = log
        self._signals = signals
        self._store, self._notifier = store, store.notifier
        self._foreground = foreground
        self._name = resolve_name(config)
        self._titles = ProcessTitles(config.proctitle, self._name)
        listed = registration.name if registration else self._name
        self._logs = MasterLogs(log, config, start_dir, listed)
        self._facts: deque[facts.Fact] = deque()
        self._poller = Poller()
        log.use_watcher(self._poller)
        self._scoreboard = Scoreboard()
        self._children = Children(self._poller, self._scoreboard, self._on_message, self._on_death)
        self._programs = self._make_programs(listed)
        inherited = registration.inherited if registration is not None else NOTHING_INHERITED
        # Files that other processes see come last, so that no failure can leave them behind.
        self._pid_file = PidFile(config.pid_file) if config.pid_file else None
        try:
            taken_over = [*inherited.listeners, *store.taken_over]
            self._generations = Generations(prepare_first_generation(config, start_dir, taken_over))
            basics = (self._generations, self._poller, log, self._logs, self._scoreboard.rows)
            self._status_process = StatusProcess(config, start_dir, listed, *basics)
            sources = (read_settings, start_dir, self._generations)
            self._preparation = ReloadPreparation(*sources, self._programs.reload_obstacle)
        except BaseException:
            if self._pid_file is not None:
                self._pid_file.close()
            raise
        self._leader_writer, self._pool = self._make_pool(registration, inherited.manual_target)
        self._scoreboard_writer = ScoreboardWriter(self._scoreboard, self._children, self._pool)
        self._autoscaler = Autoscaler(self._pool, self._children, self._generations, log.logger)
        self._registration = registration
        self._control = self._make_control(registration)
        self._status_text = self._done_text = ""
        self._exit_code: int | None = None
        self._out_of_memory = OutOfMemoryDetector()
        self._child_setup = self._make_child_setup()
        self._planned_restarts = self._make_planned_restarts()
        self._child_setup.copies += self._close_functions()

    def _make_child_setup(self) -> ChildSetup:
        parts = (self._titles, self._logs, self._children, self._generations)
        made = ChildSetup(self._name, self._poller, self._log, *parts)
        folder = self._registration.store_folder if self._registration else ""
        made.store_folder = self._status_process.store_folder = folder
        made.are_listeners_stored = self._store.is_available
        return made

    def _make_control(self, registration: Registration | None) -> ControlServer | None:
        if registration is None:
            return None
        return ControlServer(registration, self._poller, self._pool, self, self._logs, time)

    def _make_pool(
        self, registration: Registration | None, kept: ManualTarget | None
    ) -> tuple[LeaderWriter, Pool]:
        """Return the pool, and what names its leaders."""
        known = (self._poller, self._children, self._log, self._facts.append)
        writer = LeaderWriter(registration, *known)
        policy = self._generations[1].policy
        return writer, Pool(policy, Random(), kept, writer.read_last())

    def _make_programs(self, name: str) -> Programs:
        known = (self._poller, self._children, self._on_message, self._facts.append)
        return Programs(*known, self._log, self._titles, name)

    def _make_planned_restarts(self) -> PlannedRestarts:
        known = (self._poller, self._children, self._pool, self._log.logger)
        callbacks = (self._facts.append, self.reload, self._programs.reload_obstacle)
        return PlannedRestarts(*known, *callbacks, self._child_setup.enter_watcher)

    def _close_functions(self) -> Iterator[Callable[[], None]]:
        """Yield the functions that close what a child must not keep of the master."""
        own = (self._signals, self._poller, self._programs, self._planned_restarts)
        also = (self._status_process, self._foreground, self._pid_file, self._registration)
        for part in (*own, *also, self._leader_writer, self._control):
            if part is not None:
                yield part.close_copy

    def run(self) -> int:
        """Run until all workers and programs have ended; return the exit code."""
        first = self._generations[1]
        workers = self._pool.plan.target
        self._log.logger.info("%s: %s", self._name, first.summarize(workers))
        first.log_warnings(self._log.logger)
        self._poller.add_reader(self._signals.fd, self._read_signals)
        try:
            self._logs.start_writer(self._poller, self._child_setup.enter_log_writer)
            self._status_process.start(self._control, self._child_setup.enter_status_process)
            self._facts.append(facts.Tick())
            self._run_turn()
            while self._exit_code is None or not self._programs.have_ended:
                for react in self._poller.wait(self._wait_timeout()):
                    react()
                self._run_turn()
            return self._exit_code
        finally:
            self._close()

    # Waiting.

    def _wait_timeout(self) -> float | None:
        """Return the seconds to the next deadline; None: wait for an event only."""
        own = (self._pool, self._programs, self._planned_restarts, self._autoscaler)
        due = [part.next_deadline() for part in (*own, self._control) if part is not None]
        due.append(self._notifier.watchdog_due_at)
        deadline = min((each for each in due if each is not None), default=None)
        return None if deadline is None else max(0.0, deadline - monotonic())

    def _run_turn(self) -> None:
        """Do what is due, pass all facts to the pool, and publish the new state.

        Heartbeats come last, because with them the pool checks its deadlines: a message that was
        read late is not the fault of its worker.
        """
        self._programs.run_due(self._pool.is_quick_stop)
        self._handle_facts()
        self._planned_restarts.run_due(self._generations[self._pool.plan.generation])
        self._handle_facts()
        self._handle(
            facts.Heartbeats(self._children.heartbeat_deadlines(), self._children.busy_workers())
        )
        self._autoscaler.run_due(self._handle, monotonic())
        self._show_status()
        self._scoreboard_writer.write()
        self._logs.ensure_writer()
        self._status_process.ensure_running()
        if self._control is not None:
            self._control.send_verdicts()
        self._generations.keep_only(self._pool.needed_generations())
        self._store.update(self._generations.listeners())
        self._notifier.feed_watchdog()

    def _handle_facts(self) -> None:
        while self._facts:
            self._handle(self._facts.popleft())

    def _handle(self, fact: facts.Fact) -> None:
        for order in self._pool.handle(fact, monotonic()):
            self._carry_out(order)

    # Facts.

    def _read_signals(self) -> None:
        received = self._signals.collect()
        if signal.SIGHUP in received:  # several that were read at once are one request
            self.reload()
        for signum in received:
            self._on_signal(signum)

    def _on_signal(self, signum: signal.Signals) -> None:
        match signum:
            case signal.SIGTERM | signal.SIGINT:
                self._facts.append(facts.StopSignalled())
            case signal.SIGQUIT:
                self._facts.append(facts.StopRequested(quick=True))
            case signal.SIGTTIN:
                self._facts.append(facts.ScaleRequested(+1))
            case signal.SIGTTOU if not self._pool.is_drained:  # else it would bring workers back
                self._facts.append(facts.ScaleRequested(-1))
            case signal.SIGUSR1:
                self.reopen_logs()
            case signal.SIGUSR2:
                self._log.logger.warning("USR2: upgrading the master is not supported yet")
            case signal.SIGWINCH if not is_in_terminal_foreground():  # else: the window was resized
                self._facts.append(facts.DrainRequested())
            case signal.SIGCHLD if self._programs.adopts_orphans:
                reap_adopted_orphans(self._is_own_child)

    def _on_message(self, worker: int, message: ReadyMessage | InvalidMessage) -> None:
        self._facts.extend(facts_of(worker, message))
        known = self._pool.workers.get(worker)
        if isinstance(message, InvalidMessage) and known is not None:
            text = "worker %d (pid %d) sent an invalid message and is replaced: %s"
            self._log.logger.error(text, known.slot, known.pid, message.line)
            if known.ready_at is None:
                # A worker that boots serves no client yet, so its heir need not be ready first.
                self._children.send_signal(worker, signal.SIGKILL)

    def _on_death(self, worker: int, death: ExitStatus) -> None:
        if self._programs.adopts_orphans:
            # Their SIGCHLD may be merged with the one of this process.
            reap_adopted_orphans(self._is_own_child)
        if reason := self._programs.on_death(worker, death):
            self._facts.append(facts.BootFailed(worker, reason))  # if it was not ready yet
        self._child_setup.close_stranded_connections()
        starved = self._out_of_memory.has_new_kills()
        self._facts.append(facts.Exited(worker, death.code, death.signal, starved, reason))

    def _is_own_child(self, pid: int) -> bool:
        """Return whether another part of the master reaps this child."""
        parts = (self._children, self._logs, self._planned_restarts, self._status_process)
        is_known = any(part.knows_pid(pid) for part in parts)
        return is_known or descriptor_disposal.knows_pid(pid)

    # Requests of signals and of clients of the control socket.

    @property
    def config(self) -> Config:
        """The settings in force."""
        return self._generations[self._pool.plan.generation].config

    def describe(self) -> dict[str, Any]:
        """Return all that ``prefork show`` tells about this master."""
        self._programs.figures.read_all()
        restarts = self._control.deaths.restarts if self._control else {}
        listening = list(map(str, self._generations.listeners()))
        described = describe(self._pool, self._children, self.config, listening, restarts)
        entry: dict[str, Any] = {"name": self._name}
        if self._registration is not None:
            entry = self._registration.public_state
        also = {**self._planned_restarts.describe(), **self._autoscaler.describe()}
        return {"pid": os.getpid(), **entry, **described, **also}

    def dump_state(self) -> dict[str, Any]:
        """Return the whole state of this master, as a MasterRecord in JSON."""
        holders = (self._signals, self._log, self._children, self._child_setup, self._programs)
        optional = (self._control, self._pid_file, self._registration, self._leader_writer)
        parts = MasterParts(
            pool=self._pool,
            generations=self._generations,
            children=self._children,
            programs=self._programs,
            logs=self._logs,
            auxiliary=(self._logs, self._planned_restarts, self._status_process),
            status_listeners=self._status_process.listeners(),
            clients=self._control.records() if self._control is not None else [],
            holders=[*holders, *(each for each in optional if each is not None)],
        )
        return parts.dump()

    def scale(self, workers: int) -> None:
        """Request this number of workers.

        The pool gets it at once, because the next request may be relative to this one.
        """
        self._handle(facts.ScaleRequested(workers - self._pool.plan.target))

    def stop(self, quick: bool) -> None:
        """Request the stop of workers and master."""
        self._facts.append(facts.StopRequested(quick, self._generations.are_handed_over))

    def signal(self, signum: int, slot: int | None) -> list[int]:
        """Send a signal to all workers, or to those of one slot; return their pids."""
        chosen = [each for each in self._pool.workers if slot in (None, each.slot) and each.pid]
        self._children.send_signal_to_all((worker.id for worker in chosen), signum)
        return [worker.pid for worker in chosen]

    def hand_over(self) -> list[Listener]:
        """Return the listeners, which the next master goes on with, and keep their paths."""
        return self._generations.hand_over_listeners()

    def preview_reload(self) -> ReloadPreview:
        """Return what a reload would do now. Raises PreforkError."""
        return self._preparation.preview(self._pool.plan.generation)

    def reload(self) -> AcceptedReload | str:
        """Prepare the next generation and request the roll to it.

        Returns what becomes of it, or why it is refused. Nothing changes before all settings are
        known to be right.
        """
        if self._pool.is_stopping:
            return "it is stopping"
        if self._pool.state is not MasterState.STARTING:
            self._notifier.notify_reloading()
        try:
            prepared = self._preparation.prepare(self._pool.plan.generation)
        except UnrollableError as error:
            self._log.logger.warning("not reloading: %s", error)
            self._notifier.notify_ready()
            return str(error)
        except PreforkError as error:
            self._facts.append(facts.ReloadRefused(str(error)))
            return str(error)
        except Exception as error:
            # Not even a bug in prefork may end a service because a file was edited.
            self._log.logger.exception("this is a bug in prefork, please report it")
            self._facts.append(facts.ReloadRefused(repr(error)))
            return repr(error)
        if changed := prepared.needs_restart:
            self._log.logger.warning("changing %s takes a restart", ", ".join(changed))
        generation = prepared.generation
        self._logs.reload(generation.config)
        self._status_process.apply_settings(prepared.status_settings)
        generation.log_warnings(self._log.logger)
        number = self._generations.add(generation)
        self._facts.append(facts.ReloadRequested(number, generation.policy))
        return AcceptedReload(number, changed)

    def reopen_logs(self) -> int | None:
        """Reopen all logs after a rotation.

        Returns the number of the order to the log writer; None: there is no log writer.
        """
        current = self._generations[self._pool.plan.generation]
        number = self._logs.reopen(self.config, current.identity)
        for process in self._children:
            if not self._programs.is_program(process.worker):  # USR1 means something else to them
                process.child.send_signal(signal.SIGUSR1)
        self._log.logger.info("reopened the logs")
        return number

    # Orders.

    def _carry_out(self, order: orders.Order) -> None:
        match order:
            case orders.Spawn():
                self._spawn(order)
            case orders.Announce(event):
                self._announce(event)
            case orders.Exit(failed, code):
                self._exit_code = self._programs.exit_code(failed is not None, code)
            case orders.NameLeader():
                self._leader_writer.name(order, self._scoreboard_writer)
            case _ if self._programs.is_program(order.worker):
                self._programs.carry_out(order)
            case orders.Stop(worker, quick):
                if self._pool.is_stopping:
                    self._children.mark_ending(worker)
                signum = signal.SIGQUIT if quick else self._stop_signal(worker)
                self._children.send_signal(worker, signum)
            case orders.AnnounceEnd(worker) | orders.Kill(worker):
                signum = signal.SIGKILL if isinstance(order, orders.Kill) else END_SIGNAL
                self._children.send_signal(worker, signum)
            case orders.DumpStacks(worker, by_force):
                self._children.request_stacks(worker, by_force)

    def _spawn(self, order: orders.Spawn) -> None:
        """Fork a worker, and report the result to the pool."""
        generation = self._generations[order.generation]
        output = None
        try:
            output = self._logs.open_output()
            starting = self._pool.state is MasterState.STARTING
            run = WorkerRun(self._child_setup, order, output, starting)
            if generation.config.command:
                stderr = None if output is None else output.err.writer
                pid = self._programs.spawn(generation, stderr, order.worker, run)
            else:
                pid = self._children.spawn(order.worker, run)
        except MachineError as error:
            if output is not None:
                output.close()
            self._facts.append(facts.SpawnFailed(order.worker, str(error)))
        else:
            self._logs.hand_over_output(output, order.slot, pid)
            self._facts.append(facts.Spawned(order.worker, pid))

    def _stop_signal(self, worker: int) -> int:
        """Return the stop signal of the generation that the worker belongs to."""
        known = self._pool.workers.get(worker)
        generation = known.generation if known else self._pool.plan.generation
        return signal.Signals[self._generations[generation].config.stop_signal]

    def _announce(self, event: orders.Event) -> None:
        """Publish an event: scoreboard, log, control socket, systemd, in this order."""
        level, text = describe_event(event)
        self._scoreboard_writer.count(event)
        self._log.logger.log(level, "%s", text, extra=fields_of_event(event))
        if self._control is not None:
            self._control.publish(event, text)
        match event:
            case orders.Running():
                self._notifier.notify_ready()
                self._show_status()  # before the foreground process reports success
                self._foreground.report_ready(self._log.detach_terminal)
            case orders.RollDone() | orders.RollFailed():
                if self._pool.state is MasterState.RUNNING:
                    self._generations.close_outdated_listeners(self._pool.plan.generation)
                if self._pool.state is not MasterState.STARTING:
                    self._notifier.notify_ready()
            case orders.Ending(reason=reason, done=done):
                self._notifier.notify_stopping(event.delay + self.config.kill_timeout)
                self._done_text = done
                text = text if reason else self._foreground.explain_early_stop(self._name, done)
                if text and self._log.path:
                    self._log.tell_on_stderr(text)

    # Housekeeping.

    def _show_status(self) -> None:
        now = describe_status(self._pool)
        if now != self._status_text:
            self._status_text = now
            self._titles.set_master(now)
            self._notifier.notify_status(now)
            if self._registration is not None:
                pool, scoreboard = self._pool, self._scoreboard.path
                places = {"scoreboard": scoreboard, **self._logs.log_paths()}
                scaled = pool.plan.manual_target
                self._registration.update(status=now, target=pool.target, scaled=scaled, **places)

    def _close(self) -> None:
        self._programs.close()
        self._planned_restarts.close()
        self._generations.close()
        self._logs.close()
        self._status_process.close()
        if self._pid_file is not None:
            self._pid_file.close()
        if self._registration is not None and self._control is not None:
            self._control.close()
            status = (self._pool.exit_order.failed or self._status_text).partition("\n")[0]
            self._registration.close(status, self._exit_code, self._done_text)
        self._foreground.report_exit_code(self._exit_code or self._foreground.exit_code_if_unready)
        descriptor_disposal.wait_for_children()
        self._log.logger.info("stopped")
