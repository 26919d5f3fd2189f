"""Check the description of an app that another process wrote. PURE.

The state file (registry_state.py) and the answer of a master to ``show`` describe an app, as
``prefork.Client`` lists the keys. Root lists the services of all users, so another user may have
written both.

Design
------
- **A value of another type than its key has is left out, and the rest is shown.** One app must not
  hide all others by an error in the list. The same holds for a number that no clock or column can
  show.
- **A key that this version does not know stays.** Nothing here reads it, and ``--json`` prints what
  a master of a later version says.
"""

from collections.abc import Callable, Mapping
from typing import Any

from prefork.wire.fields import VALUES

_Check = Callable[[object], bool]

_LATEST = 2.0**33
"""A time of the day in seconds, from which on no clock can show it."""

_LARGEST = 2.0**63


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_number(value: object) -> bool:
    """Return whether a value is a finite number; no comparison with NaN is true."""
    return isinstance(value, int | float) and abs(value) < _LARGEST


def _is_count(value: object) -> bool:
    return isinstance(value, int) and 0 <= value < _LARGEST


def _is_moment(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < _LATEST


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_store(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def _is_figure(value: object) -> bool:
    return _is_number(value) or (isinstance(value, dict) and all(map(_is_count, value.values())))


def _is_planned(value: object) -> bool:
    return isinstance(value, dict) and _has(value, {"at": _is_moment, "cron": _is_text})


def _is_leader(value: object) -> bool:
    return isinstance(value, dict) and _has(
        value, dict.fromkeys(("slot", "pid", "token"), _is_count)
    )


def _is_step(value: object) -> bool:
    known = {"before": _is_count, "workers": _is_count, "at": _is_moment, "why": _is_text}
    return value is None or (isinstance(value, dict) and _has(value, known))


def _is_scaling(value: object) -> bool:
    if not isinstance(value, dict) or not _has(value, {"min": _is_count, "max": _is_count}):
        return False
    return _is_step(value.get("last", 0)) and isinstance(value.get("veto", 0), str | None)


def _has(value: Mapping[str, Any], checks: Mapping[str, _Check]) -> bool:
    return all(check(value.get(key)) for key, check in checks.items())


def _or_none(check: _Check) -> _Check:
    return lambda value: value is None or check(value)


_FIGURES: Mapping[str, _Check] = dict.fromkeys(
    (value.key for value in VALUES), _or_none(_is_figure)
)

_WORKER: Mapping[str, _Check] = {
    **_FIGURES,
    **dict.fromkeys(("slot", "generation", "restarts"), _is_count),
    **dict.fromkeys(("state", "worn", "says", "node"), _is_text),
    "pid": _or_none(_is_count),
    "since": _is_moment,
}

_APP: Mapping[str, _Check] = {
    **dict.fromkeys(("name", "namespace", "state", "denied", "version"), _is_text),
    **dict.fromkeys(("app", "here", "build"), _is_text),
    **dict.fromkeys(("target", "ready", "generation", "restarts"), _is_count),
    **dict.fromkeys(("started", "ended"), _is_moment),
    **dict.fromkeys(("managed", "answers", "done"), _is_flag),
    **dict.fromkeys(("arguments", "listening"), _are_texts),
    **dict.fromkeys(("settings", "figures"), lambda value: isinstance(value, dict)),
    "workers": lambda value: isinstance(value, list),
    "store": _is_store,
    **dict.fromkeys(("file", "section", "stage", "log", "output"), _or_none(_is_text)),
    **dict.fromkeys(("scoreboard", "status", "lease", "failure"), _or_none(_is_text)),
    **dict.fromkeys(("pid", "exit_code"), _or_none(_is_count)),
    "leader": _or_none(_is_leader),
    "next_restart": _or_none(_is_planned),
    "autoscale": _or_none(_is_scaling),
    "slot": lambda _value: False,  # the tables tell a worker from an app by it
}


def fit_description(app: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of an app without the values that are not of their key's type.

    A worker without a slot, a pid (which may be None) or a generation is left out as well.
    """
    fitted = _fit(app, _APP)
    if "figures" in fitted:
        fitted["figures"] = _fit(fitted["figures"], _FIGURES)
    if "workers" in fitted:
        found = (_fit(each, _WORKER) for each in fitted["workers"] if isinstance(each, dict))
        fitted["workers"] = [each for each in found if {"slot", "pid", "generation"} <= each.keys()]
    if "target" not in fitted:
        fitted.pop("ready", None)
    return fitted


def _fit(values: Mapping[str, Any], checks: Mapping[str, _Check]) -> dict[str, Any]:
    """Return the values that their checks accept, and those that have none."""
    return {
        key: value
        for key, value in values.items()
        if (check := checks.get(key)) is None or check(value)
    }
