"""Apps that replace or close stdout and stderr while they are imported."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import command, serving, wait_for
from tests.live.home import Home, fetch, temporary_home

APP = """
def app(environ, start_response):
    environ["wsgi.errors"].write("told\\n")
    environ["wsgi.errors"].writelines(["and "])
    environ["wsgi.errors"].flush()
    start_response("200 OK", [])
    return [b"served"]
"""

_CLASSES = """
import codecs, io, os, sys

class Tee:
    def __init__(self, *streams):
        self.streams = streams
    def write(self, text):
        for stream in self.streams:
            stream.write(text)
    def flush(self):
        for stream in self.streams:
            stream.flush()

class Bare:
    def write(self, text):
        pass

class Hostile:
    def __getattr__(self, name):
        raise KeyError(name)

"""

REPLACED = {
    "string": "sys.stdout = sys.stderr = io.StringIO()",
    "none": "sys.stdout = sys.stderr = None",
    "all-none": "sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = None",
    "closed": "sys.stdout.close(); sys.stderr.close()",
    "codecs": "sys.stdout = codecs.getwriter('utf-8')(sys.stdout.buffer)\n"
    "sys.stderr = codecs.getwriter('utf-8')(sys.stderr.buffer)",
    "detached": "sys.stdout = io.TextIOWrapper(sys.stdout.detach())\n"
    "sys.stderr = io.TextIOWrapper(sys.stderr.detach())",
    "tee": "sys.stdout = Tee(sys.stdout, io.StringIO()); sys.stderr = Tee(sys.stderr)",
    "bare": "sys.stdout = sys.stderr = Bare()",
    "hostile": "sys.stdout = sys.stderr = Hostile()",
    "descriptors": "os.close(1); os.close(2)",
}
"""The code by which the app replaces its streams, by a name."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as made:
        yield made


@pytest.mark.parametrize("kind", list(REPLACED))
def test_the_app_starts_in_the_background_and_ends(home: Home, kind: str) -> None:
    home.write("web.py", _CLASSES + REPLACED[kind] + APP)
    home.start()
    app = home.app()
    assert fetch(app) == b"served"
    home.run_ok("reload", "web")
    assert fetch(app) == b"served"
    home.run_ok("stop", "web")
    files = [Path(app["log"]), Path(app["output"])]
    logged = "\n".join(path.read_text() for path in files)
    assert "killed" not in logged
    if kind != "hostile":  # its own error may be shown
        assert "Traceback" not in logged
    if kind in ("none", "all-none", "bare", "hostile", "closed", "descriptors"):
        assert "told" in Path(app["output"]).read_text()


@pytest.mark.parametrize("kind", list(REPLACED))
def test_the_app_starts_as_a_daemon(tmp_path: Path, kind: str) -> None:
    (tmp_path / "web.py").write_text(_CLASSES + REPLACED[kind] + APP)
    log, pid_file = tmp_path / "log", tmp_path / "pid"
    words = ("-D", "-b", f"unix:{tmp_path}/http", "--log-file", str(log), "-p", str(pid_file))
    started = command(*words, "--name", f"daemon-{kind}", "web:app", cwd=tmp_path)
    try:
        assert started.returncode == 0, started.stderr + log.read_text()
    finally:
        stopped = command("delete", f"daemon-{kind}", cwd=tmp_path)
    assert stopped.returncode == 0, stopped.stderr
    wait_for(lambda: "stopped" in log.read_text(), "its end")
    if kind != "hostile":
        assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("kind", list(REPLACED))
def test_the_app_is_served_in_the_foreground(tmp_path: Path, kind: str) -> None:
    (tmp_path / "web.py").write_text(_CLASSES + REPLACED[kind] + APP)
    with serving(tmp_path, "web:app") as server:
        assert server.get() == (200, b"served")
        assert server.stop() == 0
        if kind != "hostile":
            assert not server.count("Traceback")


def test_a_file_of_the_app_at_descriptor_1_is_left_alone(home: Home) -> None:
    own = home.folder / "own"
    code = f"os.close(1)\nown = open({str(own)!r}, 'w', buffering=1)\nassert own.fileno() == 1\n"
    home.write("web.py", f"{_CLASSES}{code}own.write('one\\n')\n{APP}")
    home.start()
    app = home.app()
    assert fetch(app) == b"served"
    home.write("web.py", f"{_CLASSES}{code}own.write('two\\n')\n{APP}")
    home.run_ok("stop", "web")
    assert own.read_text() == "one\n"
    log = Path(app["log"]).read_text()
    assert len(re.findall("the app closed descriptor 1, which is a file of its own now", log)) == 1


def test_output_before_the_stream_was_replaced_is_kept(tmp_path: Path) -> None:
    code = "print('before')\nsys.stdout = io.StringIO()\n"
    (tmp_path / "web.py").write_text(_CLASSES + code + APP)
    with open(tmp_path / "out", "wb") as out, serving(tmp_path, "web:app", stdout=out) as server:
        assert server.stop() == 0
    assert (tmp_path / "out").read_text() == "before\n"
