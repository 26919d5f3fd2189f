"""Who is measured, and the words of each verb."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..peers import PEERS_BIN, PROJECT_BIN

Step = Literal["first start", "start", "reload", "scale up", "scale down", "stop"]

APPS = Path(__file__).resolve().parent / "apps"
PM2_PACKAGE = PEERS_BIN.parent / "pm2" / "node_modules" / "pm2"
NAME = "bench"
WORKERS, SCALED_WORKERS = 4, 6

STEPS: dict[Step, tuple[str, int]] = {
    "first start": (f"start {WORKERS} workers, PM2 its daemon, too", WORKERS),
    "start": (f"start {WORKERS} workers", WORKERS),
    "reload": (f"reload {WORKERS} workers", WORKERS),
    "scale up": (f"scale from {WORKERS} to {SCALED_WORKERS}", SCALED_WORKERS),
    "scale down": (f"scale from {SCALED_WORKERS} to {WORKERS}", WORKERS),
    "stop": (f"stop {WORKERS} workers", 0),
}
"""The verbs that are measured: what the tables call each, and how many workers are its goal."""


@dataclass(frozen=True)
class Manager:
    """A manager with an app. `home` is the variable that names the manager's folder; `state` the
    file in it that tells the manager's pid. `delete` and `end` are not measured."""

    name: str
    program: Path
    verbs: Mapping[Step, str]
    delete: str
    shutdown: str
    home_variable: str
    pid_file: str

    def command(self, words: str, port: int) -> list[str]:
        return [str(self.program), *(word.format(port=port, apps=APPS) for word in words.split())]

    def find_pid(self, folder: Path) -> int | None:
        """That of the manager which has its home in `folder`."""
        try:
            told = json.loads((folder / self.pid_file).read_text())
        except (FileNotFoundError, ValueError):
            return None
        return told if isinstance(told, int) else told.get("pid")


def _prefork_manager(name: str, target: str) -> Manager:
    start = f"start -w {WORKERS} -b 127.0.0.1:{{port}} --name {NAME} {target}"
    verbs: dict[Step, str] = {
        "first start": start,
        "start": start,
        "reload": f"reload {NAME}",
        "scale up": f"scale {NAME} +{SCALED_WORKERS - WORKERS}",
        "scale down": f"scale {NAME} {WORKERS}",
        "stop": f"stop {NAME}",
    }
    delete = f"delete {NAME}"
    return Manager(
        name, PROJECT_BIN / "prefork", verbs, delete, delete, "PREFORK_HOME", f"{NAME}/state"
    )


def _pm2_manager() -> Manager:
    start = f"start {{apps}}/server.js -i {WORKERS} --name {NAME}"
    verbs: dict[Step, str] = {
        "first start": start,
        "start": start,
        "reload": f"reload {NAME}",
        "scale up": f"scale {NAME} +{SCALED_WORKERS - WORKERS}",
        "scale down": f"scale {NAME} {WORKERS}",
        "stop": f"stop {NAME}",
    }
    return Manager(
        "PM2", PM2_PACKAGE / "bin" / "pm2", verbs, f"delete {NAME}", "kill", "PM2_HOME", "pm2.pid"
    )


PREFORK = _prefork_manager("prefork", "-- node {apps}/server.js")
PM2 = _pm2_manager()
PREFORK_PYTHON = _prefork_manager("prefork, Python app", "app:app")
MANAGERS = (PREFORK, PM2, PREFORK_PYTHON)
