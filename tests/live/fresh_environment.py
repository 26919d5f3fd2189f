"""Virtual environments that have what a command of the manual installs, and nothing of this one.

pip finds prefork and what it needs among wheels of this checkout, so ``pip install prefork`` is
typed as the manual has it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.live.harness import own_environment

ROOT = Path(__file__).parents[2]
NOT_SOURCES = (".git", ".venv*", "*.so", "*.c", "build", "dist", "*.egg-info", "__pycache__")
INSTALL_PATIENCE = 280
"""Seconds that pip may take."""


def copy_sources(folder: Path) -> Path:
    """Copy what a release is built from; return the copy."""
    ignored = shutil.ignore_patterns(*NOT_SOURCES)
    return Path(shutil.copytree(ROOT, folder / "sources", ignore=ignored))


def build_wheels(folder: Path) -> Path:
    """Build a wheel of prefork and get those that it needs; return their folder."""
    wheels = folder / "wheels"
    command = [sys.executable, "-m", "pip", "wheel", "-q", "-w", wheels, copy_sources(folder)]
    subprocess.run(command, check=True, timeout=INSTALL_PATIENCE)
    return wheels


class FreshEnvironment:
    """One virtual environment. ``home``: the folder of the apps that its prefork manages."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        self.folder = folder / "venv"
        self.home = folder / "home"
        self._wheels = wheels
        subprocess.run([sys.executable, "-m", "venv", self.folder], check=True, timeout=60)

    def environ(self, **more: str) -> dict[str, str]:
        """Return the variables of a shell in which the environment is active."""
        index = {"PIP_FIND_LINKS": str(self._wheels), "PIP_NO_INDEX": "1"}
        return {**self._activated(), **index, "PREFORK_HOME": str(self.home), **more}

    def _activated(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in own_environment().items()
            if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
        }
        return {**inherited, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}

    def install(self, *words: str | Path) -> None:
        """Install packages from the package index."""
        command = [self.folder / "bin/pip", "install", "-q", *words]
        subprocess.run(command, env=self._activated(), check=True, timeout=INSTALL_PATIENCE)

    def run(self, script: str, cwd: Path, **more: str) -> str:
        """Run lines of a shell, each of which has to succeed; return what they print."""
        done = subprocess.run(
            ["sh", "-ec", script],
            cwd=cwd,
            env={**self.environ(**more), "PWD": str(cwd)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INSTALL_PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}"
        return done.stdout
