"""Children of the test itself, and a process that may open nothing more."""

import atexit
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from prefork.unix.process import Child, fork

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")


def fork_child(life: Callable[[], int]) -> Child:
    """A child that runs ``life`` and nothing that the test runner wants to do at its own exit."""

    def alone() -> int:
        atexit._clear()
        return life()

    return fork(alone)


@contextmanager
def no_free_descriptors() -> Iterator[None]:
    """Every new descriptor is refused (EMFILE)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
