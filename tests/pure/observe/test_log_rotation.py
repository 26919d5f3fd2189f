"""When a log is rotated, and which rotated logs expire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.observe.log_rotation import (
    RotatedLog,
    RotationPolicy,
    find_rotated,
    next_number,
    select_expired,
)

SIZES = st.lists(st.integers(0, 100))


@pytest.mark.parametrize(
    ("rotation", "size", "more", "age", "due"),
    [
        (RotationPolicy(size=100), 90, 10, 0, False),
        (RotationPolicy(size=100), 90, 11, 0, True),
        (RotationPolicy(size=100), 0, 1000, 0, False),
        (RotationPolicy(age=60), 1, 1, 59, False),
        (RotationPolicy(age=60), 1, 1, 60, True),
        (RotationPolicy(age=60), 0, 1, 999, False),
        (RotationPolicy(), 10**12, 10**6, 10**9, False),
    ],
)
def test_a_log_is_due_for_rotation_by_size_or_age(
    rotation: RotationPolicy, size: int, more: int, age: float, due: bool
) -> None:
    assert rotation.is_due(size, more, age) is due


def test_rotated_logs_are_sorted_by_number_each_once() -> None:
    names = ["w.out", "w.out.10", "w.out.9.gz", "w.out.9", "w.out.x", "w.out.10.gz.new", "wXout.1"]
    logs = find_rotated("w.out", [(name, 1) for name in [*names, "w.out.0", "other.out.99"]])
    assert [old.name for old in logs] == ["w.out.9.gz", "w.out.10"]
    assert [old.is_compressed for old in logs] == [True, False]
    assert next_number(logs) == 11
    assert next_number([]) == 1


@given(SIZES, st.integers(0, 10), st.none() | st.integers(0, 500), st.integers(0, 100))
def test_the_oldest_logs_expire_and_no_more_than_necessary(
    sizes: list[int], keep: int, total: int | None, current: int
) -> None:
    logs = [RotatedLog(number, f"w.out.{number}.gz", size) for number, size in enumerate(sizes, 1)]
    expired = select_expired(RotationPolicy(keep=keep, total=total), logs, current)
    assert expired == logs[: len(expired)]

    def fits(kept: list[RotatedLog]) -> bool:
        bytes_kept = current + sum(old.size for old in kept)
        return len(kept) <= keep and (total is None or bytes_kept <= total)

    kept = logs[len(expired) :]
    assert fits(kept) or not kept
    assert not expired or not fits(logs[len(expired) - 1 :])
