"""Times by size: eight buckets an octave, from 8 microseconds to 4 minutes. PURE.

The bucket of a time is in the upper bits of the number itself: a double (IEEE 754) begins with its
exponent and goes on with the fraction, so that its first 15 bits count off eighths of an octave.
Sorting ten thousand times is therefore reading their upper halves. A quantile is told as the
middle of its bucket, which is wrong by at most 6.3 %.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from math import inf
from operator import add

BUCKETS_PER_OCTAVE = 8
_LOWEST = -17
"""Exponent of the first bucket: 2**-17 s are 7.6 microseconds."""
_HIGHEST = 8
BUCKET_COUNT = (_HIGHEST - _LOWEST) * BUCKETS_PER_OCTAVE

_FIRST = (1023 + _LOWEST) * BUCKETS_PER_OCTAVE
"""What the upper bits of a double say at the lower end of the first bucket."""


def count_by_bucket(times: Iterable[float]) -> Iterator[tuple[int, int]]:
    """Pairs of bucket and count. Times beyond the ends (0 s, an hour) count for the last there."""
    bits = memoryview(array("d", times)).cast("B").cast("H")[_UPPER_QUARTER::4]
    for upper, count in Counter(bits.tolist()).items():
        yield min(max((upper >> 1) - _FIRST, 0), BUCKET_COUNT - 1), count


_UPPER_QUARTER = 3 if array("H", [1]).tobytes()[0] else 0
"""Which quarter of a double has its upper bits: the last one where the byte order is little."""


def upper_bound(bucket: int) -> float:
    """Where a bucket ends, in seconds; the last one never does."""
    if bucket >= BUCKET_COUNT - 1:
        return inf
    octave, part = divmod(bucket + 1, BUCKETS_PER_OCTAVE)
    return float(2.0 ** (_LOWEST + octave) * (1 + part / BUCKETS_PER_OCTAVE))


def merge_counts(several: Iterable[Sequence[int]]) -> list[int]:
    """The histogram of all times that these count."""
    merged = [0] * BUCKET_COUNT
    for counts in several:
        merged = list(map(add, merged, counts))
    return merged


def quantile(counts: Sequence[int], share: float) -> float:
    """The time that ``share`` (0 to 1) of all did not exceed, in seconds; 0 when there are none."""
    total = sum(counts)
    if not total:
        return 0.0
    rank = max(1.0, share * total)
    seen = accumulate(counts)
    bucket = next(bucket for bucket, so_far in enumerate(seen) if so_far >= rank)
    below = upper_bound(bucket - 1) if bucket else 0.0
    return below if bucket == BUCKET_COUNT - 1 else (below + upper_bound(bucket)) / 2
