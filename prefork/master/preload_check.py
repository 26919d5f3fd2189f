"""Find out why the processes of a program do not load the Node preload (node/shim.cjs).

Design
------
- **A process tells it by its executable and its environment** at the exec (/proc/PID/exe and
  environ), before it fails because the bound address is in use. Rejected: to take the name from the
  command, because Bun and Deno are started by npm scripts, too, and NODE_OPTIONS is overwritten
  behind shells.
- **A wrapper that loaded the preload is no obstacle,** and neither is a process that got no
  preload, because its user cannot read it.
"""

import os
from collections.abc import Iterable

from prefork.node.node_environment import SETTINGS_VARIABLE, SHIM, require_option
from prefork.unix.process_tree import iter_processes, program_processes

_RUNTIMES = {"bun": "Bun", "deno": "Deno"}
"""Runtimes that take scripts of Node and not its preloads, by the name of their executable."""


def find_preload_obstacle(pids: Iterable[int]) -> str:
    """Return why one of these processes does not load the preload, and what helps; empty: none is
    known."""
    return next(filter(None, map(_describe_obstacle, pids)), "")


def run_by_node(leaders: Iterable[int]) -> bool:
    """Return whether a process of the programs that these pids lead is Node."""
    processes = {each.pid: each for each in iter_processes()}
    pids = [each.pid for leader in leaders for each in program_processes(leader, processes)]
    return any(map(_is_node, pids))


def _is_node(pid: int) -> bool:
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe")) == "node"
    except OSError:
        return False  # it has ended, or belongs to another user


def _describe_obstacle(pid: int) -> str:
    try:
        name = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
        with open(f"/proc/{pid}/environ", "rb") as file:
            environ = dict(pair.partition(b"=")[::2] for pair in file.read().split(b"\0"))
    except OSError:
        return ""  # it has ended, or belongs to another user
    runtime = _RUNTIMES.get(name.removesuffix(".exe"))
    if runtime is not None:
        return (
            f"{runtime} (pid {pid}) does not load the preload by which Node shares the socket: run "
            "it by Node, or leave out --bind (see `prefork help programs`)"
        )
    has_settings = SETTINGS_VARIABLE.encode() in environ
    if has_settings and b"WATCH_REPORT_DEPENDENCIES" in environ:
        return (
            f"node --watch started {name} (pid {pid}) without the shared sockets: leave it out, "
            "and give --watch to prefork"
        )
    if has_settings and os.fsencode(require_option(SHIM)) not in environ.get(b"NODE_OPTIONS", b""):
        return (
            f"NODE_OPTIONS was set anew for {name} (pid {pid}) and lacks the preload by which Node "
            'shares the socket: write NODE_OPTIONS="$NODE_OPTIONS …" there'
        )
    return ""
