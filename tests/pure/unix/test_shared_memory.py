"""Shared memory in the hands of a hostile child."""

import ctypes
import fcntl
import mmap
import os
import signal
from collections.abc import Callable

import pytest

from prefork.unix import shared_memory
from prefork.unix.scoreboard import DEADLINE, Scoreboard
from prefork.wire.scoreboard import MASTER_SIZE
from tests.pure.children import as_root, fork_child

OTHER = 65534
MADV_REMOVE = 9

libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def address_of(memory: memoryview) -> int:
    """Return the address of a mapping, also of one that is read-only."""
    buffer = (ctypes.c_char * 80)()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(memory), buffer, 0)
    return int(ctypes.c_void_p.from_buffer(buffer).value or 0)


def descriptors_of(board: Scoreboard) -> list[str]:
    """Return the paths of all descriptors that this process has of the scoreboard's two files."""
    files = {os.stat(path).st_ino for path in (board.path, beside(board))}
    return [each.path for each in os.scandir("/proc/self/fd") if inode(each.path) in files]


def beside(board: Scoreboard) -> str:
    """Return the path of the workers' part."""
    return f"/proc/{os.getpid()}/fd/{board.rows.head()['workers_fd']}"


def inode(path: str) -> int:
    """Return the inode of the file behind a descriptor; 0 if it was closed meanwhile."""
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return 0


def code(life: Callable[[], int]) -> int | str | None:
    """Run ``life`` in a child; return its exit code, or the signal that ended it."""
    death = fork_child(life).reap()
    return death.code if death.signal is None else death.signal


@pytest.mark.parametrize("size", [0, 4096, MASTER_SIZE * 2])
def test_the_size_of_a_file_stays_as_it_is(size: int) -> None:
    fd = shared_memory.create_sealed_file("test", MASTER_SIZE)
    with pytest.raises(PermissionError):
        os.ftruncate(fd, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    assert os.fstat(fd).st_size == MASTER_SIZE
    os.close(fd)


def test_a_file_without_seals_is_recognized() -> None:
    sealed, plain = shared_memory.create_sealed_file("test", 4096), os.memfd_create("test")
    reader, writer = os.pipe()
    assert [shared_memory.is_sealed(fd) for fd in (sealed, plain, reader)] == [True, False, False]
    for fd in (sealed, plain, reader, writer):
        os.close(fd)


def test_a_child_that_has_its_row_has_no_descriptor() -> None:
    board = Scoreboard()
    row = board.acquire_row(1)

    files = {inode(path) for path in (board.path, beside(board))}

    def life() -> int:
        board.close_copy()
        row.floats[DEADLINE] = 1.0
        return sum(inode(each.path) in files for each in os.scandir("/proc/self/fd"))

    assert len(descriptors_of(board)) == 2
    assert code(life) == 0
    assert row.floats[DEADLINE] == 1.0


def test_no_child_can_write_the_masters_part() -> None:
    board = Scoreboard()
    row = board.acquire_row(7)

    def life() -> int:
        page = address_of(board.rows.master_counts)
        length = ctypes.c_size_t(MASTER_SIZE)
        write = mmap.PROT_READ | mmap.PROT_WRITE
        allowed = libc.mprotect(page, length, write) == 0
        allowed += libc.madvise(page, length, MADV_REMOVE) == 0
        with pytest.raises(TypeError):
            board.rows.master_counts[0] = 1
        with pytest.raises(TypeError):
            row.record[0] = 1
        return int(allowed)

    assert code(life) == 0
    assert board.rows.head()["pid"] == os.getpid()


def test_a_child_that_writes_to_the_masters_part_dies_alone() -> None:
    board = Scoreboard()
    before = board.rows.head()
    assert code(lambda: ctypes.memset(address_of(board.rows.master_counts), 0, 8) or 0) == "SIGSEGV"
    assert code(lambda: board.set_head_fields(target=99) or 0) in ("SIGSEGV", "SIGBUS")
    assert board.rows.head() == before


def test_a_page_that_a_child_frees_reads_as_zeros_in_the_master() -> None:
    board = Scoreboard()
    row = board.acquire_row(1)
    row.floats[DEADLINE] = 1.0
    page = address_of(board.rows.counts)
    assert code(lambda: libc.madvise(page, 65536, MADV_REMOVE)) == 0
    assert row.floats[DEADLINE] == 0.0


@as_root
def test_another_user_cannot_reopen_a_file_by_its_descriptor() -> None:
    board = Scoreboard()
    kept = [f"/proc/self/fd/{path.split('/')[-1]}" for path in descriptors_of(board)]

    def life() -> int:
        os.setresgid(OTHER, OTHER, OTHER)
        os.setresuid(OTHER, OTHER, OTHER)
        for path in kept:
            for access in (os.O_RDWR, os.O_RDONLY):
                with pytest.raises(PermissionError):
                    os.open(path, access)
        return 0

    assert len(kept) == 2
    assert code(life) == 0
    board.close_copy()


def test_a_mapping_without_inheritance_is_missing_in_a_child() -> None:
    fd = shared_memory.create_sealed_file("test", 4096)
    own = shared_memory.map_writable(fd, 4096, inherited=False)
    shared = shared_memory.map_writable(fd, 4096, inherited=True)
    own[0] = 1

    def life() -> int:
        shared[1] = 2
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        return own[0]

    assert code(life) == "SIGSEGV"
    assert (own[0], own[1]) == (1, 2)
    os.close(fd)
