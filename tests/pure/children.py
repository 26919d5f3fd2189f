"""Helpers: child processes of the test itself, and a process without free descriptors."""

import atexit
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from prefork.unix.process import Child, fork

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")


def fork_child(life: Callable[[], int]) -> Child:
    """Fork a child that runs ``life`` without the exit handlers of the test runner."""

    def alone() -> int:
        atexit._clear()
        return life()

    return fork(alone)


@contextmanager
def no_free_descriptors() -> Iterator[None]:
    """Make the kernel refuse every new descriptor (EMFILE) in this block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
