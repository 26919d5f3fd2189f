"""With a server as the store, one worker of all masters leads, whatever ends its leadership."""

import json
import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.live.harness import APPS, Server, command, serving, wait_for
from tests.live.leaders import assert_one_at_a_time, begun, read_terms, wait_for_leader
from tests.redis_server import RedisServer, needs_redis

pytestmark = needs_redis

PATH = ("--pythonpath", str(APPS))


@contextmanager
def master(folder: Path, redis: RedisServer) -> Iterator[Server]:
    """Serve an app whose workers note their terms; all masters have one name."""
    environ = {"TERMS": str(folder), "WATCH": "1"}
    options = ("-n", "leased", "--store", redis.url, "--timeout", "5s", "--min-uptime", "0")
    with serving(folder, "leaders:wsgi", *PATH, *options, workers=2, env=environ) as server:
        yield server


def master_of(worker: psutil.Process, *masters: Server) -> Server:
    parent = worker.ppid()
    return next(each for each in masters if each.pid == parent)


def test_one_worker_of_two_masters_leads(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path) as redis,
        master(tmp_path, redis) as first,
        master(tmp_path, redis) as second,
    ):
        leader = wait_for_leader(tmp_path, 1)
        home = master_of(leader, first, second)
        shown = {
            app["pid"]: (app["leader"], app["lease"])
            for app in json.loads(command("list", "--json", cwd=tmp_path).stdout)
            if app["name"].startswith("leased")
        }
        other = second if home is first else first
        (token, _) = begun(tmp_path)[0]
        assert shown[home.pid][0]["token"] == token
        assert shown[home.pid][0]["pid"] == leader.pid
        assert (shown[home.pid][1], shown[other.pid]) == ("held", (None, "elsewhere"))
        leader.kill()
        heir = wait_for_leader(tmp_path, 2)
        assert master_of(heir, first, second) is home, "the lease is taken over within a master"
        home.send(signal.SIGTERM)
        last = wait_for_leader(tmp_path, 3)
        assert master_of(last, first, second) is other
        assert first.count("Traceback") + second.count("Traceback") == 0
    assert_one_at_a_time(tmp_path)


def end_term(redis: RedisServer, leader: psutil.Process, home: Server, how: str) -> None:
    """End the term of a leader in one way."""
    if how == "kill":
        leader.kill()
    elif how == "stop":
        leader.send_signal(signal.SIGSTOP)
    elif how == "reload":
        home.send(signal.SIGHUP)
    else:
        redis.kill()
        redis.start()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_two_lead_while_leaders_and_the_server_are_killed_and_stopped(tmp_path: Path) -> None:
    rng = random.Random(20)
    with RedisServer(tmp_path) as redis, ExitStack() as opened:
        masters = [opened.enter_context(master(tmp_path, redis)) for _ in "123"]
        for terms in range(1, 21):
            leader = wait_for_leader(tmp_path, terms)
            home = master_of(leader, *masters)
            end_term(redis, leader, home, rng.choice(["kill", "stop", "reload", "restart"]))
            wait_for(lambda terms=terms: len(begun(tmp_path)) > terms, "the next term")
    # A stopped leader keeps its lock of the file, so the next one notes "two": its callback could
    # not be told. What leader() returned tells whether two led.
    notes = [note for note in read_terms(tmp_path) if note[0] != "two"]
    (tmp_path / "terms").write_text("".join(" ".join(note) + "\n" for note in notes))
    assert_one_at_a_time(tmp_path)
