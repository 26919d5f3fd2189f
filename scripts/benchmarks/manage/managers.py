"""Declares the managers that are compared, and the arguments of each verb."""

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
"""The measured verbs: the text in the tables, and the number of workers after the verb.

"first start" is the start of PM2 that also starts its daemon.
"""


@dataclass(frozen=True)
class Manager:
    """A process manager together with the app that it runs.

    `verbs` has the arguments of each measured verb, with the placeholders {port} and {apps}.
    `delete` removes the app, `shutdown` ends the manager; both are not measured. `home_variable`
    is the environment variable with the manager's folder. `pid_file` is the file in that folder
    with the manager's pid, as a number or as the key "pid" of a JSON object.
    """

    name: str
    program: Path
    verbs: Mapping[Step, str]
    delete: str
    shutdown: str
    home_variable: str
    pid_file: str

    def command(self, arguments: str, port: int) -> list[str]:
        """Return the command with these arguments, their placeholders filled in."""
        words = (word.format(port=port, apps=APPS) for word in arguments.split())
        return [str(self.program), *words]

    def find_pid(self, folder: Path) -> int | None:
        """Return the pid of the manager whose home is `folder`, None when it does not run."""
        try:
            content = json.loads((folder / self.pid_file).read_text())
        except (FileNotFoundError, ValueError):
            return None
        return content if isinstance(content, int) else content.get("pid")


def _make_verbs(start: str) -> dict[Step, str]:
    """Return the words of each step; but for the start they are the same for both managers."""
    return {
        "first start": start,
        "start": start,
        "reload": f"reload {NAME}",
        "scale up": f"scale {NAME} +{SCALED_WORKERS - WORKERS}",
        "scale down": f"scale {NAME} {WORKERS}",
        "stop": f"stop {NAME}",
    }


def _prefork_manager(name: str, target: str) -> Manager:
    start = f"start -w {WORKERS} -b 127.0.0.1:{{port}} --name {NAME} {target}"
    verbs = _make_verbs(start)
    delete = f"delete {NAME}"
    return Manager(
        name, PROJECT_BIN / "prefork", verbs, delete, delete, "PREFORK_HOME", f"{NAME}/state"
    )


def _pm2_manager() -> Manager:
    start = f"start {{apps}}/server.js -i {WORKERS} --name {NAME}"
    verbs = _make_verbs(start)
    return Manager(
        "PM2", PM2_PACKAGE / "bin" / "pm2", verbs, f"delete {NAME}", "kill", "PM2_HOME", "pm2.pid"
    )


PREFORK = _prefork_manager("prefork", "-- node {apps}/server.js")
PM2 = _pm2_manager()
PREFORK_PYTHON = _prefork_manager("prefork, Python app", "app:app")
MANAGERS = (PREFORK, PM2, PREFORK_PYTHON)
