"""The cgroups that we are in, of both versions: where the kernel limits us and accounts for us."""

import os
from collections.abc import Iterator


def cgroup_folders(controller: str, root: str = "/") -> Iterator[str]:
    """Of our cgroup and of all around it: version 2, and version 1 of this controller.

    Which files are in them tells the version. ``root`` is where /proc and /sys are found.
    """
    base = os.path.join(root, "sys/fs/cgroup")
    for line in (read_text(os.path.join(root, "proc/self/cgroup")) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _upward(base, path)
        elif controller in controllers.split(","):
            yield from _upward(os.path.join(base, controller), path)


def _upward(base: str, path: str) -> Iterator[str]:
    """The folder of a cgroup and of all its parents; in a container only the last exist."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for length in range(len(parts), -1, -1):
        yield os.path.join(base, *parts[:length])


def read_text(path: str) -> str | None:
    """The text of a small file; None when it cannot be read."""
    try:
        with open(path, errors="replace") as file:
            return file.read().strip()
    except OSError:
        return None


def read_number(path: str, key: str = "") -> int | None:
    """The number in a file, or behind ``key`` in a file of pairs."""
    for line in (read_text(path) or "").splitlines():
        name, _, value = line.rpartition(" ")
        if name == key and value.isdigit():
            return int(value)
    return None
