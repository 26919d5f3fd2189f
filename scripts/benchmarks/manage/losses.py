"""Reloads frameworks under load, prefork beside PM2: lost requests, time of a reload, memory."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from ..peers import PEERS_BIN
from ..server import find_free_port, minimal_environment
from ..table import align_table
from ..usage import process_pss_bytes, process_tree
from .managers import NAME, PM2, PREFORK, WORKERS, Manager
from .reload_load import KINDS, ReloadLoad, Tally
from .trial import TIMEOUT_SECONDS, TrialError, kill_adopted

FRAMEWORKS = PEERS_BIN.parent / "frameworks"
"""A copy of apps/frameworks with its packages installed and Next.js built."""

RELOADS = 2
PROGRAMS = {
    "Next.js": ("npm start", "node_modules/next/dist/bin/next -i {workers} -- start"),
    "Express": ("node express.js", "express.js -i {workers}"),
    "Fastify": ("node fastify.js", "fastify.js -i {workers}"),
}
"""For each framework the command that prefork runs, and the arguments of `pm2 start`."""


@dataclass
class ReloadLosses:
    """The result of one framework under one manager. The names are keys of `manage.json`.

    `seconds`: of each reload, until the command has returned and no old worker answers.
    """

    tallies: dict[str, Tally]
    seconds: list[float]
    memory: int


Losses = dict[str, dict[str, ReloadLosses]]
"""The results by framework and manager."""


def measure_losses(managers: list[Manager], frameworks: list[str]) -> Losses:
    """Reload each framework under each manager. Raises TrialError."""
    found: Losses = {}
    for framework in frameworks:
        for manager in managers:
            found.setdefault(framework, {})[manager.name] = one = _measure(manager, framework)
            lost = sum(tally.lost for tally in one.tallies.values())
            text = (
                f"{framework:<8} {manager.name:<8} {lost} lost, {max(one.seconds):.1f} s a reload"
            )
            print(text, file=sys.stderr, flush=True)
    return found


def _measure(manager: Manager, framework: str) -> ReloadLosses:
    with (
        tempfile.TemporaryDirectory(prefix="bench-losses-") as home,
        _commands(manager, framework, Path(home)) as (run, port),
    ):
        run(_start_words(manager, framework, port))
        _wait_for_answer(port)
        load, reloads = ReloadLoad(port), [_Reload() for _ in range(RELOADS)]

        def reload_all() -> None:
            _wait_for_workers(load)
            for each in reloads:
                each.old, each.began_at = set(load.pids), time.monotonic()
                load.pids.clear()
                run(f"reload {NAME}")
                each.returned_at = time.monotonic()
                _wait_for_workers(load, but=each.old)
                each.answers = dict(load.pids)

        asyncio.run(load.run(reload_all))
        root = manager.find_pid(Path(home))
        memory = sum(map(process_pss_bytes, process_tree(root))) if root is not None else 0
        return ReloadLosses(load.tallies, [each.seconds for each in reloads], memory)


class _Reload:
    """The times of one reload (monotonic), and the times of the last answers of all workers."""

    old: set[int]
    answers: dict[int, float]
    began_at: float
    returned_at: float

    @property
    def seconds(self) -> float:
        last = [at for pid, at in self.answers.items() if pid in self.old]
        return max([self.returned_at, *last]) - self.began_at


def _wait_for_workers(load: ReloadLoad, but: frozenset[int] | set[int] = frozenset()) -> None:
    """Wait until all workers answered, and none of `but` did for a second. Raises TrialError."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        now = time.monotonic()
        quiet = all(now - at > 1.0 for pid, at in load.pids.items() if pid in but)
        if quiet and len(set(load.pids) - but) >= WORKERS:
            return
        if now > deadline:
            raise TrialError(f"{len(set(load.pids) - but)} of {WORKERS} workers answer")
        time.sleep(0.05)


def _start_words(manager: Manager, framework: str, port: int) -> str:
    ours, theirs = PROGRAMS[framework]
    if manager is PM2:
        return f"start --name {NAME} {theirs.format(workers=WORKERS)}"
    return f"start -w {WORKERS} -b 127.0.0.1:{port} --name {NAME} -- {ours}"


@contextmanager
def _commands(
    manager: Manager, framework: str, home: Path
) -> Iterator[tuple[Callable[[str], None], int]]:
    """Yield a function that runs a command of the manager, and the port. All ends with it."""
    port = find_free_port()
    environ = minimal_environment() | {
        manager.home_variable: str(home),
        "PORT": str(port),
        "NEXT_TELEMETRY_DISABLED": "1",
        "PM2_DISABLE_VERSION_CHECK": "true",
    }

    def run(arguments: str) -> None:
        command = [str(manager.program), *arguments.split()]
        done = subprocess.run(
            command, cwd=FRAMEWORKS, env=environ, stdin=subprocess.DEVNULL, check=False,
            capture_output=True, text=True, timeout=2 * TIMEOUT_SECONDS,
        )  # fmt: skip
        if done.returncode != 0:
            raise TrialError(f"{framework}: {arguments}: {(done.stderr or done.stdout)[-300:]}")

    try:
        yield run, port
    finally:
        try:
            run(manager.shutdown)
        finally:
            kill_adopted()


def _wait_for_answer(port: int) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            with urlopen(f"http://127.0.0.1:{port}/", timeout=10):
                return
        except (URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise TrialError(f"no answer on port {port}: {error}") from None
            time.sleep(0.05)


def render_losses(losses: Losses) -> list[str]:
    """Return the table of lost requests; empty: none were measured."""
    if not losses:
        return []
    head = ["framework", *(f"lost, {kind}" for kind in KINDS), "reload s", "memory MB (PSS)"]
    lines = [head]
    for framework, sides in losses.items():
        lines += [
            [f"{framework}, {name}", *_format_side(one)]
            for name, one in sides.items()
            if name in (PREFORK.name, PM2.name)
        ]
    return ["", *align_table(lines)]


def _format_side(one: ReloadLosses) -> list[str]:
    tallies = [one.tallies[kind] for kind in KINDS]
    seconds = sum(one.seconds) / len(one.seconds)
    return [
        *(f"{tally.lost} of {tally.requests}" for tally in tallies),
        f"{seconds:.1f}",
        f"{one.memory / 1e6:.0f}",
    ]


def losses_as_json(losses: Losses) -> dict[str, Any]:
    """Return the results for the key "losses" of `manage.json`."""
    return {
        framework: {name: asdict(one) for name, one in sides.items()}
        for framework, sides in losses.items()
    }


def losses_from_json(found: dict[str, Any]) -> Losses:
    """Return the results that `losses_as_json` wrote."""
    return {
        framework: {
            name: ReloadLosses(
                {kind: Tally(**tally) for kind, tally in one["tallies"].items()},
                one["seconds"],
                one["memory"],
            )
            for name, one in sides.items()
        }
        for framework, sides in found.items()
    }
