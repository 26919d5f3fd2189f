"""Describes the machine of a run: cores, CPU, kernel, Python, and the version of every server."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .peers import NODE_MODULES, PEERS, PEERS_BIN, PROJECT_BIN, Peer

SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
VERSIONS_SCRIPT = """
import importlib.metadata, json, platform, sys
versions = {"Python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(versions))
"""
LIBRARIES = ("uvloop", "httptools")

Versions = dict[str, str]


@dataclass(frozen=True)
class Cores:
    """The CPU of the server and the CPU of the generator."""

    server: int
    generator: int


def choose_cores() -> Cores:
    """Return the last usable CPU for the server, and a CPU of another core for the generator.

    The first CPU often handles interrupts, so the server does not get it. With a single CPU both
    share it.
    """
    usable = sorted(os.sched_getaffinity(0))
    server = usable[-1]
    apart = [cpu for cpu in usable if _siblings(cpu) != _siblings(server)]
    return Cores(server, (apart or usable)[0])


def describe_machine() -> dict[str, str]:
    """Return the number of cores, the CPU model and the kernel, for the report."""
    return {
        "cores": f"{len(os.sched_getaffinity(0))}",
        "CPU": _cpu_model(),
        "kernel": f"{platform.system()} {platform.release()}",
    }


def find_versions() -> dict[str, Versions]:
    """Return the versions in the project's environment, in that of the peers, and of Node."""
    packages = sorted({peer.package for peer in PEERS if peer.package}, key=str.lower)
    return {
        "project": find_project_versions(*LIBRARIES),
        "peers": find_peer_versions(*packages, *LIBRARIES, "websockets", "wsproto"),
        "others": find_node_versions(),
    }


def is_missing(peer: Peer, versions: dict[str, Versions]) -> bool:
    """Return whether `peer` is not installed; `versions` is the result of `find_versions`."""
    if peer.program.name == "node":
        return "Node" not in versions["others"]
    return bool(peer.package) and peer.package not in versions["peers"]


def _ask_versions(python: Path, *names: str) -> Versions:
    """Run an interpreter and return its version and those of the installed packages."""
    command = [str(python), "-c", VERSIONS_SCRIPT, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    found: Versions = json.loads(done.stdout)
    return found


def find_project_versions(*others: str) -> Versions:
    """Return the versions of Python, prefork and `others` in the project's environment."""
    return _ask_versions(PROJECT_BIN / "python", "prefork", *others)


def find_peer_versions(*packages: str) -> Versions:
    """Return the versions of these packages in the peers' environment; {} without one."""
    python = PEERS_BIN / "python"
    return _ask_versions(python, *packages) if python.exists() else {}


def find_node_versions() -> Versions:
    """Return the versions of Node and of its package `ws` (WebSocket), as far as they are there."""
    found = {}
    try:
        asked = ["node", "--version"]
        done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60)
        found["Node"] = done.stdout.strip().removeprefix("v")
        package = json.loads((NODE_MODULES / "ws" / "package.json").read_text())
        found["ws"] = package["version"]
    except (OSError, subprocess.CalledProcessError):
        pass  # without Node the tables have no row for it
    return found


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _siblings(cpu: int) -> str:
    """Return the CPUs of the core to which `cpu` belongs, as Linux lists them."""
    try:
        return Path(SIBLINGS.format(cpu)).read_text().strip()
    except OSError:
        return str(cpu)
