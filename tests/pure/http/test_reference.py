"""prefork beside h11: prefork accepts nothing that h11 refuses, and both understand the same.

The differences that are allowed are in tests/fuzz/reference.py, with reason and RFC section.
``scripts/fuzz`` does for minutes what the last test does for a second.
"""

import random
from collections.abc import Iterator

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.__main__ import stream
from tests.fuzz.grammar import Grammar
from tests.fuzz.reference import STRICTER, understand
from tests.fuzz.trial import Trial
from tests.live.corpus import Case, load_cases

INPUTS = 1500
VALID, INVALID = load_cases("valid"), load_cases("invalid")


@pytest.fixture(scope="module")
def trial() -> Iterator[Trial]:
    trial = Trial()
    yield trial
    trial.close()


@pytest.mark.parametrize("case", [*VALID, *INVALID], ids=lambda case: case.name)
def test_the_corpus_is_understood_as_by_h11_or_differs_for_a_reason(
    trial: Trial, case: Case
) -> None:
    middle = len(case.raw) // 2
    trial.run(case.raw, [case.raw[:middle], case.raw[middle:]])


@pytest.mark.parametrize("case", VALID, ids=lambda case: case.name)
def test_valid_cases_of_the_corpus_are_valid_for_h11(case: Case) -> None:
    (read,) = understand(case.raw).requests
    assert read.seen.body == case.account.get("body", read.seen.body.decode("latin-1")).encode(
        "latin-1"
    )


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(dice=st.randoms(use_true_random=False), odds=st.sampled_from((0.0, 0.05, 0.15)))
def test_prefork_and_h11_understand_the_same(
    trial: Trial, dice: random.Random, odds: float
) -> None:
    grammar = Grammar(dice, odds)
    data = grammar.stream()
    if odds:
        data = grammar.accident(data)
    trial.run(data, grammar.pieces(data))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=80), middle=st.integers(0, 80))
def test_random_bytes_do_no_harm(trial: Trial, data: bytes, middle: int) -> None:
    trial.run(data, [data[:middle], data[middle:]])


def test_a_short_run_of_the_fuzzer_finds_nothing(trial: Trial) -> None:
    corpus = [case.raw for case in (*VALID, *INVALID)]
    reasons = {trial.run(*stream(random.Random(seed), corpus)) for seed in range(INPUTS)}
    # The run is worth something only if most differences come up and most inputs are accepted.
    assert len(reasons & set(STRICTER)) > len(STRICTER) / 2
