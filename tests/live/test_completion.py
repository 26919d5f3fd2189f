"""``prefork completion``: its scripts, run by the shells themselves."""

import os
import pty
import re
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import PATIENCE
from tests.live.home import Home, temporary_home

TYPED = {
    "prefork relo": ["reload"],
    "prefork reload we": ["web"],
    "prefork reload --dry": ["--dry-run"],
    "prefork start --kill-t": ["--kill-timeout"],
    "prefork list --sort mem": ["memory"],
    "prefork signal web WIN": ["WINCH"],
    "prefork completion fi": ["fish"],
    "prefork --kill-t": ["--kill-timeout"],
}
"""Typed command lines, and the words that the last word may become."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as made:
        yield made


def script(home: Home, shell: str) -> Path:
    """Write the completion script to a file and return its path; skip without that shell."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    for name in ("web", "shop"):
        (home.home / name).mkdir(parents=True, mode=0o700)
    (home.home / "saved.toml").touch()
    path = home.folder / f"completion.{shell}"
    path.write_text(home.run_ok("completion", shell))
    subprocess.run([shell, "-n", str(path)], check=True)
    return path


def in_shell(home: Home, *words: str) -> str:
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=True,
        cwd=home.folder,
        env={**home.environ(), "HOME": str(home.folder)},
        timeout=PATIENCE,
    )
    assert done.stderr == ""
    return done.stdout


def test_bash_completes(home: Home) -> None:
    path = script(home, "bash")

    def complete(typed: str) -> list[str]:
        words = typed.split(" ")
        code = (
            f"source {path}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}\n"
            '_prefork; echo "${COMPREPLY[@]}"'
        )
        return in_shell(home, "bash", "-c", code).split()

    assert {typed: complete(typed) for typed in TYPED} == TYPED
    assert complete("prefork stop ''") == ["all", "shop", "web"]


def test_fish_completes(home: Home) -> None:
    path = script(home, "fish")

    def complete(typed: str) -> list[str]:
        completions = in_shell(home, "fish", "-c", f"source {path}; complete -C '{typed}'")
        return [line.split("\t")[0] for line in completions.splitlines()]

    assert {typed: complete(typed) for typed in TYPED} == TYPED
    assert complete("prefork stop ") == ["shop", "web"]


def test_zsh_completes(home: Home) -> None:
    """This needs a terminal, because completion is a part of the line editor."""
    path = script(home, "zsh")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(home.folder)
        os.execvpe("zsh", ["zsh", "-f", "-i"], {**home.environ(), "TERM": "xterm"})
    try:
        setup = f"PS1=; autoload -U compinit; compinit -u -D; source {path}; echo set''up\n"
        os.write(terminal, setup.encode())
        shows(terminal, "setup")
        for typed, (word,) in TYPED.items():
            os.write(terminal, f"{typed}\t".encode())
            shows(terminal, re.escape(typed.rpartition(" ")[0] + " " + word) + " ")
            os.write(terminal, b"\x15echo clean''ed\n")
            shows(terminal, "cleaned")
    finally:
        os.close(terminal)
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def shows(terminal: int, pattern: str) -> None:
    """Wait until the terminal shows a text that matches."""
    written, deadline = b"", time.monotonic() + PATIENCE
    while True:
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode("utf-8", "replace"))
        if re.search(pattern, text):
            return
        assert time.monotonic() < deadline, (pattern, text)
        if select.select([terminal], [], [], 0.1)[0]:
            written += os.read(terminal, 65536)
