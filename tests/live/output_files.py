"""Helpers: the files that the log writer of an app writes, and its process."""

import gzip
from pathlib import Path

import psutil

from tests.live.harness import command_line, wait_for
from tests.live.home import Home


def find_log_writer(master: int) -> psutil.Process | None:
    """Return the log writer of this master; None while it is being replaced."""
    for child in psutil.Process(master).children():
        try:
            if "log writer" in command_line(child):
                return child
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            pass
    return None


def wait_log_writer(home: Home) -> psutil.Process:
    """Return the log writer of the app of this home."""
    return wait_for(lambda: find_log_writer(home.app()["pid"]), "a log writer")


def output_lines(folder: Path, name: str = "web", slot: str = "") -> list[str]:
    """Return all lines of output with their stamps, also of rotated files, the oldest first."""
    found = folder.glob(f"{name}.out{slot}.*[0-9z]")
    rotated = {int(path.name.split(".")[2]): path for path in found}
    texts = []
    for _, path in sorted(rotated.items()):
        data = path.read_bytes()
        texts.append(gzip.decompress(data) if path.suffix == ".gz" else data)
    texts.append((folder / f"{name}.out{slot}").read_bytes())
    return b"".join(texts).decode().splitlines()


def output_texts(folder: Path, name: str = "web") -> list[str]:
    """Return all lines of output without their stamps, the oldest first."""
    return [line.split(" ", 3)[3] for line in output_lines(folder, name)]


def wait_output(folder: Path, text: str) -> None:
    """Wait until a line of output has this text."""
    wait_for(lambda: any(text in line for line in output_lines(folder)), text)
