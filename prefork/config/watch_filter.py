"""Which changed files are no reason to reload. PURE."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

ALWAYS_IGNORED = (
    # version control, environments, caches
    *(".git", ".hg", ".svn", ".venv", "venv", "site-packages", "node_modules", "__pycache__"),
    *(".tox", ".nox", ".*_cache", ".hypothesis", ".coverage*", "*.egg-info", ".idea", ".vscode"),
    # what is compiled, or on its way into an editor or a copy
    *("*.py[cod]", "*.sw?", "*~", ".#*", "#*#", "4913", "*.tmp", "*.part", ".DS_Store"),
    # what apps write
    *("*.log", "*.log.*", "*.out", "*.out.*", "*.pid", "*.sock", "*.lock"),
    *("*.db", "*.sqlite", "*.sqlite3", "*-journal", "*-wal", "*-shm"),
)
"""Names of files and folders, below a watched folder, whose changes never count."""


@dataclass(frozen=True, slots=True)
class WatchFilter:
    """``roots`` are the watched folders. A pattern without a slash is for any name below them; one
    with a slash is for the path from there on. What begins like one of ``places`` is ours."""

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
        """The path from the watched folder on; of such a folder, or a file, its name."""
        within = [root for root in self.roots if path.startswith(_with_slash(root))]
        if not within:
            return path.rpartition("/")[2]
        return path.removeprefix(_with_slash(max(within, key=len)))


def own_prefixes(
    roots: Sequence[str], files: Iterable[str], folders: Iterable[str]
) -> tuple[str, ...]:
    """What begins so is not watched: these files, also rotated, and all in these folders; but not
    a folder that a watched one is in."""
    outside = [
        _with_slash(each)
        for each in folders
        if not any(_with_slash(root).startswith(_with_slash(each)) for root in roots)
    ]
    return (*files, *outside)


def _with_slash(path: str) -> str:
    return path.rstrip("/") + "/"
