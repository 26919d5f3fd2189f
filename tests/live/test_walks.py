"""A running server takes the ways that architecture.md describes, function by function."""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.live.app_sources import write_version
from tests.live.harness import Server
from tests.walks import Hop, read_walk

TRACED = str(Path(__file__).with_name("traced_master.py"))

REPEATS = 4
"""Requests that are sent; the last one is looked at, when nothing is done for the first time."""


@dataclass(frozen=True)
class Call:
    """One call of a function of a walk. ``above``: the functions that called it, the innermost
    last; empty strings for those that are not prefork's."""

    pid: int
    name: str
    above: list[str]


@contextmanager
def traced(folder: Path, hops: list[Hop]) -> Iterator[tuple[Server, Path]]:
    """Serve an app with one worker; yield the server and the file of the calls of these hops."""
    write_version(folder, 1)
    calls = folder / "calls"
    wanted = "\n".join(hop.name for hop in hops)
    server = Server(
        *("app:app", "-b", "127.0.0.1:0", "-w", "1"),
        cwd=folder,
        program=(sys.executable, TRACED, str(calls), wanted),
        env={"PREFORK_PURE": "1"},  # the compiled part has no frames
    )
    try:
        yield server.ready(), calls
    finally:
        server.destroy()


def read_calls(file: Path) -> list[Call]:
    return [Call(**json.loads(line)) for line in file.read_text().splitlines()]


def follow(hops: list[Hop], calls: list[Call]) -> list[Call]:
    """Return the first call of each hop that comes after that of the hop before it."""
    followed: list[Call] = []
    rest = iter(calls)
    for hop in hops:
        call = next((each for each in rest if each.name == hop.name), None)
        assert call is not None, f"{hop.name} was not called after {[c.name for c in followed]}"
        followed.append(call)
    return followed


def test_one_request_takes_its_walk(tmp_path: Path) -> None:
    hops = read_walk("One request")
    with traced(tmp_path, hops) as (server, file):
        for _ in range(REPEATS):
            assert server.get("/")[0] == 200
        assert server.stop() == 0
        calls = read_calls(file)
    last = max(at for at, call in enumerate(calls) if call.name == hops[0].name)
    passed: list[str] = []
    for number, call in enumerate(follow(hops, calls[last:])):
        caller = call.above[-1]
        if hops[number].is_event:
            assert caller == "", f"{call.name} is called by {caller}, not by the event loop"
        else:
            assert caller in passed, f"{call.name} is called by {caller}"
        passed.append(call.name)
    assert len({call.pid for call in calls[last:]}) == 1


def test_one_sighup_takes_its_walk(tmp_path: Path) -> None:
    hops = read_walk("One SIGHUP")
    with traced(tmp_path, hops) as (server, file):
        started = len(read_calls(file))
        server.send(signal.SIGHUP)
        server.wait_log("reloaded to gen 2")
        assert server.stop() == 0
        calls = read_calls(file)[started:]
    followed = follow(hops, calls)
    for number, call in enumerate(followed):
        if not hops[number].is_event:
            callers = set(call.above) & {hop.name for hop in hops[:number]}
            assert callers, f"{call.name} is called by {call.above}"
    master, heir, incumbent = followed[0].pid, followed[9].pid, followed[13].pid
    assert len({master, heir, incumbent}) == 3
    where = [call.pid for call in followed]
    assert where == [master] * 9 + [heir] * 2 + [master] * 2 + [incumbent, master]
