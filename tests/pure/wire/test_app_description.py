"""Checks of app descriptions that other processes wrote: well-formed values stay, others go."""

import json

import pytest

from prefork.wire.app_description import fit_description
from prefork.wire.registry_state import decode_state, encode_state

WORKER = {
    "slot": 0, "pid": None, "generation": 1, "restarts": 0, "state": "ready", "worn": "",
    "says": "", "node": "", "since": 1.5, "requests": 3, "p99": 0.5,
}  # fmt: skip
APP: dict[str, object] = {
    "name": "web", "namespace": "", "state": "running", "status": "ready", "version": "1",
    "app": "web:app", "here": "/srv", "file": None, "section": None, "stage": None, "log": None,
    "output": "/log", "scoreboard": "/proc/7/fd/3", "failure": "", "build": "compiled",
    "pid": 7, "target": 1, "ready": 1, "generation": 1, "restarts": 0, "exit_code": 0,
    "started": 1.5, "ended": 2, "managed": True, "answers": True, "done": False,
    "arguments": ["web:app"], "listening": ["127.0.0.1:1"], "store": ["memory", 5],
    "leader": {"slot": 0, "pid": 7, "token": 1}, "lease": None,
    "next_restart": {"at": 5.5, "cron": "@daily"},
    "autoscale": {"min": 1, "max": 4, "last": None, "veto": None},
    "settings": {"workers": 1}, "scaled": {"workers": 1, "settings": 1},
    "figures": {"requests": 3, "statuses": {"2xx": 3}, "rate": 1.5, "oldest": None},
    "workers": [WORKER],
}  # fmt: skip


def test_a_description_of_a_master_stays_as_it_is() -> None:
    step = {"before": 1, "workers": 2, "at": 1.5, "why": "busy"}
    scaled = APP | {"autoscale": {"min": 1, "max": 4, "last": step, "veto": "max"}}
    for app in (APP, scaled, APP | {"of a later version": [{}]}):
        assert fit_description(json.loads(json.dumps(app))) == app


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", 5),
        ("pid", "1"),
        ("name", None),
        ("listening", None),
        ("pid", -1),
        ("pid", 2**70),
        ("started", 1e300),
        ("started", float("nan")),
        ("managed", 1),
        ("arguments", [5]),
        ("listening", "127.0.0.1"),
        ("store", []),
        ("leader", {"pid": 7, "started": 1, "token": 1}),
        ("next_restart", {"at": "now", "cron": ""}),
        ("autoscale", 5),
        ("autoscale", {"min": 1}),
        ("autoscale", {"min": 1, "max": 2}),
        ("autoscale", {"min": 1, "max": 2, "last": {}, "veto": ""}),
        ("settings", []),
    ],
)
def test_a_value_of_another_type_is_left_out(key: str, value: object) -> None:
    assert fit_description(APP | {key: value}) == {k: v for k, v in APP.items() if k != key}


def test_what_is_left_of_figures_and_workers_is_complete() -> None:
    assert fit_description({"figures": 5, "workers": "none", "slot": 1}) == {}
    assert fit_description({"figures": {"requests": "3", "rate": 1}}) == {"figures": {"rate": 1}}
    workers = [WORKER | {"slot": "0"}, 5, WORKER | {"since": "now"}]
    (kept,) = fit_description({"workers": workers})["workers"]
    assert kept == {key: value for key, value in WORKER.items() if key != "since"}
    assert fit_description({"ready": 1, "target": "2"}) == {}


def test_a_state_keeps_what_the_next_master_checks() -> None:
    leader = {"pid": 7, "started": 1, "token": 1}
    text = encode_state({"leader": leader, "scaled": 5, "pid": "1", "name": "web"})
    assert decode_state(text.encode()).keys == {"leader": leader, "scaled": 5, "name": "web"}
