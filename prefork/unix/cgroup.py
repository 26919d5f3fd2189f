"""Find the cgroups of this process, versions 1 and 2, and read their files.

The kernel limits and accounts CPU and memory there (cgroups(7)).
"""

import os
from collections.abc import Iterator


def cgroup_folders(controller: str, root: str = "/") -> Iterator[str]:
    """Yield the folder of this process's cgroup and of each cgroup around it.

    Both hierarchies are walked: version 2, and version 1 of ``controller``. The files in a folder
    show which version it is. ``root`` is the folder that contains proc and sys; tests pass another
    one than ``/``.
    """
    for folders in _hierarchies(controller, root):
        yield from folders


def own_cgroup_folders(controller: str, root: str = "/") -> Iterator[str]:
    """Yield the folder of this process's cgroup in each hierarchy.

    In a container whose own path is not visible, that is the root of the hierarchy.
    """
    for folders in _hierarchies(controller, root):
        yield from [folder for folder in folders if os.path.isdir(folder)][:1]


def _hierarchies(controller: str, root: str) -> Iterator[list[str]]:
    """Yield the folders of the own cgroup and of those around it, hierarchy by hierarchy."""
    base = os.path.join(root, "sys/fs/cgroup")
    for line in (read_text(os.path.join(root, "proc/self/cgroup")) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        # Version 2 has one hierarchy, whose line names no controllers (cgroups(7)).
        if controllers == "":
            yield list(_upward(base, path))
        elif controller in controllers.split(","):
            yield list(_upward(os.path.join(base, controller), path))


def _upward(base: str, path: str) -> Iterator[str]:
    """Yield the folder of a cgroup and of all its parents; in a container some may be missing."""
    # From inside a cgroup namespace, paths outside of its root begin with "..".
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for length in range(len(parts), -1, -1):
        yield os.path.join(base, *parts[:length])


def read_text(path: str) -> str | None:
    """Return the stripped text of a small file; None when it cannot be read."""
    try:
        with open(path, errors="replace") as file:
            return file.read().strip()
    except OSError:
        return None


def read_number(path: str, key: str = "") -> int | None:
    """Return the number in a file, or the one after ``key`` in a file of pairs, or None."""
    for line in (read_text(path) or "").splitlines():
        name, _, value = line.rpartition(" ")
        if name == key and value.isdigit():
            return int(value)
    return None
