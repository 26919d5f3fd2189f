"""Patterns of requests that the access log leaves out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.config.access_skip import SkipPattern, parse_skip_pattern


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("/healthz", SkipPattern(path="/healthz")),
        ("path:health", SkipPattern(path="health")),
        ("204", SkipPattern(status="204")),
        ("2XX", SkipPattern(status="2xx")),
        ("kube-probe", SkipPattern(agent="kube-probe")),
        ("ELB-HealthChecker/2.0", SkipPattern(agent="elb-healthchecker/2.0")),
        ("agent:200", SkipPattern(agent="200")),
        ("/healthz,2xx", SkipPattern("/healthz", "2xx")),
        ("200,agent:/x,/y", SkipPattern("/y", "200", "/x")),
    ],
)
def test_the_kind_of_a_text_is_seen_or_written(text: str, pattern: SkipPattern) -> None:
    assert parse_skip_pattern(text) == pattern
    assert parse_skip_pattern(str(pattern)) == pattern


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "a path prefix"),
        ("/a,", "a path prefix"),
        ("/caf\u00e9", "printable ASCII"),
        ("status:600", "a status such as 204 or 2xx"),
        ("/a,/b", "one path in a pattern, .*; repeat the option"),
    ],
)
def test_another_text_is_refused(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        parse_skip_pattern(text)


def test_statuses_are_one_a_class_or_none() -> None:
    assert SkipPattern(status="204").statuses == range(204, 205)
    assert SkipPattern(status="4xx").statuses == range(400, 500)
    assert not SkipPattern(path="/").statuses


_TEXT = st.from_regex(r"[!-+\--~]([ -+\--~]*[!-+\--~])?", fullmatch=True)


@given(_TEXT, st.from_regex("[1-5]([0-9]{2}|xx)|", fullmatch=True), _TEXT | st.just(""))
def test_the_text_of_a_pattern_means_the_pattern(path: str, status: str, agent: str) -> None:
    pattern = SkipPattern(path, status, agent.lower())
    assert parse_skip_pattern(str(pattern)) == pattern
