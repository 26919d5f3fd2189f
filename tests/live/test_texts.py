"""Texts of apps, programs and files reach titles, systemd, logs, JSON, terminals and pages.

Whatever they hold, they neither end the master nor act on what shows them, and no request is lost.
"""

import json
import os
import re
import signal
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.live.app_sources import write_version
from tests.live.client_load import client_load
from tests.live.harness import PATIENCE, Server, command_line, serving, wait_for
from tests.live.home import Home, fetch, temporary_home
from tests.live.terminal import terminal_output

OSC = "\x1b]52;c;cHduZWQ=\x07"
"""An escape sequence that writes to the clipboard of a terminal which allows it."""

FORGED = "2026-01-01 00:00:00.000 [1] ERROR forged"
STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \[\d+\] [A-Z]+ ")

FAILURES = {
    "NUL": 'raise SystemExit("bad" + chr(0))',
    "lone surrogates": r'raise RuntimeError("\ud800 \udfff")',
    "escape sequences": r'raise RuntimeError("\x1b]52;c;cHduZWQ=\x07 \x9b2J \x1b[2J")',
    "1 MB": 'raise RuntimeError("x" * 1_000_000)',
    "1 MB of controls": r'raise RuntimeError("\x1b\0" * 500_000)',
    "1 MB of lines": r'raise RuntimeError("x\n" * 500_000)',
    "latin-1 file name": 'import os; open(os.fsdecode(b"caf\\xe9/\\x80.txt"))',
    "forged record": f'raise RuntimeError("no\\n{FORGED}")',
    "forged with other ends": "\n".join(
        [
            "ends = '\\r \\v \\f \\x1c \\x1d \\x1e \\x85 \\u2028 \\u2029'.split(' ')",
            f"raise RuntimeError(''.join(end + '{FORGED}' for end in ends))",
        ]
    ),
    "forged as JSON": "\n".join(
        [
            "import json",
            "told = dict(time='2026-01-01 00:00:00.000', pid=1, slot=None, stream='log')",
            "raise RuntimeError('no\\n' + json.dumps({**told, 'text': 'forged'}))",
        ]
    ),
    "exit with bytes": r'raise SystemExit(b"\0\xff")',
    "a name of its own": r'raise type("Bad\0\x1b\ud800Error", (Exception,), {})("\0")',
    "a str() that fails": "\n".join(
        [
            "class Bad(Exception):",
            "    def __str__(self): raise self",
            "raise Bad",
        ]
    ),
    "notes": 'error = ValueError("v"); error.add_note("\\0\\ud800\\n' + FORGED + '"); raise error',
    "bidi": r'raise RuntimeError("\u202e\u2066\u200f")',
}


UNFIT = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def assert_fit(log: str) -> None:
    """Assert that no character acts on a terminal, and that each record of the log is genuine."""
    assert not UNFIT.search(log)
    for line in log.split("\n"):
        assert not line.startswith((FORGED, '{"time"')), line
        assert STAMP.match(line) or line.startswith("  ") or not line, line


def test_no_reason_of_a_failed_reload_ends_the_service(tmp_path: Path) -> None:
    write_version(tmp_path, 1)
    with (
        serving(tmp_path, "app:app", workers=2) as server,
        client_load(server.port, 8, 8) as clients,
    ):
        clients.run_phase("quiet", 200)
        before = {worker.pid for worker in server.workers()}
        for number, (name, code) in enumerate(FAILURES.items(), 1):
            clients.begin_phase(name)
            write_version(tmp_path, 2, code=code)
            server.send(signal.SIGHUP)
            server.wait_log("reload failed, gen 1 serves on", number)
            assert server.process.poll() is None
            server.wait_title(r"^prefork: master \[app\] reload failed, gen 1, 2/2 ready$")
        clients.run_phase("after", 200)
        assert {worker.pid for worker in server.workers()} == before
        report = clients.stop()
        assert server.stop() == 0
    assert not report.failures, report
    assert {version for phase in report.phases for version in phase.versions} == {"0001"}
    assert_fit(server.log)


@pytest.mark.parametrize("message", ["bad\0", "\ud800\udfff", OSC, f"no\n{FORGED}", "m" * 10**6])
def test_a_lifespan_may_fail_with_any_message(tmp_path: Path, message: str) -> None:
    gate = tmp_path / "fails"
    (tmp_path / "app.py").write_text(
        "import os\n"
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'lifespan':\n"
        "        await receive()\n"
        "        if os.path.exists('fails'):\n"
        f"            message = {message!a}\n"
        "            await send({'type': 'lifespan.startup.failed', 'message': message})\n"
        "            return\n"
        "        await send({'type': 'lifespan.startup.complete'})\n"
        "        await receive()\n"
        "        await send({'type': 'lifespan.shutdown.complete'})\n"
        "        return\n"
        "    await send({'type': 'http.response.start', 'status': 200})\n"
        "    await send({'type': 'http.response.body', 'body': b'old'})\n"
    )
    with serving(tmp_path, "app:app") as server:
        gate.touch()
        server.send(signal.SIGHUP)
        server.wait_log("reload failed, gen 1 serves on")
        server.wait_title("reload failed, gen 1, 1/1 ready$")
        assert server.get() == (200, b"old")
        assert server.stop() == 0
    assert_fit(server.log)


@pytest.mark.parametrize(
    "words",
    [b"bad\0", b"\xff\xe9", OSC.encode(), b"no\n" + FORGED.encode(), "é".encode() * 500_000],
    ids=["NUL", "latin-1", "OSC", "forged", "1 MB without a line end"],
)
def test_a_program_may_end_with_any_output(tmp_path: Path, words: bytes) -> None:
    (tmp_path / "words").write_bytes(words)
    (tmp_path / "job.py").write_text(
        "import os, sys, time\n"
        "if os.path.exists('fails'):\n"
        "    sys.stderr.buffer.write(open('words', 'rb').read()); sys.exit(3)\n"
        "os.write(int(os.environ['NOTIFY_FD']), b'READY=1')\n"
        "time.sleep(1000)\n"
    )
    log = tmp_path / "log"
    # With --log-dir what the program prints is not mixed with the master's own records.
    server = Server(
        *("--log-dir", "logs", "--log-file", "log", "--ready", "notify", "--", "python3", "job.py"),
        cwd=tmp_path,
    )

    def logged() -> str:
        return log.read_text() if log.exists() else ""

    try:
        wait_for(lambda: "running, gen 1" in logged(), "it runs")
        (program,) = [each for each in server.workers() if "job.py" in command_line(each)]
        (tmp_path / "fails").touch()
        server.send(signal.SIGHUP)
        wait_for(lambda: "reload failed, gen 1 serves on" in logged(), "the reload fails")
        server.wait_title("reload failed, gen 1, 1/1 ready$")
        assert program.is_running()
        assert server.stop() == 0
    finally:
        server.destroy()
    assert_fit(logged())
    assert "�" not in logged()
    if words.decode(errors="ignore").startswith("é"):
        assert "\\x" not in logged()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as home:
        yield home


EVIL_APP = """\
import os, sys
OSC = "\\x1b]52;c;cHduZWQ=\\x07\\x1b[2JEVIL\\x9b31m"
print("printed", OSC, flush=True)
print("printed", OSC, file=sys.stderr, flush=True)
if os.path.exists("fails"):
    raise RuntimeError("reason " + OSC + chr(0) + "\\udcff\\ud800")

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"web"]
"""


PRINTS = """\
import sys

def app(environ, start_response):
    sys.stdout.buffer.write(b"{}\\ndone\\n")
    sys.stdout.flush()
    start_response("200 OK", [])
    return [b"web"]
"""


def printed(home: Home) -> bytes:
    """Return the output that the log writer wrote, up to the last line of PRINTS."""
    output = home.folder / "logs" / "web.out"
    wait_for(lambda: output.exists() and b"done\n" in output.read_bytes(), "it is written")
    return output.read_bytes()


def assert_harmless(shown: bytes) -> None:
    """Assert that all control characters are line ends, tabs, and rich's own colours and cursor
    moves."""
    text = shown.decode()
    assert "\x1b]" not in text
    assert "\x1b[2JEVIL" not in text
    ours = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert not re.search(r"[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202e]", ours), ours


def test_no_verb_passes_escape_sequences_on_to_a_terminal(home: Home) -> None:
    home.write("web.py", EVIL_APP)
    home.start("web")
    home.write("fails", "")
    reload = terminal_output(home, "reload", "web")
    assert b"reload failed, gen 1 serves on" in reload
    verbs = (
        ["logs", "web", "-n", "200"],
        ["logs", "web", "--json"],
        ["why", "web"],
        ["why", "web", "--json"],
        ["show", "web"],
        ["show", "web", "--json"],
        ["list"],
        ["list", "--json"],
        ["env", "web", "--reveal"],
        ["report"],
        ["ping", "web"],
    )
    found = {" ".join(verb): terminal_output(home, *verb) for verb in verbs}
    found["reload web"] = reload
    found["monit"] = terminal_output(home, "monit", keys="q", after=b"reason")
    for verb, shown in found.items():
        assert_harmless(shown)
        if verb.startswith(("logs", "why", "show", "reload")):
            assert b"EVIL" in shown, verb
            assert b"RuntimeError: reason" in shown, verb
    assert rb"\x1b]52;c;cHduZWQ=\x07" in found["logs web -n 200"]


def test_a_pipe_gets_the_bytes_of_the_log(home: Home) -> None:
    home.write("web.py", PRINTS.format(rb"\x1b[31mred\x1b[m caf\xe9 \xff".decode()))
    home.start("web", "--log-dir", "logs")
    fetch(home.app())
    printed(home)
    done = home.output("logs", "web")
    assert b"\x1b[31mred\x1b[m caf\xe9 \xff\n" in done
    records = [json.loads(line) for line in home.run_ok("logs", "web", "--json").splitlines()]
    assert any(one["text"] == "\x1b[31mred\x1b[m caf\\xe9 \\xff" for one in records)


def test_a_reason_with_lone_surrogates_is_valid_json_for_programs(home: Home) -> None:
    home.write("web.py", EVIL_APP)
    home.start("web")
    home.write("fails", "")
    error = home.run_failing(102, "reload", "web")
    assert "RuntimeError: reason" in error
    for verb in (["show", "web", "--json"], ["list", "--json"], ["why", "web", "--json"]):
        text = home.run_ok(*verb)
        assert json.dumps(json.loads(text), ensure_ascii=False).encode()
    assert "reason" in home.run_ok("why", "web")


def test_a_password_in_a_reason_is_in_no_title(home: Home) -> None:
    """ps shows titles to every user, and systemd its status."""
    home.start("web")
    home.write("web.py", "raise SystemExit('cannot log in with s3cret')\n")
    error = home.run_failing(102, "reload", "web")
    assert "s3cret" in error
    app = home.app()
    assert app["status"] == "reload failed, gen 1, 1/1 ready"
    for pid in [app["pid"], *(worker["pid"] for worker in app["workers"])]:
        assert b"s3cret" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    for verb in (["list"], ["report"], ["start", "web"]):
        done = home.run(*verb)
        assert "s3cret" not in done.stdout + done.stderr, verb
    assert "s3cret" in home.run_ok("why", "web")
    assert "s3cret" in home.run_ok("show", "web")
    assert "s3cret" in home.run_ok("logs", "web")
    state = home.home / "web" / "state"
    assert state.stat().st_mode & 0o77 == 0
    assert "s3cret" not in state.read_text()


def test_identical_deaths_are_listed_once(home: Home) -> None:
    home.write(
        "web.py",
        "import os, sys\n"
        "if os.path.exists('fails'):\n"
        "    raise LookupError(f'no such luck {object()}')\n"
        "def app(environ, start_response):\n"
        "    os._exit(7)\n",
    )
    home.start("web", "-w", "2", "--max-restarts", "1000", "--min-uptime", "1ms")
    for worker in home.app()["workers"]:
        os.kill(worker["pid"], signal.SIGKILL)
    wait_for(lambda: home.app()["restarts"] >= 2, "both died")
    deaths = home.run_ok("why", "web")
    pattern = r"2 times since .* workers 0, 1 \(gen 1, the last was pid \d+\)"
    assert re.search(pattern, deaths), deaths
    assert len(deaths.splitlines()) == 1
    assert len(json.loads(home.run_ok("why", "web", "--json"))) == 2


def test_one_worker_is_written_in_the_singular(home: Home) -> None:
    home.start("web", "-w", "1")
    assert re.search(r"\b1 worker\b", home.run_ok("reload", "--dry-run", "web"))
    assert "1 worker\n" in home.run_ok("scale", "web", "1")
    home.run_ok("scale", "web", "2")
    output = home.run_ok("scale", "web", "1")
    assert "web: 1 worker\n" in output
    assert "1 workers" not in home.run_ok("logs", "web", "-n", "1000")
    assert "saved 1 app in" in home.run_ok("save")


def test_a_log_line_above_16_kib_is_cut_between_characters(home: Home) -> None:
    home.write("web.py", PRINTS.format(r"\xe2\x82\xac" * 20_000))
    home.start("web", "--log-dir", "logs")
    fetch(home.app())
    text = printed(home).decode()
    assert text.count("€") == 20_000


def test_the_status_page_gets_printable_texts(tmp_path: Path) -> None:
    (tmp_path / "web.py").write_text(EVIL_APP)
    options = ("--status", "127.0.0.1:0", "--log-dir", "logs")
    with serving(tmp_path, "web:app", *options) as server:
        place = server.wait_log(r"status on (\S+)")
        (tmp_path / "fails").touch()
        server.send(signal.SIGHUP)
        server.wait_log("reload failed")

        def get(path: str) -> str:
            with urllib.request.urlopen(f"http://{place[1]}{path}", timeout=PATIENCE) as answer:
                content: bytes = answer.read()
            return content.decode()

        def logged() -> str:
            return "\n".join(record["text"] for record in json.loads(get("/log.json"))["records"])

        wait_for(lambda: logged().count("EVIL") >= 4, "the log writer has written it")
        texts = logged()
        assert not UNFIT.search(texts)
        for path in ("/deaths.json", "/status.json", "/metrics", "/readyz"):
            assert not UNFIT.search(get(path))


def test_a_character_that_comes_in_two_writes_stays_whole(home: Home) -> None:
    """The log writer does not wait without end for the end of a line, as for a prompt."""
    home.write(
        "web.py",
        "import os\n"
        "def app(environ, start_response):\n"
        "    os.write(1, b'caf\\xc3')\n"
        "    open('gate').read()\n"
        "    os.write(1, b'\\xa9\\ndone\\n')\n"
        "    start_response('200 OK', [])\n"
        "    return [b'web']\n",
    )
    os.mkfifo(home.folder / "gate")
    home.start("web", "--log-dir", "logs")
    output = home.folder / "logs" / "web.out"
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(fetch, home.app())
        try:
            wait_for(lambda: output.exists() and b"caf" in output.read_bytes(), "a part is there")
        finally:
            (home.folder / "gate").write_bytes(b"")
        assert answer.result(PATIENCE) == b"web"
    assert "é" in printed(home).decode()
