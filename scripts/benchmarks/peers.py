"""Who is measured: each peer's name, its interfaces, and the command that starts it.

One worker each, access logs off, every other setting as the peer ships it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Interface = Literal["wsgi", "asgi"]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROJECT = ROOT / ".venv" / "bin" / "python"
PEERS_OWN = ROOT / ".venv-bench" / "bin" / "python"


@dataclass(frozen=True)
class Peer:
    """A server to measure: `arguments` go to `python`, with {port} and {apps} filled in."""

    name: str
    interfaces: tuple[Interface, ...]
    python: Path
    arguments: str
    reference: bool = False

    def command(self, port: int) -> list[str]:
        filled = (word.format(port=port, apps=HERE) for word in self.arguments.split())
        return [str(self.python), *filled]


def floor() -> Peer:
    name = "floor (uvloop + httptools, canned answer)"
    return Peer(name, ("wsgi", "asgi"), PROJECT, "{apps}/floor.py {port}")


def prefork(interface: Interface) -> Peer:
    arguments = f"-m prefork -w 1 -b 127.0.0.1:{{port}} --chdir {{apps}} apps:{interface}"
    return Peer(f"prefork {interface}", (interface,), PROJECT, arguments, reference=True)


def gunicorn(worker: str, interface: Interface, *, options: str = "") -> Peer:
    arguments = (
        f"-m gunicorn -w 1 -k {worker} {options} -b 127.0.0.1:{{port}} --chdir {{apps}}"
        f" --no-control-socket --log-level warning apps:{interface}"
    )
    return Peer(f"gunicorn {worker}", (interface,), PEERS_OWN, arguments)


def uvicorn() -> Peer:
    arguments = (
        "-m uvicorn --loop uvloop --http httptools --host 127.0.0.1 --port {port}"
        " --app-dir {apps} --no-access-log --log-level warning apps:asgi"
    )
    return Peer("uvicorn", ("asgi",), PEERS_OWN, arguments)


def granian(interface: Interface) -> Peer:
    arguments = (
        f"-m granian --interface {interface} --loop uvloop --workers 1"
        f" --host 127.0.0.1 --port {{port}} --working-dir {{apps}}"
        f" --no-access-log --log-level warning apps:{interface}"
    )
    return Peer(f"granian {interface}", (interface,), PEERS_OWN, arguments)


PEERS = (
    floor(),
    prefork("wsgi"),
    prefork("asgi"),
    gunicorn("sync", "wsgi"),
    gunicorn("gthread", "wsgi", options="--threads 4"),
    gunicorn("asgi", "asgi"),
    uvicorn(),
    granian("wsgi"),
    granian("asgi"),
)


def chosen(patterns: list[str]) -> list[Peer]:
    """The peers with any of `patterns` in their name; all of them when there is no pattern."""
    return [
        peer
        for peer in PEERS
        if not patterns or any(pattern.lower() in peer.name.lower() for pattern in patterns)
    ]
