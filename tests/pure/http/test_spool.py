"""A spooled body reads like a file, wherever its pieces were kept, and gives its memory back."""

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.http.buffer_pool import BLOCK_SIZE, BufferPool
from prefork.http.spool import SMALL_BODY_SIZE, SpooledBody
from prefork.http.spool_disk import SpoolDisk

PIECES = st.lists(st.binary(max_size=200) | st.sampled_from([b"\n", b"a\nb\n", b"x" * 70_000]))
READS = st.lists(
    st.tuples(st.sampled_from(["read", "readline"]), st.integers(-1, 100_000))
    | st.tuples(
        st.just("readlines"), st.just(-1)
    )  # a positive size is a hint, which io's own classes take differently
    | st.tuples(st.just("next"), st.just(0))
)
ROOMS = st.sampled_from([0, 1, 100])


def use(file: io.IOBase, verb: str, size: int) -> object:
    if verb == "next":
        return next(iter(file), None)
    return getattr(file, verb)(size)


@given(PIECES, READS, ROOMS)
def test_a_body_reads_like_a_file(
    pieces: list[bytes], reads: list[tuple[str, int]], size: int
) -> None:
    room = BufferPool(size * BLOCK_SIZE)
    body = SpooledBody(room, SpoolDisk())
    for piece in pieces:
        body.feed(piece)
    body.end()
    model = io.BytesIO(b"".join(pieces))
    assert body.size == len(model.getvalue())
    for verb, amount in [*reads, ("read", -1), ("read", 5)]:
        assert use(body.file, verb, amount) == use(model, verb, amount)
    body.discard()
    assert room.free_blocks == size


@given(PIECES, ROOMS)
def test_nothing_stays_of_a_body_that_is_discarded_half_way(pieces: list[bytes], size: int) -> None:
    open_before = len(os.listdir("/proc/self/fd"))
    room = BufferPool(size * BLOCK_SIZE)
    body = SpooledBody(room, SpoolDisk())
    for piece in pieces:
        body.feed(piece)
    body.discard()
    body.discard()
    assert room.free_blocks == size
    assert len(os.listdir("/proc/self/fd")) == open_before


@pytest.mark.parametrize(
    "size", [BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 2 * BLOCK_SIZE, 3 * BLOCK_SIZE]
)
def test_a_body_takes_the_blocks_that_it_needs(size: int) -> None:
    room = BufferPool(2 * BLOCK_SIZE)
    body = SpooledBody(room, SpoolDisk())
    content = os.urandom(size)
    body.feed(content)
    body.end()
    on_disk = size > 2 * BLOCK_SIZE
    assert room.free_blocks == 2 - (0 if on_disk else -(-size // BLOCK_SIZE))
    assert body.file is not None
    assert body.file.read() == content
    body.discard()
    assert room.free_blocks == 2


def test_bodies_share_the_pool_and_the_last_one_goes_to_disk() -> None:
    room = BufferPool(3 * BLOCK_SIZE)
    first, second = SpooledBody(room, SpoolDisk()), SpooledBody(room, SpoolDisk())
    first.feed(b"a" * 2 * BLOCK_SIZE)
    second.feed(b"b" * BLOCK_SIZE)
    assert room.free_blocks == 0
    second.feed(b"c")
    assert room.free_blocks == 1, "the part in memory went to disk, too"
    room.release_unused_memory()
    room.release_unused_memory()
    for body, content in ((first, b"a" * 2 * BLOCK_SIZE), (second, b"b" * BLOCK_SIZE + b"c")):
        body.end()
        assert body.file is not None
        assert body.file.read() == content
        body.discard()
    assert room.free_blocks == 3
    assert resident() > 3 * BLOCK_SIZE
    before = resident()
    room.release_unused_memory()
    room.release_unused_memory()
    assert before - resident() >= 3 * BLOCK_SIZE


def resident() -> int:
    """Return the bytes of anonymous memory that this process has."""
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Anonymous:")) * 1024


def test_a_small_body_needs_no_block() -> None:
    body = SpooledBody(BufferPool(0), SpoolDisk())
    body.feed(b"{}")
    body.end()
    assert isinstance(body.file, io.BytesIO)


@pytest.mark.parametrize("before", [0, 1, BLOCK_SIZE])
@pytest.mark.parametrize("blocks", [0, 4])
def test_a_discarded_body_cannot_be_read(blocks: int, before: int) -> None:
    """Its memory may belong to another body then."""
    body = SpooledBody(BufferPool(blocks * BLOCK_SIZE), SpoolDisk())
    body.feed(b"x" * 2 * BLOCK_SIZE)
    body.end()
    assert body.file is not None
    assert len(body.file.read(before)) == before
    body.discard()
    for size in (1, BLOCK_SIZE, -1):
        with pytest.raises(ValueError, match="closed"):
            body.file.read(size)


@pytest.mark.parametrize(
    "step", [SMALL_BODY_SIZE - 1, SMALL_BODY_SIZE, 50_000, BLOCK_SIZE, 100_000, 10 * BLOCK_SIZE]
)
def test_reads_do_not_depend_on_where_the_blocks_are(step: int) -> None:
    room = BufferPool(8 * BLOCK_SIZE)
    others = [room.allocate() for _ in range(4)]
    room.release(others[0] + others[2])
    body = SpooledBody(room, SpoolDisk())
    content = os.urandom(6 * BLOCK_SIZE - 5)
    body.reserve_blocks(body.blocks_needed_for(len(content)))
    for at in range(0, len(content), 30_000):
        body.feed(content[at : at + 30_000])
    body.end()
    file = body.file
    assert file is not None
    pieces = list(iter(lambda: file.read(step), b""))
    assert b"".join(pieces) == content
    assert {len(piece) for piece in pieces[:-1]} <= {step}
