"""Apps of frameworks whose extensions use the store, each with a home of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.live.harness import APPS, Server, serving

WORKERS = 4


@contextmanager
def frameworks(
    folder: Path, app: str, *arguments: str, env: dict[str, str] | None = None
) -> Iterator[Server]:
    """Serve one of the apps with a home, and so a store, of its own."""
    words = ("--pythonpath", str(APPS), "--min-uptime", "0", *arguments)
    env = {"PREFORK_HOME": str(folder / "home"), **(env or {})}
    with serving(folder, f"{app}:app", *words, workers=WORKERS, env=env) as server:
        yield server
