"""Requests that the access log leaves out: by path, by status, by User-Agent, and by several."""

from typing import Any

import pytest

from prefork.config.access_skip import parse_skip_pattern
from prefork.http.request import ParsedHead
from prefork.observe.access_filter import compile_skip_patterns


def is_logged(*patterns: str, path: bytes = b"/", status: int = 200, agent: bytes = b"") -> bool:
    head = ParsedHead(path, [(b"host", b"x"), (b"user-agent", agent)] if agent else [])
    is_skipped = compile_skip_patterns([parse_skip_pattern(each) for each in patterns])
    assert is_skipped is not None
    return not is_skipped(head, status)


def test_without_patterns_nothing_is_called() -> None:
    assert compile_skip_patterns(()) is None


@pytest.mark.parametrize(
    ("pattern", "request_", "logged"),
    [
        ("/healthz", {"path": b"/healthz"}, False),
        ("/healthz", {"path": b"/healthz/live"}, False),
        ("/healthz", {"path": b"/x/healthz"}, True),
        ("404", {"status": 404}, False),
        ("404", {"status": 403}, True),
        ("2xx", {"status": 299}, False),
        ("2xx", {"status": 0}, True),
        ("kube-probe", {"agent": b"Kube-Probe/1.29"}, False),
        ("kube-probe", {"agent": b"curl/8"}, True),
        ("kube-probe", {}, True),
        ("/healthz,2xx", {"path": b"/healthz", "status": 200}, False),
        ("/healthz,2xx", {"path": b"/healthz", "status": 503}, True),
        ("/healthz,2xx", {"path": b"/", "status": 200}, True),
    ],
)
def test_a_request_is_left_out_if_all_of_a_pattern_matches(
    pattern: str, request_: dict[str, Any], logged: bool
) -> None:
    assert is_logged(pattern, **request_) is logged


def test_one_of_several_patterns_is_enough() -> None:
    patterns = ("/healthz", "kube-probe")
    assert not is_logged(*patterns, path=b"/x", agent=b"kube-probe/1")
    assert not is_logged(*patterns, path=b"/healthz", agent=b"curl")
    assert is_logged(*patterns, path=b"/x", agent=b"curl")
