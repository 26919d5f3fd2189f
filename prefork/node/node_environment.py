"""Compose the environment variables that make a Node program load the shim. PURE."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath

from prefork.config.options import Config

SHIM = str(PurePath(__file__).with_name("shim.cjs"))
"""The path of the preload."""

SETTINGS_VARIABLE = "PREFORK_NODE_SETTINGS"


@dataclass(frozen=True, slots=True)
class SharedSocket:
    """A listening socket as the shim knows it.

    ``inode``: its number in the kernel, by which the shim finds its descriptor. ``host`` and
    ``port`` of TCP, or ``path`` of a unix socket; that of an abstract one begins with NUL.
    """

    inode: int
    host: str = ""
    port: int = 0
    path: str = ""


def node_variables(
    environ: Mapping[str, str],
    config: Config,
    sockets: Sequence[SharedSocket],
    notify_inode: int,
    figures_inode: int,
    claims_inode: int,
) -> dict[str, str]:
    """Return the variables to add to ``environ``; none without a shared socket or with --node-shim
    off.

    ``notify_inode``, ``figures_inode``: the numbers of the sockets for READY=1 and for figures.
    ``claims_inode``: that of the file by which the processes of a worker agree on ports.
    """
    if config.node_shim == "off" or not sockets:
        return {}
    option = require_option(SHIM)
    settings = {
        "sockets": [asdict(socket) for socket in sockets],
        "notify": notify_inode,
        "figures": figures_inode,
        "claims": claims_inode,
        "require": option,
        "backlog": config.backlog,
        "manual": config.ready.mode == "manual",
        "stopSignal": config.stop_signal,
        "linger": config.linger,
        "streamTimeout": config.stream_timeout,
        "wsCloseTimeout": config.ws_close_timeout,
        "killTimeout": config.kill_timeout,
    }
    options = f"{environ.get('NODE_OPTIONS', '')} {option}".lstrip()
    return {"NODE_OPTIONS": options, SETTINGS_VARIABLE: json.dumps(settings)}


def require_option(path: str) -> str:
    """Return the option that loads a file, in the quotes of NODE_OPTIONS.

    A backslash escapes a quote and a backslash there
    (https://nodejs.org/api/cli.html#node_optionsoptions).
    """
    quoted = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'--require="{quoted}"'
