"""Packages from the npm registry for tests, installed once into a folder that all tests share."""

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

CACHE = Path(__file__).parents[2] / ".node-packages"
"""Where packages stay from one run of the tests to the next. Each set has a folder."""

INSTALL_TIMEOUT = 280.0


def install_packages(*packages: str) -> Path:
    """Return a folder whose node_modules has these packages (``express@5``); skip the test if npm
    cannot install them."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    folder = CACHE / "+".join(packages).replace("/", "-")
    folder.mkdir(parents=True, exist_ok=True)
    # Several processes of pytest may want the same set at once.
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            (folder / "package.json").write_text("{}\n")
            command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", *packages]
            done = subprocess.run(
                command,
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
                timeout=INSTALL_TIMEOUT,
                env={k: v for k, v in os.environ.items() if not k.startswith("npm_config_")},
            )
            if done.returncode != 0:
                pytest.skip(f"npm cannot install {' '.join(packages)}: {done.stderr[-300:]}")
            (folder / "installed").touch()
    return folder


def write_package(folder: Path, packages: Path, **scripts: str) -> None:
    """Make a Node package of the folder, with these scripts and with the installed packages."""
    (folder / "package.json").write_text(json.dumps({"name": "app", "scripts": scripts}))
    (folder / "node_modules").symlink_to(packages / "node_modules")


def package_version(packages: Path, name: str) -> str:
    """Return the version of an installed package."""
    found = json.loads((packages / "node_modules" / name / "package.json").read_text())
    return str(found["version"])
