"""Read a whole store file, in a process of its own: a damaged file may crash the process.

LMDB maps the file into memory and trusts it. A damaged page number leads outside of the map, and
the process dies by SIGSEGV or SIGBUS. So a child reads every entry first.

Design
------
- **The child is forked and executes no program.** A worker of another user than the master's may be
  unable to execute the Python that it runs, whose folder is root's: with a Python below /root,
  ``sys.executable`` was EACCES for such a worker, and ``/proc/self/exe`` started, but found no
  lmdb. Where it works it takes 48 ms, and a fork 3.5 ms. A helper that the master forks before the
  app has threads would be one more process for each worker, for a check that is made seldom.
- **The child takes no lock that another thread may hold.** Python 3.12 warns of a fork beside
  threads, because nothing in the child would release such a lock. This child logs and prints
  nothing, imports nothing, opens an LMDB environment of its own, and ends by ``os._exit``; glibc
  keeps malloc usable over a fork. If it hangs all the same, it is killed after ``TIMEOUT``. The
  warning is not filtered: Python's default filters leave it out, with ``-W error`` it raises
  nothing (3.12.1, 3.13.0), and a filter during the fork would hold for all other threads, too.
- **The child answers on a pipe.** Its exit code may be lost: an app may reap all children of its
  process.
"""

import faulthandler
import os
import resource
import select
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import lmdb

from prefork.store.entry_format import ENTRY, USE
from prefork.store.open_backends import fork_for_check

MAP_SIZE = 32 << 30
"""Address space that a store reserves, in bytes. It costs no memory."""
TIMEOUT = 60.0
"""Seconds after which the check counts as failed."""
_FINE = b"fine"


def find_damage(path: str) -> str:
    """Have a child read the whole file; return what is wrong with it, or an empty text."""
    return _answer_of_child(lambda: read_all(path))


def _answer_of_child(read: Callable[[], None]) -> str:
    reader, writer = os.pipe()
    try:
        pid = fork_for_check()
        if pid == 0:
            _read_in_child(read, writer)
    finally:
        os.close(writer)
    answer = b""
    try:
        answer = _read_answer(reader)
    finally:
        os.close(reader)
        with suppress(ProcessLookupError, ChildProcessError):
            if answer != _FINE:
                os.kill(pid, signal.SIGKILL)  # it may hang
            os.waitpid(pid, 0)
    if answer == _FINE:
        return ""
    return answer.decode("utf-8", "replace") or "a process that read it crashed, or hung"


def _read_answer(reader: int) -> bytes:
    answer = b""
    while select.select([reader], [], [], TIMEOUT)[0] and (data := os.read(reader, 4096)):
        answer += data
    return answer


def _read_in_child(read: Callable[[], None], writer: int) -> None:
    """Read the file, write the answer, and end the process."""
    try:
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        answer = _FINE
        try:
            read()
        except Exception as error:
            answer = f"{type(error).__name__}: {error}".encode()
        os.write(writer, answer)
    finally:
        os._exit(0)


def read_all(path: str) -> None:
    """Read all entries of the file. Raises lmdb.Error and ValueError."""
    environment = lmdb.open(path, subdir=False, create=False, readonly=True, map_size=MAP_SIZE)
    kinds: Counter[bytes] = Counter()
    with environment.begin() as transaction:
        for key, _value in transaction.cursor():
            kinds[bytes(key[:1])] += 1
        if kinds.total() != transaction.stat()["entries"]:
            raise ValueError("it has other entries than it counts")
    if kinds[ENTRY] != kinds[USE]:
        raise ValueError("the index of use does not fit the entries")
