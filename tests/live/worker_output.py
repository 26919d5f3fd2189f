"""The files with the output of workers, and the log writer that writes them."""

import gzip
from pathlib import Path

import psutil

from tests.live.harness import wait_for
from tests.live.home import Home


def find_log_writer(master: int) -> psutil.Process | None:
    """Return the log writer of a master; None: it is being replaced."""
    for child in psutil.Process(master).children():
        try:
            if "log writer" in " ".join(child.cmdline()):
                return child
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            pass
    return None


def log_writer(home: Home) -> psutil.Process:
    """Wait for the log writer of the app, and return it."""
    return wait_for(lambda: find_log_writer(home.app()["pid"]), "a log writer")


def output(folder: Path, name: str = "web", slot: str = "") -> list[str]:
    """Return all lines, the oldest first."""
    found = folder.glob(f"{name}.out{slot}.*[0-9z]")
    olds = {int(path.name.split(".")[2]): path for path in found}
    texts = []
    for _, path in sorted(olds.items()):
        data = path.read_bytes()
        texts.append(gzip.decompress(data) if path.suffix == ".gz" else data)
    texts.append((folder / f"{name}.out{slot}").read_bytes())
    return b"".join(texts).decode().splitlines()


def texts(folder: Path, name: str = "web") -> list[str]:
    """Return the texts of all lines, without stamps."""
    return [line.split(" ", 3)[3] for line in output(folder, name)]


def wait_text(folder: Path, text: str) -> None:
    """Wait until a line of the output contains ``text``."""
    wait_for(lambda: any(text in line for line in output(folder)), text)
