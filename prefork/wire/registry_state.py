"""The state file of an app in the registry, as JSON (unix/home.py). PURE.

    {"v": 2, "name": "web", "pid": 71, "version": "0.1.0", "status": "ready: 4 of 4 workers", …}

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

from prefork.wire.versions import FIRST, stamp, take_version

VERSION = 2
"""The version of the state file."""


@dataclass(frozen=True, slots=True)
class RegistryState:
    """The content of a state file. ``version``: of its format."""

    keys: dict[str, Any] = field(default_factory=dict)
    version: int = FIRST


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
    return RegistryState(keys, version)
