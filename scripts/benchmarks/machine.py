"""Where and with what a table was made: cores, CPU, kernel, Python, and every server's version."""

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
    """The two CPUs of a run, on two different cores where there are two."""

    server: int
    generator: int


def choose_cores() -> Cores:
    """The last CPU we may use for the server (the first has the interrupts), another core's
    for the generator; the two are one when there is nothing else."""
    usable = sorted(os.sched_getaffinity(0))
    server = usable[-1]
    apart = [cpu for cpu in usable if _siblings(cpu) != _siblings(server)]
    return Cores(server, (apart or usable)[0])


def describe_machine() -> dict[str, str]:
    return {
        "cores": f"{len(os.sched_getaffinity(0))}",
        "CPU": _cpu_model(),
        "kernel": f"{platform.system()} {platform.release()}",
    }


def find_versions() -> dict[str, Versions]:
    """What is installed in the project's environment and in the peers'; `others` are neither."""
    packages = sorted({peer.package for peer in PEERS if peer.package}, key=str.lower)
    return {
        "project": find_project_versions(*LIBRARIES),
        "peers": find_peer_versions(*packages, *LIBRARIES, "websockets", "wsproto"),
        "others": find_node_versions(),
    }


def is_missing(peer: Peer, found: dict[str, Versions]) -> bool:
    """Whether `peer` could not be installed here."""
    if peer.program.name == "node":
        return "Node" not in found["others"]
    return bool(peer.package) and peer.package not in found["peers"]


def _ask_versions(python: Path, *names: str) -> Versions:
    command = [str(python), "-c", VERSIONS_SCRIPT, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    found: Versions = json.loads(done.stdout)
    return found


def find_project_versions(*others: str) -> Versions:
    """Python's and prefork's own, and those of other packages in the project's environment."""
    return _ask_versions(PROJECT_BIN / "python", "prefork", *others)


def find_peer_versions(*packages: str) -> Versions:
    """What of these is installed in the peers' environment, if there is one."""
    python = PEERS_BIN / "python"
    return _ask_versions(python, *packages) if python.exists() else {}


def find_node_versions() -> Versions:
    """Node's, and that of the package that speaks WebSocket for it; what there is."""
    found = {}
    try:
        asked = ["node", "--version"]
        done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60)
        found["Node"] = done.stdout.strip().removeprefix("v")
        package = json.loads((NODE_MODULES / "ws" / "package.json").read_text())
        found["ws"] = package["version"]
    except (OSError, subprocess.CalledProcessError):
        pass  # neither is needed: there is then no row for it
    return found


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _siblings(cpu: int) -> str:
    try:
        return Path(SIBLINGS.format(cpu)).read_text().strip()
    except OSError:
        return str(cpu)
