"""The hypothesis profile of the pure tests: few examples, no deadline, no example database. And the
end of the stores of each test."""

import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("pure", max_examples=60, deadline=None, database=None)
settings.load_profile("pure")


@pytest.fixture(autouse=True)
def end_stores() -> Iterator[None]:
    """Let no store of a test open its file again for a snapshot while later tests run, and none
    stay open: a fork of a later test would close it."""
    yield
    opened = sys.modules.get("prefork.store.open_backends")
    for backend in opened._backends if opened is not None else ():
        backend.snapshots.end()
        if backend._environment is not None and backend.prepare_fork():
            backend.resume_after_fork()
