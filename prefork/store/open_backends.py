"""The embedded stores of this process: closed before it forks, and at its end.

Design
------
- **The fork of a damage check closes nothing** (``fork_for_check``). Its thread holds the lock of
  the store that it opens. If it waited for the locks of all others, as each fork does, two threads
  that open two stores would wait for each other, and then all threads for them.
- **No fork waits for a thread that opens a store.** That thread may fork for its check, which waits
  for the locks that other modules hold around each fork, such as that of concurrent.futures: the
  thread that forks may hold them already. The store is closed while it is opened, so the child
  finds nothing in use.
"""

import os
from _thread import RLock, get_ident
from collections.abc import Callable
from typing import Protocol

from prefork.unix.store_place import call_at_end

PAUSE = 0.01
"""Seconds between two looks of a thread that forks at one that opens the store."""


class ForkingBackend(Protocol):
    """A store whose files a fork must not find open."""

    def prepare_fork(self) -> bool:
        """Close the environment before this process forks; no thread uses it until then. Return
        False, and do nothing, while a thread opens it: see Design."""

    def resume_after_fork(self) -> None:
        """Let the threads of the parent go on."""

    def reset_in_child(self) -> None:
        """Make this the store of the child, which opens the file by itself."""

    def close(self) -> None:
        """Close the store at the end of this process."""


_backends: list[ForkingBackend] = []
"""All embedded stores of this process."""
_prepared: dict[int, list[ForkingBackend]] = {}
"""Those that a fork has prepared, by its thread; another thread may open one more meanwhile."""
_left_open: list[object] = []
"""Environments of the parent."""
_checking: set[int] = set()
"""The threads that fork for a damage check."""


def register_backend(backend: ForkingBackend) -> None:
    """Have a store closed before each fork and at the end of a worker."""
    _backends.append(backend)


def fork_for_check() -> int:
    """Fork as os.fork does, for a child that uses no store of this process."""
    _checking.add(get_ident())
    try:
        return os.fork()
    finally:
        _checking.discard(get_ident())


def acquire_for_fork(use: RLock, is_opening: Callable[[], bool]) -> bool:
    """Acquire the lock of a store before a fork; return False while a thread opens that store."""
    while not use.acquire(timeout=PAUSE):
        if is_opening():
            return False
    return True


def leave_to_parent(environment: object) -> None:
    """Keep an environment of the parent in a child, which neither uses nor closes it."""
    _left_open.append(environment)


def _prepare_fork() -> None:
    backends = [] if get_ident() in _checking else list(_backends)
    _prepared[get_ident()] = [each for each in backends if each.prepare_fork()]


def _resume_after_fork() -> None:
    for backend in _prepared.pop(get_ident()):
        backend.resume_after_fork()


def _reset_in_child() -> None:
    for backend in _backends:
        backend.reset_in_child()


def _close_all() -> None:
    for backend in _backends:
        backend.close()


os.register_at_fork(
    before=_prepare_fork, after_in_parent=_resume_after_fork, after_in_child=_reset_in_child
)
call_at_end(_close_all)
