"""A copy of the package with an addition, for tests of all that follows from one declaration."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "prefork"


def copy_package(folder: Path) -> Path:
    """Copy the package into ``folder``, and return the copy."""
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(PACKAGE, folder / "prefork", ignore=ignored))


def insert_before(path: Path, anchor: str, text: str) -> None:
    """Insert ``text`` into a file, before the only place where ``anchor`` stands."""
    before, found, after = path.read_text().partition(anchor)
    assert found, f"{path} has no {anchor!r}"
    assert anchor not in after, f"{path} has {anchor!r} twice"
    path.write_text(before + text + anchor + after)


def run_in_copy(package: Path, code: str) -> str:
    """Run Python code that imports the copied package, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=package.parent,
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout
