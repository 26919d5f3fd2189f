"""Blocks of code in README.md and the manual that are marked as runnable run as they stand."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import PATIENCE
from tests.live.home import Home, temporary_home

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "prefork" / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+) runnable\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUNNABLE = {path.name: path for path in DOCUMENTS if BLOCK.search(path.read_text())}
FOLDER = "/srv/hello"
"""The folder in which the manual has its examples."""


class Console:
    """A shell in the folder of a home, for the commands of a page and what they print there."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._ports: dict[str, str] = {}
        """The ports that the kernel chose, by those of the page."""
        self._code = 0

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run one command. Addresses of the page get ports that the kernel chooses."""
        named = re.findall(r"127\.0\.0\.1:(\d+)", command)
        script = re.sub(
            r"127\.0\.0\.1:(\d+)", lambda port: f"127.0.0.1:{self._ports.get(port[1], 0)}", command
        )
        done = subprocess.run(
            ["sh", "-ec", f"(exit {self._code}) || {script}" if self._code else script],
            cwd=self._home.folder,
            env={**self._home.environ(), "PATH": f"{self._home.folder}:/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if found := re.search(r"listening on 127\.0\.0\.1:(\d+)", done.stdout):
            self._ports |= dict.fromkeys(named, found[1])
        self._code = done.returncode
        return done

    def check(self, block: str) -> None:
        """Run the commands of a block, each behind ``$``, and compare what they print."""
        for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            printed = self.run(command).stdout.replace(str(self._home.folder), FOLDER)
            wanted = "".join(map(_line_pattern, expected.splitlines()))
            lines = "".join(f"{_normalise(line)}\n" for line in printed.splitlines())
            assert re.fullmatch(wanted, lines), f"$ {command}\n{printed}\nand not\n{expected}"


def _line_pattern(line: str) -> str:
    """Return a pattern for a line of the page. An ellipsis stands for any text, or for lines."""
    if line.strip() == "…":
        return r"(?:.*\n)*"
    return re.escape(_normalise(line)).replace("…", ".*") + r"\n"


def _normalise(line: str) -> str:
    """Return a line with all amounts, times, pids and ports alike; a line of one number stays."""
    if line.strip().isdecimal():
        return line
    line = re.sub(r"(?<![^\s])-(?![^\s])", "0", line)  # a dash in a table is an amount, too
    line = re.sub(r"\d[\d.,:-]*(?:ms|µs|[smhdkg])?(?: \d+[smh])?\b", "0", line)
    return " ".join(line.replace("─", "").split())


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as home:
        yield home


def test_the_first_pages_have_blocks_that_run() -> None:
    assert set(RUNNABLE) >= {"README.md", "quickstart.md", "troubleshooting.md"}


@pytest.mark.parametrize("name", RUNNABLE)
def test_runnable_blocks_run(home: Home, name: str) -> None:
    """A block of Python is written to the file that its first line names, a block of sh is run, and
    the commands of a console print what stands below them."""
    (home.folder / "prefork").write_text(f'#!/bin/sh\nexec {sys.executable} -m prefork "$@"\n')
    (home.folder / "prefork").chmod(0o755)
    console = Console(home)
    for language, block in BLOCK.findall(RUNNABLE[name].read_text()):
        if language == "python":
            file = block.splitlines()[0].removeprefix("# ")
            (home.folder / file).write_text(block)
        elif language == "console":
            console.check(block)
        else:
            done = console.run(block)
            assert done.returncode == 0, f"{block}\n{done.stdout}"
