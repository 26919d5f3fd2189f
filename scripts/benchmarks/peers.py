"""Who is measured: each peer's name, its interface, and the commands that start it.

One worker each, access logs off but for the load that wants them, every other setting as the peer
ships it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .loads import Load

Interface = Literal["wsgi", "asgi"]

HERE = Path(__file__).resolve().parent
APPS = HERE / "apps"
ROOT = HERE.parents[1]
PROJECT = ROOT / ".venv" / "bin"
PEERS_OWN = ROOT / ".venv-bench" / "bin"
NODE_MODULES = PEERS_OWN.parent / "node_modules"
CERTIFICATE, KEY = PEERS_OWN.parent / "tls-cert.pem", PEERS_OWN.parent / "tls-key.pem"


@dataclass(frozen=True)
class Peer:
    """A server to measure, and how it is started.

    Each command has places for {port}, {app} and {load}, that for TLS for {cert} and {key}, that
    for the access log for {log}. `None` says that the peer cannot do it. `package` is what must be
    installed in the peers' environment, if anything.
    """

    name: str
    interfaces: tuple[Interface, ...]
    program: Path
    http: str
    tls: str | None = None
    access_log: str | None = None
    websocket: bool = False
    package: str = ""
    reference: bool = False
    only: frozenset[str] = frozenset()

    def can(self, load: Load) -> bool:
        """Whether the peer does what `load` needs."""
        if self.only and load.name not in self.only:
            return False
        return self._template(load) is not None

    def command(self, load: Load, port: int, log: Path) -> list[str]:
        template = self._template(load)
        assert template is not None, f"{self.name} cannot do {load.name}"
        places = {"port": port, "app": load.app, "load": load.name, "log": log,
                  "cert": CERTIFICATE, "key": KEY}  # fmt: skip
        return [str(self.program), *(word.format_map(places) for word in template.split())]

    def _template(self, load: Load) -> str | None:
        return {
            "http": self.http,
            "websocket": self.http if self.websocket else None,
            "tls": self.tls,
            "access-log": self.access_log,
        }[load.need]


def floor() -> Peer:
    loads = frozenset(("hello", "hello-connect", "hello-varied", "browser", "browser-varied"))
    program, arguments = PROJECT / "python", "floor.py {port} {load}"
    return Peer("floor", ("wsgi", "asgi"), program, arguments, only=loads)


def prefork(interface: Interface) -> Peer:
    base = f"-m prefork -w 1 -b 127.0.0.1:{{port}} {interface}_apps:{{app}}"
    return Peer(
        f"prefork {interface}",
        (interface,),
        PROJECT / "python",
        base,
        tls=f"{base} --tls-cert {{cert}} --tls-key {{key}}",
        access_log=f"{base} --access-log {{log}}",
        websocket=interface == "asgi",
        reference=True,
    )


def gunicorn(worker: str, interface: Interface, *, options: str = "") -> Peer:
    base = (
        f"-m gunicorn -w 1 -k {worker} {options} -b 127.0.0.1:{{port}}"
        f" --no-control-socket --log-level warning {interface}_apps:{{app}}"
    )
    return Peer(
        f"gunicorn {worker}",
        (interface,),
        PEERS_OWN / "python",
        base,
        tls=f"{base} --certfile {{cert}} --keyfile {{key}}",
        access_log=f"{base} --access-logfile {{log}}",
        websocket=interface == "asgi",
        package="gunicorn",
    )


def uvicorn() -> Peer:
    base = "-m uvicorn --loop uvloop --http httptools --host 127.0.0.1 --port {port}"
    quiet = "--no-access-log --log-level warning asgi_apps:{app}"
    return Peer(
        "uvicorn",
        ("asgi",),
        PEERS_OWN / "python",
        f"{base} {quiet}",
        tls=f"{base} {quiet} --ssl-certfile {{cert}} --ssl-keyfile {{key}}",
        access_log=f"{base} asgi_apps:{{app}}",
        websocket=True,
        package="uvicorn",
    )


def granian(interface: Interface) -> Peer:
    base = (
        f"-m granian --interface {interface} --loop uvloop --workers 1"
        f" --host 127.0.0.1 --port {{port}} {interface}_apps:{{app}}"
    )
    quiet = f"{base} --no-access-log --log-level warning"
    return Peer(
        f"granian {interface}",
        (interface,),
        PEERS_OWN / "python",
        quiet,
        tls=f"{quiet} --ssl-certificate {{cert}} --ssl-keyfile {{key}}",
        access_log=f"{base} --access-log",
        websocket=interface == "asgi",
        package="granian",
    )


def hypercorn() -> Peer:
    base = "-m hypercorn -w 1 -k uvloop -b 127.0.0.1:{port} --log-level warning asgi_apps:{app}"
    return Peer(
        "hypercorn",
        ("asgi",),
        PEERS_OWN / "python",
        base,
        tls=f"{base} --certfile {{cert}} --keyfile {{key}}",
        access_log=base.replace("warning", "info") + " --access-logfile {log}",
        websocket=True,
        package="hypercorn",
    )


def uwsgi() -> Peer:
    base = f"--virtualenv {PEERS_OWN.parent} --need-app --die-on-term --module wsgi_apps:{{app}}"
    listen = "--http11-socket 127.0.0.1:{port}"
    return Peer(
        "uWSGI",
        ("wsgi",),
        PEERS_OWN / "uwsgi",
        f"{base} {listen} --disable-logging",
        tls=f"{base} --disable-logging --https-socket 127.0.0.1:{{port}},{{cert}},{{key}}",
        access_log=f"{base} {listen} --req-logger file:{{log}}",
        package="uWSGI",
    )


def plain_c_server(name: str) -> Peer:
    """One that is started by a script of ours, and knows neither TLS nor an access log."""
    script = f"{name}_server.py {{port}} {{app}}"
    return Peer(name, ("wsgi",), PEERS_OWN / "python", script, package=name)


def node() -> Peer:
    base = "node_server.js {port} {app}"
    program = Path(shutil.which("node") or "node")
    return Peer("Node http", ("asgi",), program, base, tls=f"{base} {{cert}} {{key}}",
                websocket=(NODE_MODULES / "ws").is_dir())  # fmt: skip


PEERS = (
    floor(),
    prefork("wsgi"),
    prefork("asgi"),
    gunicorn("sync", "wsgi"),
    gunicorn("gthread", "wsgi", options="--threads 4"),
    granian("wsgi"),
    uwsgi(),
    plain_c_server("bjoern"),
    plain_c_server("fastwsgi"),
    gunicorn("asgi", "asgi"),
    uvicorn(),
    granian("asgi"),
    hypercorn(),
    node(),
)
