"""The state file of an app in the registry, as JSON (unix/home.py). PURE.

    {"v": 2, "name": "web", "pid": 71, "version": "0.1.0", "status": "ready: 4 of 4 workers", …}

The key ``leader`` names the last worker that led, by its pid and the time when it started (clock
ticks since the machine booted), and its fencing token: {"pid": 73, "started": 8812, "token": 17…}.

master/registration.py writes the keys. The file outlives its master: the command of any version
reads it.

Design
------
- **A state of a later version is read leniently,** because the list has to be complete: keys that
  both versions know are shown. A master is not started from it, and not saved, because its command
  line may be written in another way (``RegistryEntry.require_readable`` of unix/home.py).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prefork.wire.app_description import fit_description
from prefork.wire.versions import FIRST, stamp, take_version

VERSION = 2
"""The version of the state file."""

MAX_TOKEN = 2**53
"""The largest fencing token that is read from a state file: all of JSON's numbers up to it are
exact, and at one term a millisecond it is 280,000 years away."""


@dataclass(frozen=True, slots=True)
class RegistryState:
    """The content of a state file. ``version``: of its format.

    Values of a wrong type are left out (app_description.py), but for ``leader`` and ``scaled``,
    which the next master checks.
    """

    keys: dict[str, Any] = field(default_factory=dict)
    version: int = FIRST


@dataclass(frozen=True, slots=True)
class LeaderRecord:
    """The last leader of an app, for the next master: its process and its fencing token.

    ``pid`` is 0 where the process is not known.
    """

    pid: int = 0
    started: int = 0
    token: int = 0

    @staticmethod
    def parse(stored: object) -> "LeaderRecord":
        """Read it from a state file; one of zeros if ``stored`` is no such record."""
        match stored:
            case {"pid": int(pid), "started": int(started), "token": int(token)}:
                if pid >= 0 and started >= 0 and 0 <= token <= MAX_TOKEN:
                    return LeaderRecord(pid, started, token)
        return LeaderRecord()


def encode_state(keys: Mapping[str, Any]) -> str:
    """Return the text of a state file."""
    return json.dumps(stamp(VERSION, keys), indent=1)


def decode_state(data: bytes) -> RegistryState:
    """Decode a state file. Raises ValueError."""
    try:
        keys = json.loads(data)
    except RecursionError:
        raise ValueError("the state is nested too deeply") from None
    if not isinstance(keys, dict):
        raise ValueError("the state is no object")
    version = take_version(keys)
    kept = {"leader": keys["leader"]} if "leader" in keys else {}
    return RegistryState({**fit_description(keys), **kept}, version)
