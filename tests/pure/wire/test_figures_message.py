"""The figures that a program reports: any bytes are decoded, and what is well-formed as it is."""

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from prefork.wire.figures_message import (
    COUNTERS,
    GAUGES,
    MAX_THREAD,
    PREFIX,
    ReportedFigures,
    decode_figures,
)
from prefork.wire.histogram import BUCKET_COUNT
from prefork.wire.notify import MAX_DATAGRAM_SIZE, decode_notification
from prefork.wire.scoreboard import MAX_COUNT, MAX_TIME

WHOLE = [name for name in (*COUNTERS, *GAUGES) if name not in ("took", "oldest")]
COUNTS = st.integers(0, MAX_COUNT)
TIMES = st.dictionaries(st.integers(0, BUCKET_COUNT - 1), COUNTS, max_size=40)


def decode(text: str) -> ReportedFigures | None:
    return decode_figures(decode_notification(text.encode()))


@given(
    st.dictionaries(st.sampled_from(WHOLE), COUNTS),
    st.none() | st.floats(0, MAX_TIME),
    TIMES,
    st.integers(0, MAX_THREAD),
)
def test_well_formed_figures_are_decoded_as_they_are(
    counts: dict[str, int], took: float | None, times: dict[int, int], thread: int
) -> None:
    lines = [f"{PREFIX}{name.upper()}={count}" for name, count in counts.items()]
    lines += [f"X_PREFORK_TOOK={took:.9f}"] if took is not None else []
    lines.append("X_PREFORK_TIMES=" + ",".join(f"{b}:{n}" for b, n in times.items()))
    lines.append(f"X_PREFORK_THREAD={thread}")
    found = decode("\n".join(["STATUS=fine", *lines]))
    assert found is not None
    assert (found.thread, found.times, found.malformed) == (thread, times, ())
    assert {n: v for n, v in found.fields.items() if n != "took"} == counts
    assert took is None or found.fields["took"] == pytest.approx(took, abs=1e-9)


@given(st.binary(max_size=MAX_DATAGRAM_SIZE))
@example(b"X_PREFORK_REQUESTS=" + "\u0661".encode())  # a digit, but not an ASCII one
def test_any_bytes_are_decoded(data: bytes) -> None:
    found = decode_figures(decode_notification(data))
    assert found is None or set(found.times or ()) <= set(range(BUCKET_COUNT))


@given(
    st.sampled_from([PREFIX + name.upper() for name in (*COUNTERS, *GAUGES, "times", "thread")]),
    st.text("0123456789.:,-+einfa_ \t", max_size=40),
)
def test_any_value_is_a_bounded_number_or_malformed(variable: str, text: str) -> None:
    found = decode(f"{variable}={text}")
    if found is None or found.malformed == (variable,):
        assert found is None or not (found.fields or found.times)
        return
    assert found.malformed == ()
    for name, number in found.fields.items():
        assert 0 <= number <= (MAX_TIME if name in ("took", "oldest") else MAX_COUNT)
    for bucket, count in (found.times or {}).items():
        assert 0 <= bucket < BUCKET_COUNT
        assert 0 <= count <= MAX_COUNT


@pytest.mark.parametrize(
    ("text", "malformed"),
    [
        ("X_PREFORK_REQUESTS=-1", "X_PREFORK_REQUESTS"),
        ("X_PREFORK_REQUESTS=1.5", "X_PREFORK_REQUESTS"),
        ("X_PREFORK_REQUESTS=9223372036854775808", "X_PREFORK_REQUESTS"),
        ("X_PREFORK_REQUESTS=" + "9" * 4000, "X_PREFORK_REQUESTS"),
        ("X_PREFORK_TOOK=1e3", "X_PREFORK_TOOK"),
        ("X_PREFORK_TOOK=nan", "X_PREFORK_TOOK"),
        ("X_PREFORK_TOOK=9999999999999", "X_PREFORK_TOOK"),
        ("X_PREFORK_OLDEST=", "X_PREFORK_OLDEST"),
        ("X_PREFORK_TIMES=200:1", "X_PREFORK_TIMES"),
        ("X_PREFORK_TIMES=1:2,3", "X_PREFORK_TIMES"),
        ("X_PREFORK_TIMES=1:2,", "X_PREFORK_TIMES"),
        ("X_PREFORK_THREAD=10000\nX_PREFORK_REQUESTS=1", "X_PREFORK_THREAD"),
    ],
)
def test_malformed_variables_are_named(text: str, malformed: str) -> None:
    found = decode(text)
    assert found is not None
    assert (found.malformed, dict(found.fields), found.times) == ((malformed,), {}, None)


def test_the_other_variables_of_a_message_count() -> None:
    found = decode("X_PREFORK_REQUESTS=many\nX_PREFORK_IN_FLIGHT=3\nX_PREFORK_TIMES=7:2")
    assert found == ReportedFigures(0, {"in_flight": 3}, {7: 2}, ("X_PREFORK_REQUESTS",))


@pytest.mark.parametrize("text", ["", "READY=1", "X_OTHER=1", "X_PREFORK_TOYS=1"])
def test_other_messages_have_no_figures(text: str) -> None:
    assert decode(text) is None


def test_an_empty_histogram_is_one() -> None:
    assert decode("X_PREFORK_TIMES=") == ReportedFigures(times={})
    assert decode("X_PREFORK_REQUESTS=0") == ReportedFigures(0, {"requests": 0}, None)
