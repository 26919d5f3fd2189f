"""The figures of programs: those that they report, and CPU and memory of their process trees."""

import json
import os
import re
from bisect import bisect_left
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from prefork.wire import histogram
from tests.live.harness import Server, command, serving, wait_for
from tests.live.programs import listed, running_program
from tests.live.status_server import fetch, fetch_json

STATUS = ("--status", "127.0.0.1:0")

REPORTS = """\
import math, os, socket, sys, time

os.fork()  # two processes answer for each worker, below a shell
out, counts, took, times = int(os.environ["PREFORK_FIGURES_FD"]), [0, 0], 0.0, {}

def report(in_flight, oldest=0.0):
    lines = [f"X_PREFORK_REQUESTS={sum(counts)}", f"X_PREFORK_ANSWERED_2XX={counts[0]}",
             f"X_PREFORK_ANSWERED_4XX={counts[1]}", f"X_PREFORK_TOOK={took:.6f}",
             f"X_PREFORK_IN_FLIGHT={in_flight}", f"X_PREFORK_OLDEST={oldest:.6f}",
             "X_PREFORK_TIMES=" + ",".join(f"{b}:{n}" for b, n in times.items())]
    while True:
        try:
            return os.write(out, "\\n".join(lines).encode())
        except BlockingIOError:
            time.sleep(0.001)  # the master has ten reports to read

listener = socket.socket(fileno=3)
report(0)
while True:
    connection, _ = listener.accept()
    path = connection.recv(65536).split()[1].decode()
    if path == "/held":
        report(1, oldest=2.5)
        while not os.path.exists("go"):
            time.sleep(0.01)
    seconds = float(path.removeprefix("/").replace("held", "1"))  # how long it claims to have taken
    octave = math.floor(math.log2(seconds))
    bucket = (octave + 17) * 8 + int((seconds / 2**octave - 1) * 8)
    times[bucket] = times.get(bucket, 0) + 1
    counts[seconds > 0.3] += 1
    took += seconds
    report(0)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n"
                       b"Connection: close\\r\\n\\r\\nok")
    connection.close()
"""
WORKS = """\
import threading, time
held = bytearray(80 * 2**20)
for at in range(0, len(held), 4096): held[at] = 1

def work():
    while True: pass

threading.Thread(target=work, daemon=True).start()
"""
HOLDS_MB = 80
WORDS = ("-b", "127.0.0.1:0", *STATUS)


def app_name() -> str:
    return f"figures-{os.getpid()}"


def figures() -> dict[str, Any]:
    found: dict[str, Any] = listed(app_name())["figures"]
    return found


def metrics(server: Server) -> dict[tuple[str, str | None], float]:
    """Return the sums of the samples of all workers, by name and class."""
    found: dict[tuple[str, str | None], float] = {}
    for family in text_string_to_metric_families(fetch(server, "/metrics")[1].decode()):
        for sample in family.samples:
            key = (sample.name, sample.labels.get("class"))
            found[key] = found.get(key, 0.0) + sample.value
    return found


def bucket_of(seconds: float) -> int:
    ends = [histogram.upper_bound(bucket) for bucket in range(histogram.BUCKET_COUNT)]
    return bisect_left(ends, seconds)


def test_what_a_program_reports_is_shown_everywhere(tmp_path: Path) -> None:
    (tmp_path / "reports.py").write_text(REPORTS)
    program = ["sh", "-c", "python3 reports.py; exit"]  # a shell that does not exec
    options = (*WORDS, "--name", app_name(), "--ready", "100ms")
    with running_program(tmp_path, program, *options, workers=2) as server:
        wait_for(lambda: figures()["requests"] == 0, "the first reports")
        for seconds in ("0.02", "0.02", "0.4", "0.02") * 25:
            assert server.get(f"/{seconds}") == (200, b"ok")
        # A report precedes its answer, so the master has read all of them.
        found = figures()
        assert found["requests"] == 100
        assert found["answered"] == {"1xx": 0, "2xx": 75, "3xx": 0, "4xx": 25, "5xx": 0}
        assert abs(bucket_of(found["p50"]) - bucket_of(0.02)) <= 1
        assert abs(bucket_of(found["p99"]) - bucket_of(0.4)) <= 1
        assert (found["connections"], found["sent"], found["lag"]) == (None, None, None)
        shown = metrics(server)
        assert shown["prefork_requests_total", None] == 100
        assert shown["prefork_answered_total", "4xx"] == 25
        assert shown["prefork_request_duration_seconds_count", None] == 100
        assert shown["prefork_request_duration_seconds_sum", None] == pytest.approx(11.5)
        assert ("prefork_sent_bytes_total", None) not in shown
        workers = fetch_json(server, "/status.json")["workers"]
        assert sum(worker["requests"] for worker in workers) == 100
        assert {worker["connections"] for worker in workers} == {None}
        listing = command("list", cwd=tmp_path).stdout
        row = next(line for line in listing.splitlines() if line.startswith(app_name()))
        assert re.search(r" running +2/2 +[\d.]+ +0 +2[01]ms +39\dms ", row), row
        text = command("show", app_name(), cwd=tmp_path).stdout
        assert re.search(r"^requests +100, ", text, re.MULTILINE)
        assert "2xx 75, 4xx 25" in text


def test_a_request_in_flight_is_shown_with_its_age(tmp_path: Path) -> None:
    (tmp_path / "reports.py").write_text(REPORTS)
    options = (*WORDS, "--name", app_name(), "--ready", "100ms")
    with running_program(tmp_path, ["python3", "reports.py"], *options) as server:
        with server.connect() as connection:
            connection.sendall(b"GET /held HTTP/1.1\r\n\r\n")
            wait_for(lambda: figures()["in_flight"] == 1, "it is in flight")
            assert figures()["oldest"] >= 2.5
            (tmp_path / "go").touch()
            assert connection.recv(65536).endswith(b"ok")
        assert (figures()["in_flight"], figures()["oldest"]) == (0, 0.0)


def test_what_no_process_counts_is_unknown_and_not_zero(tmp_path: Path) -> None:
    options = (*STATUS, "--name", app_name(), "--ready", "10ms")
    with running_program(tmp_path, ["sleep", "1000"], *options) as server:
        app = listed(app_name())
        assert set(app["figures"].values()) == {None}
        assert {app["workers"][0][key] for key in app["figures"]} == {None}
        names = {name for name, _ in metrics(server)}
        assert {name for name in names if "request" in name or "connection" in name} == set()
        assert "prefork_memory_bytes" in names
        (worker,) = fetch_json(server, "/status.json")["workers"]
        assert (worker["requests"], worker["in_flight"], worker["p99"]) == (None, None, None)
        text = command("show", app_name(), cwd=tmp_path).stdout
        assert not re.search(r"^(requests|accepted|in flight) ", text, re.MULTILINE)
        cells = r"^ *0 +ready( +-){4} +\d+ +[\d.]+[km]( +-){3} "
        assert re.search(cells, text, re.MULTILINE), text


def test_a_malformed_report_is_named_once_and_replaces_no_worker(tmp_path: Path) -> None:
    wrong = "echo X_PREFORK_REQUESTS=-1 >&$PREFORK_FIGURES_FD"
    program = ["sh", "-c", f"{wrong}; {wrong}; echo X_PREFORK_SENT=7 >&$NOTIFY_FD; sleep 1000"]
    options = ("--name", app_name(), "--ready", "10ms")
    with running_program(tmp_path, program, *options) as server:
        server.wait_log(r"its process \d+ reports a malformed X_PREFORK_REQUESTS")
        wait_for(lambda: figures()["sent"] == 7, "the report after it")
        assert server.count("malformed") == 1
        assert figures()["requests"] is None
        assert server.count("gone") == 0


def check_tree(server: Server, cwd: Path) -> None:
    """Check that the work and the memory of a process below the worker are the worker's."""

    def worker() -> dict[str, Any]:
        listing = json.loads(command("list", "--json", cwd=cwd).stdout)
        (app,) = [app for app in listing if app["name"] == app_name()]
        (found,) = app["workers"]
        assert app["memory"] >= found["memory"]
        assert app["cpu"] >= found["cpu"]
        return dict(found)

    wait_for(lambda: worker()["memory"] > HOLDS_MB * 2**20, "its memory is in the list")
    wait_for(lambda: worker()["cpu"] > 0, "its CPU is in the list")

    def memory() -> float:
        return metrics(server).get(("prefork_memory_bytes", None), 0.0)

    wait_for(lambda: memory() > HOLDS_MB * 2**20, "its memory is in the metrics")
    (found,) = fetch_json(server, "/status.json")["workers"]
    assert found["memory"] > HOLDS_MB * 2**20
    assert found["memory_is"] == "pss"


def test_cpu_and_memory_of_a_program_are_those_of_its_tree(tmp_path: Path) -> None:
    (tmp_path / "works.py").write_text(WORKS + "time.sleep(1000)\n")
    shells = ["sh", "-c", "sh -c 'python3 works.py; exit'; exit"]
    options = (*STATUS, "--name", app_name(), "--ready", "10ms")
    with running_program(tmp_path, shells, *options) as server:
        check_tree(server, tmp_path)


def test_cpu_and_memory_of_an_app_contain_its_children(tmp_path: Path) -> None:
    app = "\ndef app(environ, start_response):\n    start_response('200 OK', [])\n    return []\n"
    begin = "import multiprocessing\nimport works\n"
    run = "multiprocessing.Process(target=works.run, daemon=True).start()\n"
    source = WORKS.replace("\n", "\n    ").rstrip() + "\n    time.sleep(1000)\n"
    (tmp_path / "works.py").write_text(f"def run():\n    {source}")
    (tmp_path / "web.py").write_text(begin + run + app)
    with serving(tmp_path, "web:app", *STATUS, "--name", app_name()) as server:
        check_tree(server, tmp_path)


def test_the_autoscaler_measures_the_tree(tmp_path: Path) -> None:
    (tmp_path / "works.py").write_text(WORKS + "time.sleep(1000)\n")
    shells = ["sh", "-c", "python3 works.py; exit"]
    options = ("--name", app_name(), "--ready", "10ms", "--max-workers", "2", "-b", "127.0.0.1:0")
    with running_program(tmp_path, shells, *options):

        def reading() -> dict[str, Any]:
            return listed(app_name())["autoscale"]["reading"] or {"each": 0, "running": 0.0}

        wait_for(lambda: reading()["each"] > HOLDS_MB * 2**20, "the memory of the tree")
        wait_for(lambda: reading()["running"] > 0.1, "its CPU")
