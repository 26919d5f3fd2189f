"""The file with the last deaths of an app's workers, as JSON (unix/home.py). PURE.

    {"v": 1, "deaths": [{"at": 1764370000.5, "slot": 0, "cause": "boot failure", …}]}

A master writes it when it ends. The next master and ``prefork why`` read it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from prefork.wire.versions import require_known_version, stamp

VERSION = 1
"""The version of the file."""

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "at": (int, float),
    "slot": int,
    "pid": int,
    "generation": int,
    "cause": str,
    "detail": str,
    "killed": bool,
    "reason": str,
}
"""The keys of a death that each reader needs, with the types of their values."""

_LATEST = 2.0**33
"""A time of the day in seconds, from which on no clock can show it."""


def encode_deaths(deaths: Iterable[Mapping[str, Any]]) -> str:
    """Return the text of a file."""
    return json.dumps(stamp(VERSION, {"deaths": list(deaths)}))


def decode_deaths(data: bytes) -> list[Mapping[str, Any]]:
    """Return the deaths in a file, in the order of their time; entries that are none are left out.

    A file that is malformed, or of a later version, has none.
    """
    try:
        content = json.loads(data)
        require_known_version(content, VERSION)
        entries = list(content["deaths"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []
    deaths = [each for each in entries if isinstance(each, dict) and _is_death(each)]
    return sorted(deaths, key=lambda death: float(death["at"]))


def _is_death(entry: Mapping[str, Any]) -> bool:
    fits = all(isinstance(entry.get(key), types) for key, types in _TYPES.items())
    optional = all(isinstance(entry.get(key, ""), str) for key in ("why", "exceeded"))
    return fits and optional and abs(entry["at"]) < _LATEST
