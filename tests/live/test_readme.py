"""The quickstarts of README.md, typed as they stand, in an environment with nothing but prefork."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.fresh_environment import ROOT, FreshEnvironment, build_wheels
from tests.live.harness import PATIENCE, Server
from tests.live.raw_client import ask, get

README = (ROOT / "README.md").read_text()
SECTION = re.compile(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTIONS = {title: BLOCK.findall(text) for title, text in SECTION.findall(README)}

FASTAPI_APP = """\
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def hello() -> str:
    return "Hello"
"""
NODE_APP = """\
const http = require('http');
http.createServer((request, response) => response.end('Hello\\n')).listen(process.env.PORT || 3000);
"""
PACKAGE = '{"name": "hello", "version": "1.0.0", "scripts": {"start": "node server.js"}}'


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> FreshEnvironment:
    folder = tmp_path_factory.mktemp("readme")
    made = FreshEnvironment(folder, build_wheels(folder))
    made.run("pip install -q prefork", folder)
    return made


def code_of(title: str, language: str) -> str:
    """Return the first block of code in a language below a heading."""
    return next(text for word, text in SECTIONS[title] if word == language)


@contextmanager
def typed(title: str, environment: FreshEnvironment, folder: Path) -> Iterator[Server]:
    """Type the command of a section into a shell, with a port that the kernel chooses."""
    line = re.sub(r"\b127\.0\.0\.1:\d+", "127.0.0.1:0", code_of(title, "sh"))
    assert len(line.splitlines()) == 1
    # One worker for each core is a matter of the machine.
    script = f"exec {line.replace('-w 0', '-w 2')}"
    server = Server(cwd=folder, env=environment.environ(), program=("sh", "-c", script))
    try:
        yield server.ready(2)
    finally:
        server.destroy()


def test_five_lines(environment: FreshEnvironment, tmp_path: Path) -> None:
    source = code_of("Five lines", "python")
    (tmp_path / source.splitlines()[0].removeprefix("# ")).write_text(source)
    with typed("Five lines", environment, tmp_path) as server:
        assert server.get() == (200, b"Hello\n")


def test_django(environment: FreshEnvironment, tmp_path: Path) -> None:
    environment.install("django")
    environment.run("django-admin startproject mysite .", tmp_path)
    with typed("Django", environment, tmp_path) as server:
        status, body = server.get()
        assert status == 200
        assert b"The install worked successfully" in body


def test_fastapi(environment: FreshEnvironment, tmp_path: Path) -> None:
    environment.install("fastapi")
    (tmp_path / "main.py").write_text(FASTAPI_APP)
    with typed("FastAPI, Starlette, Quart", environment, tmp_path) as server:
        assert server.get() == (200, b'"Hello"')


def test_node(environment: FreshEnvironment, tmp_path: Path) -> None:
    if missing := [tool for tool in ("node", "npm") if shutil.which(tool) is None]:
        pytest.skip(f"not on this machine: {', '.join(missing)}")
    (tmp_path / "server.js").write_text(NODE_APP)
    (tmp_path / "package.json").write_text(PACKAGE)
    with typed("Node", environment, tmp_path) as server:
        assert ask(server, get("/")).body == b"Hello\n"


def test_the_unit_is_one_that_systemd_takes(environment: FreshEnvironment, tmp_path: Path) -> None:
    """With the paths of this environment: systemd-analyze wants the programs to exist."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on this machine")
    unit = code_of("systemd", "ini")
    name = Path(unit.splitlines()[0].removeprefix("# ")).name
    program = "/srv/mysite/.venv/bin/prefork"
    assert unit.count(program) == 2
    path = tmp_path / name
    path.write_text(unit.replace(program, str(environment.folder / "bin/prefork")))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", path],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    # It also complains about other units of the machine.
    assert not [line for line in done.stderr.splitlines() if name in line], done.stderr
    assert done.returncode == 0, done.stderr
