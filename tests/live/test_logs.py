"""The output of workers in files: complete and in order, also when the log writer is killed."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from tests.live.harness import PATIENCE, serving, wait_for
from tests.live.home import Home
from tests.live.output_files import output_lines, output_texts, wait_log_writer, wait_output

APP = """\
import sys
from urllib.parse import parse_qs, unquote_to_bytes

def app(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/many":
        asked = parse_qs(query)
        who, count = asked["who"][0], int(asked["count"][0])
        for number in range(count):
            print(who, number, "x" * 40, file=sys.stderr if number % 5 == 0 else sys.stdout)
    elif path == "/raw":
        sys.stdout.buffer.write(unquote_to_bytes(query))
        sys.stdout.buffer.flush()
    elif path == "/raise":
        raise RuntimeError("no such table")
    start_response("200 OK", [])
    return [b"done"]
"""
LINE = re.compile(r"\S+ \S+ \[\d+\] \d (out|err) (w\d+) (\d+) x{40}")
DROPPED = re.compile(r"\S+ \S+ \[\d+\] (\d+) lines are missing here, they could not be written")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    (home.folder / "web.py").write_text(APP)
    try:
        yield home
    finally:
        for app in home.client.apps():
            home.run("stop", "--force", app["name"])


def get(home: Home, path: str) -> bytes:
    url = f"http://{home.app()['listening'][0]}{path}"
    with urllib.request.urlopen(url, timeout=6 * PATIENCE) as answer:
        body: bytes = answer.read()
    return body


def test_every_line_is_written_once_in_order_while_writers_are_killed_and_workers_reload(
    home: Home,
) -> None:
    """The app prints 200,000 lines at full speed, with a rotation each megabyte."""
    folder, answers = pour(home)
    with answers:
        for _ in range(3):
            wait_log_writer(home).kill()
            home.run_ok("reload", "web")
    home.run_ok("stop", "web")
    check_all(in_order(output_lines(folder)))
    assert "the log writer died (SIGKILL)" in (folder / "log").read_text()


def test_a_follower_that_is_stopped_during_rotations_misses_no_line(home: Home) -> None:
    with following_after_start(home) as follower:
        folder, answers = pour(home)
        with answers:
            follower.process.send_signal(signal.SIGSTOP)
            home.run_ok("reload", "web")
        home.run_ok("stop", "web")
        found = in_order(output_lines(folder))
        check_all(found)
        follower.process.send_signal(signal.SIGCONT)
        assert in_order([next(follower.lines) for _ in range(COUNT * CALLS)]) == found


COUNT, CALLS = 25_000, 8


@contextmanager
def following_after_start(home: Home) -> Iterator["Follower"]:
    """Start a follower; its first line has arrived, so it sees all later lines."""
    begin(home)
    with following(home, "--grep", r"^w\d|^ready$") as follower:
        assert next(follower.lines).endswith("ready")
        yield follower


def begin(home: Home) -> Path:
    """Start an app that prints one line, and return its folder."""
    folder = home.home / "web"
    if not folder.exists():
        home.start("web", "-w", "2", "--log-rotate-size", "1m", "--log-keep", "1000")
        get(home, "/raw?ready%0A")
        wait_output(folder, "ready")
    return folder


def pour(home: Home) -> tuple[Path, AbstractContextManager[None]]:
    """Print lines until the context ends; return when the first file was rotated."""
    folder = begin(home)
    threads = ThreadPoolExecutor()
    asked = [threads.submit(get, home, f"/many?who=w{n}&count={COUNT}") for n in range(CALLS)]
    first = folder / "web.out.1"
    wait_for(lambda: first.exists() or first.with_suffix(".1.gz").exists(), "a rotation")

    @contextmanager
    def pouring() -> Iterator[None]:
        with threads:
            yield
            assert [answer.result() for answer in asked] == [b"done"] * CALLS

    return folder, pouring()


def check_all(found: dict[tuple[str, str], list[int]]) -> None:
    """Check that each line is there once, in the order of its stream."""
    assert sum(map(len, found.values())) == COUNT * CALLS
    for n in range(CALLS):
        assert found[f"w{n}", "err"] == list(range(0, COUNT, 5))
        assert found[f"w{n}", "out"] == [n for n in range(COUNT) if n % 5]


class Follower:
    """A ``prefork logs -f`` process and the lines that it prints."""

    def __init__(self, home: Home, words: tuple[str, ...]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "prefork", "logs", "web", "-f", *words],
            env={**os.environ, "PREFORK_HOME": str(home.home)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.lines = (line.rstrip("\n") for line in self.process.stdout)


@contextmanager
def following(home: Home, *words: str) -> Iterator[Follower]:
    """Run a follower during the context, and end it by Ctrl-C."""
    follower = Follower(home, words)
    try:
        yield follower
        follower.process.send_signal(signal.SIGINT)
        assert follower.process.wait(PATIENCE) == 0
    finally:
        follower.process.kill()
        follower.process.communicate()


def in_order(lines: list[str]) -> dict[tuple[str, str], list[int]]:
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for line in lines:
        if match := LINE.fullmatch(line):
            found[match[2], match[1]].append(int(match[3]))
    return found


def test_partial_long_and_multiple_lines(home: Home) -> None:
    """Lines are joined, cut and kept together, as text and as JSON."""
    home.start()
    folder = home.home / "web"
    get(home, "/raw?one%20")
    get(home, "/raw?line%0Aa%0A%0Ab%0A")
    get(home, "/raw?" + "y" * 7000)
    get(home, "/raw?" + "y" * 7000)
    get(home, "/raw?" + "y" * 7000 + "%0A")
    get(home, "/raw?%ff%fe%0A")
    get(home, "/raw?prompt%3E")
    wait_for(lambda: b"prompt>" in (folder / "web.out").read_bytes(), "the unfinished line")
    data = (folder / "web.out").read_bytes()
    records = [line.split(b" ", 3)[3] for line in data.splitlines()]
    bodies = [text.removeprefix(b"0 out ") for text in records]
    ys = [body for body in bodies if body.startswith(b"y")]
    assert b"".join(ys) == b"y" * 21000
    assert max(map(len, ys)) <= 16384
    assert [b for b in bodies if b not in ys] == [
        b"one line",
        b"a",
        b"",
        b"b",
        b"\xff\xfe",
        b"prompt>",
    ]

    write_json = ["--log-format", "json"]
    home.start("json", *write_json)
    url = f"http://{home.app('json')['listening'][0]}/raw?%22q%22%ff%0A"
    urllib.request.urlopen(url, timeout=PATIENCE).close()
    path = home.home / "json" / "json.out"
    wait_for(lambda: path.stat().st_size, "a record")
    record = json.loads(path.read_text())
    assert (record["slot"], record["stream"], record["text"]) == (0, "out", '"q"\\xff')


def test_a_traceback_of_the_app_stays_in_order(home: Home) -> None:
    (home.folder / "web.py").write_text(
        APP.replace(
            "        raise", "        import traceback; traceback.print_stack()\n        raise"
        )
    )
    home.start()
    with pytest.raises(urllib.error.HTTPError):
        get(home, "/raise")
    wait_output(home.home / "web", "print_stack")
    stack = [text for text in output_texts(home.home / "web") if text.startswith("0 err ")]
    assert stack[-2].lstrip("0 er").startswith("  File") or "File" in stack[-2]


def test_a_full_disk_loses_counted_lines_and_nothing_else(home: Home) -> None:
    """A file size limit of the log writer simulates the full disk, and is lifted again."""
    home.start()
    folder = home.home / "web"
    get(home, "/raw?before%0A")
    wait_output(folder, "before")
    writer = wait_log_writer(home).pid
    hard = resource.prlimit(writer, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(writer, resource.RLIMIT_FSIZE, (8000, hard))
    assert get(home, "/many?who=w1&count=20000") == b"done"
    wait_for(lambda: "; dropping lines" in (folder / "log").read_text(), "it is said")
    # The part of the last line that the disk took is cut off again.
    wait_for(lambda: (folder / "web.out").read_bytes().endswith(b"\n"), "the last line is whole")
    resource.prlimit(writer, resource.RLIMIT_FSIZE, (hard, hard))
    get(home, "/raw?after%0A")
    wait_output(folder, "after")
    lines = output_lines(folder)
    assert lines[0].endswith("before")

    def accounted() -> int:
        lines = output_lines(folder)
        dropped = [int(match[1]) for line in lines if (match := DROPPED.fullmatch(line))]
        assert sum(dropped) > 0
        return sum(dropped) + sum(map(len, in_order(lines).values()))

    wait_for(lambda: accounted() == 20_000, "each line is written or counted")
    log = (folder / "log").read_text()
    assert log.count("dropping lines") == 1
    assert "is written again" in log


def test_a_stopped_writer_does_not_block_the_app(home: Home) -> None:
    """The app runs as long as there is room in the pipe. The master does not block at all."""
    home.start()
    writer = wait_log_writer(home)
    writer.send_signal(signal.SIGSTOP)
    try:
        assert get(home, "/many?who=w1&count=2000") == b"done"
        home.run_ok("scale", "web", "2")
        home.run_ok("reload", "web")
    finally:
        writer.send_signal(signal.SIGCONT)
    home.run_ok("stop", "web")
    assert sum(map(len, in_order(output_lines(home.home / "web")).values())) == 2000


def test_flush_rotate_and_reopen(home: Home) -> None:
    home.start("web", "--log-keep", "1")
    folder = home.home / "web"
    for text in ("one", "two", "three"):
        get(home, f"/raw?{text}%0A")
        wait_output(folder, text)
        home.run_ok("rotate", "web")
        assert (folder / "web.out").stat().st_size == 0
    wait_for(lambda: [p.name for p in folder.glob("web.out.*")] == ["web.out.3.gz"], "tidy")
    assert "three" in home.run_ok("logs", "web", "--out")

    # As logrotate does it: with the verb, and with the signal.
    master = home.app()["pid"]
    reopens: list[Callable[[], object]] = [
        lambda: home.run_ok("reopen", "web"),
        lambda: os.kill(master, signal.SIGUSR1),
    ]
    for number, reopen in enumerate(reopens):
        away = folder / f"away{number}"
        get(home, f"/raw?old{number}%0A")
        wait_output(folder, f"old{number}")
        os.rename(folder / "web.out", away)
        reopen()
        wait_for((folder / "web.out").exists, "a new file")
        get(home, f"/raw?new{number}%0A")
        wait_output(folder, f"new{number}")
        assert f"new{number}" not in away.read_text()
    home.run_ok("flush", "web")
    assert output_lines(folder) == []
    assert (folder / "log").read_text() == ""


def test_logs_filters(home: Home) -> None:
    home.start("web", "-w", "2", "--log-rotate-size", "200")
    home.start("other")
    for text in ("apple", "pear", "plum"):
        get(home, f"/raw?{text}%0A")
        wait_output(home.home / "web", text)
    with pytest.raises(urllib.error.HTTPError):
        get(home, "/raise")

    def logs(*words: str) -> list[str]:
        return home.run_ok("logs", *words).splitlines()

    fruit = [line.split(" out ")[1] for line in logs("web", "--out", "-n", "2")]
    assert fruit == ["pear", "plum"]
    assert len(logs("web", "--grep", "apple|plum", "--since", "1h")) == 2
    assert logs("web", "--slot", "7") == []
    assert "RuntimeError: no such table" in home.run_ok("logs", "web", "-n", "50")
    both = logs()
    assert {line.split(":")[0] for line in both} == {"web", "other"}
    stamps = [match[1] for line in both if (match := re.match(r"\w+: (\d{4}-\S+ \S+) ", line))]
    assert stamps == sorted(stamps)
    record = json.loads(logs("web", "--json", "--grep", "pear")[0])
    assert (record["app"], record["stream"], record["text"]) == ("web", "out", "pear")
    assert "--grep: ( is no regular expression" in home.run_failing(100, "logs", "--grep", "(")
    assert "--since: expected a duration" in home.run_failing(100, "logs", "--since", "soon")


def test_in_the_foreground_output_goes_to_a_folder_when_one_is_named(tmp_path: Path) -> None:
    """The log is written neither through a symlink nor into another user's file."""
    (tmp_path / "web.py").write_text(APP)
    target = tmp_path / "precious"
    target.write_text("precious\n")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "web.out").symlink_to(target)
    with serving(tmp_path, "web:app", "--log-dir", "logs", "--name", "web") as server:
        server.wait_log("cannot open .*/logs/web.out")
        server.get("/raw?lost%0A")
        (tmp_path / "logs" / "web.out").unlink()
        server.send(signal.SIGUSR1)
        wait_for((tmp_path / "logs" / "web.out").exists, "a file of our own")
        server.get("/raw?kept%0A")
        wait_output(tmp_path / "logs", "kept")
        assert server.stop() == 0
        assert server.is_gone()
    assert target.read_text() == "precious\n"


def test_each_slot_may_have_its_own_log(home: Home) -> None:
    """Each is rotated and followed separately, also that of a new slot, and no line is lost."""
    home.start("web", "--log-split", "slot", "--log-rotate-size", "20k")
    folder = home.home / "web"
    assert not (folder / "web.out").exists()
    get(home, "/raw?first%0A")
    wait_for((folder / "web.out-0").exists, "a file of slot 0")
    follower = subprocess.Popen(
        [sys.executable, "-m", "prefork", "logs", "web", "-f", "-n", "1", "--out"],
        env=home.environ(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert follower.stdout is not None
        assert follower.stdout.readline().endswith("first\n")  # so it sees all later lines
        home.run_ok("scale", "web", "2")

        def both() -> bool:
            get(home, "/many?who=w1&count=50")
            return (folder / "web.out-1").exists() and len(list(folder.glob("web.out-0.*"))) > 1

        wait_for(both, "slot 1 said something, and slot 0 much")
        wait_log_writer(home).kill()
        both()
        slots = set()
        timer = threading.Timer(PATIENCE, follower.kill)
        timer.start()
        while slots != {"0", "1"}:
            line = follower.stdout.readline()
            assert line, "it ended"
            slots.add(line.split()[3])
        timer.cancel()
    finally:
        follower.kill()
        follower.communicate()
    home.run_ok("stop", "web")
    for slot in ("0", "1"):
        lines = output_lines(folder, "web", f"-{slot}")
        assert {line.split()[3] for line in lines} == {slot}
        numbers = [int(match[3]) for line in lines if (match := LINE.fullmatch(line))]
        assert len(numbers) == len([line for line in lines if " w1 " in line])
        assert all(numbers.count(each) == numbers.count(0) for each in range(50))
    home.run_ok("start", "web")
    assert "first" in home.run_ok("logs", "web", "-n", "9999")
    home.run_ok("flush", "web")
    assert output_lines(folder, "web", "-0") == output_lines(folder, "web", "-1") == []
    home.run_ok("delete", "web")
    assert not folder.exists()


def test_the_masters_own_log_is_rotated(home: Home) -> None:
    """Several processes write to it. `logs` and a follower show all lines across the rotation."""
    home.start("web", "-w", "2", "--log-rotate-size", "4k", "--log-keep", "3")
    folder = home.home / "web"

    def rotated() -> list[str]:
        return sorted(path.name for path in folder.glob("log.*"))

    def more() -> bool:
        with suppress(urllib.error.HTTPError):
            get(home, "/raise")
        get(home, "/raw?more%0A")  # This wakes the log writer.
        return "log.4" in rotated()

    wait_for(more, "four rotations")
    wait_for(lambda: rotated() == ["log.2", "log.3", "log.4"], "old ones go")
    assert not any(path.stat().st_size < 4096 for path in folder.glob("log.*"))
    home.run_ok("reload", "web")
    with suppress(urllib.error.HTTPError):
        get(home, "/raise")
    text = home.run_ok("logs", "web", "-n", "9999")
    assert "reloaded to gen 2" in text
    assert text.count("no such table") > 3
    home.run_ok("rotate", "web")
    assert rotated() == ["log.3", "log.4", "log.5"]
    assert (folder / "log").read_text() == ""
    home.run_ok("flush", "web")
    assert rotated() == []
    home.run_ok("delete", "web")
    assert not folder.exists()


def test_without_a_folder_output_goes_to_the_masters_streams(home: Home) -> None:
    environ = {"PREFORK_HOME": str(home.home)}
    with serving(home.folder, "web:app", env=environ) as server:
        server.get("/many?who=w1&count=1")
        server.wait_log("x{40}$")  # It may be between lines of the master.
        assert "give it one with --log-dir" in home.run_failing(100, "rotate", "web")
        assert "give it one with --log-dir" in home.run_failing(100, "logs", "web")


def test_when_the_master_is_killed_the_last_lines_are_written(home: Home) -> None:
    (home.folder / "web.py").write_text(APP + "import atexit\natexit.register(print, 'good bye')\n")
    home.start()
    writer = wait_log_writer(home)
    os.kill(home.app()["pid"], signal.SIGKILL)
    wait_output(home.home / "web", "good bye")
    wait_for(lambda: not writer.is_running(), "the writer ends")
