"""Stores of tests: embedded ones in a folder, and one in the memory of this process."""

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prefork.store.embedded import EmbeddedBackend
from prefork.store.store_api import SharedStore
from prefork.unix.store_place import StorePlace


def place_in(
    folder: Path,
    size: int = 8 << 20,
    report: Callable[[str], None] | None = None,
    note_drops: Callable[[int], None] | None = None,
) -> StorePlace:
    """Return the place of an embedded store in a folder."""
    callbacks = {"report": report, "note_drops": note_drops}
    given = {name: each for name, each in callbacks.items() if each is not None}
    return StorePlace(str(folder), size, "web", str(folder), **given)


def embedded_in(folder: Path, timeout: float = 10.0, size: int = 8 << 20) -> SharedStore:
    """Return an embedded store in a folder."""
    return SharedStore(EmbeddedBackend(place_in(folder, size)), timeout=timeout)


def in_child(act: Callable[[], None]) -> int:
    """Fork a child that calls ``act``; return its exit code, or minus the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            act()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextmanager
def child(act: Callable[[int], None]) -> Iterator[int]:
    """Run ``act`` with the write end of a pipe in a child, and wait until it has written a byte;
    yield its pid. It is killed at the end."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            act(writer)
        finally:
            os._exit(1)
    os.close(writer)
    try:
        assert os.read(reader, 1)
        yield pid
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def write_for_ever(folder: Path, writer: int) -> None:
    store = embedded_in(folder, 60)
    store.set("key", b"0")
    os.write(writer, b".")
    while True:
        store.incr("key")
        store.set(os.urandom(2), os.urandom(300), 60)


def fill(folder: Path) -> None:
    backend = EmbeddedBackend(place_in(folder))
    store = SharedStore(backend)
    store.set_many({f"key{n}": b"x" * 100 for n in range(1000)})
    store.set("short", b"1", 0.001)
    backend.close()
