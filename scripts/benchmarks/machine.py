"""Where and with what a table was made: cores, CPU, kernel, Python, and every server's version."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .peers import PEERS_OWN, PROJECT

SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
ASK_VERSIONS = """
import importlib.metadata, json, platform, sys
versions = {"Python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        versions[name] = "missing"
print(json.dumps(versions))
"""


@dataclass(frozen=True)
class Cores:
    """The two CPUs of a run, on two different cores where there are two."""

    server: int
    generator: int


def cores() -> Cores:
    """The last CPU we may use for the server (the first has the interrupts), another core's
    for the generator; the two are one when there is nothing else."""
    usable = sorted(os.sched_getaffinity(0))
    server = usable[-1]
    apart = [cpu for cpu in usable if _siblings(cpu) != _siblings(server)]
    return Cores(server, (apart or usable)[0])


def facts() -> dict[str, str]:
    return {
        "cores": f"{len(os.sched_getaffinity(0))}",
        "CPU": _cpu_model(),
        "kernel": f"{platform.system()} {platform.release()}",
    }


def versions() -> dict[str, dict[str, str]]:
    return {
        "project": _versions(PROJECT, "prefork", "uvloop", "httptools"),
        "peers": _versions(PEERS_OWN, "gunicorn", "uvicorn", "granian", "uvloop", "httptools"),
    }


def _versions(python: Path, *names: str) -> dict[str, str]:
    command = [str(python), "-c", ASK_VERSIONS, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    found: dict[str, str] = json.loads(done.stdout)
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
