"""Declares the servers that are measured: name, interface, and the commands that start each.

Each peer runs one worker. Access logs are off, except for the load that measures them. All other
settings are the peer's defaults.
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
PROJECT_BIN = ROOT / ".venv" / "bin"
PEERS_BIN = ROOT / ".venv-bench" / "bin"
NODE_MODULES = PEERS_BIN.parent / "node_modules"
CERTIFICATE, KEY = PEERS_BIN.parent / "tls-cert.pem", PEERS_BIN.parent / "tls-key.pem"


@dataclass(frozen=True)
class Peer:
    """A server to measure, and the commands that start it.

    `http`, `tls` and `access_log` are commands with the placeholders {port}, {app} and {load}, for
    TLS also {cert} and {key}, for the access log also {log}. None: the peer does not support it.
    `package` is the distribution that must be installed in the peers' environment, empty for none.
    `is_reference`: the ratios in the tables are relative to this peer (prefork).
    `only_loads` are the names of the only loads that the peer can serve, empty for all.
    """

    name: str
    interfaces: tuple[Interface, ...]
    program: Path
    http: str
    tls: str | None = None
    access_log: str | None = None
    websocket: bool = False
    package: str = ""
    is_reference: bool = False
    only_loads: frozenset[str] = frozenset()

    def supports(self, load: Load) -> bool:
        """Return whether the peer can serve `load`."""
        if self.only_loads and load.name not in self.only_loads:
            return False
        return self._template(load) is not None

    def command(self, load: Load, port: int, log: Path) -> list[str]:
        """Return the command that serves `load` on `port`; `log` is the file of the access log."""
        template = self._template(load)
        assert template is not None, f"{self.name} cannot do {load.name}"
        places = {"port": port, "app": load.app, "load": load.name, "log": log,
                  "cert": CERTIFICATE, "key": KEY}  # fmt: skip
        return [str(self.program), *(word.format_map(places) for word in template.split())]

    def _template(self, load: Load) -> str | None:
        """Return the command with its placeholders, None when the peer does not support `load`."""
        return {
            "http": self.http,
            "websocket": self.http if self.websocket else None,
            "tls": self.tls,
            "access-log": self.access_log,
        }[load.need]


def floor_peer() -> Peer:
    """Return the lower bound, `apps/floor.py`, which calls no app; both interfaces show it."""
    loads = frozenset(("hello", "hello-connect", "hello-varied", "browser", "browser-varied"))
    program, arguments = PROJECT_BIN / "python", "floor.py {port} {load}"
    return Peer("floor", ("wsgi", "asgi"), program, arguments, only_loads=loads)


def prefork_peer(interface: Interface) -> Peer:
    """Return prefork with the app interface `interface`."""
    base = f"-m prefork -w 1 -b 127.0.0.1:{{port}} {interface}_apps:{{app}}"
    return Peer(
        f"prefork {interface}",
        (interface,),
        PROJECT_BIN / "python",
        base,
        tls=f"{base} --tls-cert {{cert}} --tls-key {{key}}",
        access_log=f"{base} --access-log {{log}}",
        websocket=interface == "asgi",
        is_reference=True,
    )


def gunicorn_peer(worker: str, interface: Interface, *, options: str = "") -> Peer:
    """Return gunicorn with the worker class `worker`."""
    base = (
        f"-m gunicorn -w 1 -k {worker} {options} -b 127.0.0.1:{{port}}"
        f" --no-control-socket --log-level warning {interface}_apps:{{app}}"
    )
    return Peer(
        f"gunicorn {worker}",
        (interface,),
        PEERS_BIN / "python",
        base,
        tls=f"{base} --certfile {{cert}} --keyfile {{key}}",
        access_log=f"{base} --access-logfile {{log}}",
        websocket=interface == "asgi",
        package="gunicorn",
    )


def uvicorn_peer() -> Peer:
    """Return uvicorn with uvloop and httptools."""
    base = "-m uvicorn --loop uvloop --http httptools --host 127.0.0.1 --port {port}"
    quiet = "--no-access-log --log-level warning asgi_apps:{app}"
    return Peer(
        "uvicorn",
        ("asgi",),
        PEERS_BIN / "python",
        f"{base} {quiet}",
        tls=f"{base} {quiet} --ssl-certfile {{cert}} --ssl-keyfile {{key}}",
        access_log=f"{base} asgi_apps:{{app}}",
        websocket=True,
        package="uvicorn",
    )


def granian_peer(interface: Interface) -> Peer:
    """Return granian with uvloop."""
    base = (
        f"-m granian --interface {interface} --loop uvloop --workers 1"
        f" --host 127.0.0.1 --port {{port}} {interface}_apps:{{app}}"
    )
    quiet = f"{base} --no-access-log --log-level warning"
    return Peer(
        f"granian {interface}",
        (interface,),
        PEERS_BIN / "python",
        quiet,
        tls=f"{quiet} --ssl-certificate {{cert}} --ssl-keyfile {{key}}",
        access_log=f"{base} --access-log",
        websocket=interface == "asgi",
        package="granian",
    )


def hypercorn_peer() -> Peer:
    """Return hypercorn with uvloop."""
    base = "-m hypercorn -w 1 -k uvloop -b 127.0.0.1:{port} --log-level warning asgi_apps:{app}"
    return Peer(
        "hypercorn",
        ("asgi",),
        PEERS_BIN / "python",
        base,
        tls=f"{base} --certfile {{cert}} --keyfile {{key}}",
        access_log=base.replace("warning", "info") + " --access-logfile {log}",
        websocket=True,
        package="hypercorn",
    )


def uwsgi_peer() -> Peer:
    """Return uWSGI."""
    base = f"--virtualenv {PEERS_BIN.parent} --need-app --die-on-term --module wsgi_apps:{{app}}"
    listen = "--http11-socket 127.0.0.1:{port}"
    return Peer(
        "uWSGI",
        ("wsgi",),
        PEERS_BIN / "uwsgi",
        f"{base} {listen} --disable-logging",
        tls=f"{base} --disable-logging --https-socket 127.0.0.1:{{port}},{{cert}},{{key}}",
        access_log=f"{base} {listen} --req-logger file:{{log}}",
        package="uWSGI",
    )


def script_peer(name: str) -> Peer:
    """Return a peer that `apps/<name>_server.py` starts. It has neither TLS nor an access log."""
    script = f"{name}_server.py {{port}} {{app}}"
    return Peer(name, ("wsgi",), PEERS_BIN / "python", script, package=name)


def node_peer() -> Peer:
    """Return Node's http module, with WebSocket when the package ws is installed."""
    base = "node_server.js {port} {app}"
    program = Path(shutil.which("node") or "node")
    return Peer("Node http", ("asgi",), program, base, tls=f"{base} {{cert}} {{key}}",
                websocket=(NODE_MODULES / "ws").is_dir())  # fmt: skip


PEERS = (
    floor_peer(),
    prefork_peer("wsgi"),
    prefork_peer("asgi"),
    gunicorn_peer("sync", "wsgi"),
    gunicorn_peer("gthread", "wsgi", options="--threads 4"),
    granian_peer("wsgi"),
    uwsgi_peer(),
    script_peer("bjoern"),
    script_peer("fastwsgi"),
    gunicorn_peer("asgi", "asgi"),
    uvicorn_peer(),
    granian_peer("asgi"),
    hypercorn_peer(),
    node_peer(),
)
