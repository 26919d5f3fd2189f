"""Decide which changed files do not trigger a reload. PURE.

Design
------
- **Every file counts unless it is ignored,** because templates and settings are code, too.
- **The list of ignored names contains only names that are never code,** because prefork does not
  report a change of an ignored file, and the operator would not learn why nothing happens.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

ALWAYS_IGNORED = (
    # Version control, virtual environments, caches.
    *(".git", ".hg", ".svn", ".venv", "venv", "site-packages", "node_modules", "__pycache__"),
    *(".tox", ".nox", ".*_cache", ".hypothesis", ".coverage*", "*.egg-info", ".idea", ".vscode"),
    # Compiled files, and temporary files of editors and copy programs.
    *("*.py[cod]", "*.sw?", "*~", ".#*", "#*#", "4913", "*.tmp", "*.part", ".DS_Store"),
    # Files that apps write.
    *("*.log", "*.log.*", "*.out", "*.out.*", "*.pid", "*.sock", "*.lock"),
    *("*.db", "*.sqlite", "*.sqlite3", "*-journal", "*-wal", "*-shm"),
)
"""Patterns for the names of files and folders that are ignored below each watched folder."""


@dataclass(frozen=True, slots=True)
class WatchFilter:
    """The set of paths whose changes are ignored: ``path in filter``.

    ``roots`` are the watched folders. A pattern without a slash matches any name below them, and a
    pattern with a slash matches the path relative to them. Paths that begin with one of
    ``own_prefixes`` are files that prefork itself writes.
    """

    roots: tuple[str, ...]
    patterns: tuple[str, ...] = ()
    own_prefixes: tuple[str, ...] = ()

    def __contains__(self, path: str) -> bool:
        if path.startswith(self.own_prefixes):
            return True
        parts = self.relative_path(path).split("/")
        prefixes = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
        return any(
            fnmatchcase(each, pattern.strip("/"))
            for pattern in (*ALWAYS_IGNORED, *self.patterns)
            for each in (prefixes if "/" in pattern else parts)
        )

    def relative_path(self, path: str) -> str:
        """Return a path relative to its watched folder; for a watched folder itself, its name."""
        within = [root for root in self.roots if path.startswith(_with_slash(root))]
        if not within:
            return path.rpartition("/")[2]
        return path.removeprefix(_with_slash(max(within, key=len)))


def own_prefixes(
    roots: Sequence[str], files: Iterable[str], folders: Iterable[str]
) -> tuple[str, ...]:
    """Return the prefixes of the paths that prefork itself writes, for WatchFilter.

    ``files`` are its files; their names are prefixes, so that rotated files match. ``folders`` are
    its folders, with all that is in them. A folder that contains a watched one is left out.
    """
    outside = [
        _with_slash(each)
        for each in folders
        if not any(_with_slash(root).startswith(_with_slash(each)) for root in roots)
    ]
    return (*files, *outside)


def _with_slash(path: str) -> str:
    return path.rstrip("/") + "/"
