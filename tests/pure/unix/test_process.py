"""Child processes: forked, signalled, watched and reaped."""

import atexit
import ctypes
import errno
import os
import signal

import pytest

from prefork.errors import MachineError
from prefork.unix.poller import Poller
from prefork.unix.process import (
    ExitStatus,
    reap_adopted_orphans,
    set_parent_death_signal,
    signal_name,
    unblock_signals,
)
from tests.pure.children import fork_child, no_free_descriptors

PR_SET_CHILD_SUBREAPER = 36


def test_a_child_exits_with_the_code_that_its_function_returns() -> None:
    assert fork_child(lambda: 7).reap() == ExitStatus(7, None)


@pytest.mark.parametrize(
    ("leave", "code"), [(SystemExit(3), 3), (SystemExit(), 0), (SystemExit("why"), 1)]
)
def test_sys_exit_in_a_child_ends_it_with_its_code(leave: SystemExit, code: int) -> None:
    def life() -> int:
        raise leave

    assert fork_child(life).reap() == ExitStatus(code, None)


def test_an_error_in_a_child_ends_it_with_its_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    def life() -> int:
        raise RuntimeError("broken")

    assert fork_child(life).reap() == ExitStatus(101, None)
    assert "RuntimeError: broken" in capfd.readouterr().err


def test_exit_handlers_of_the_app_run_in_the_child(capfd: pytest.CaptureFixture[str]) -> None:
    def life() -> int:
        atexit.register(lambda: os.write(1, b"goodbye"))
        return 0

    assert fork_child(life).reap() == ExitStatus(0, None)
    assert capfd.readouterr().out == "goodbye"


def test_a_child_that_was_killed_names_the_signal() -> None:
    child = fork_child(lambda: signal.pause() or 0)  # type: ignore[func-returns-value]
    child.send_signal(signal.SIGKILL)
    assert child.reap() == ExitStatus(None, "SIGKILL")


def test_a_signal_that_comes_before_the_child_listens_waits_for_it() -> None:
    reader, writer = os.pipe()

    def life() -> int:
        os.close(writer)
        os.read(reader, 1)  # until the signal was sent
        signal.signal(signal.SIGTERM, lambda *_: os._exit(9))
        unblock_signals()
        return 1

    child = fork_child(life)
    os.close(reader)
    child.send_signal(signal.SIGTERM)
    os.close(writer)
    assert child.reap() == ExitStatus(9, None)


def test_a_handler_of_the_parent_never_runs_in_the_child() -> None:
    ran = []
    before = signal.signal(signal.SIGUSR2, lambda *_: ran.append(1))
    try:

        def life() -> int:
            os.kill(os.getpid(), signal.SIGUSR2)
            unblock_signals()
            return 1

        assert fork_child(life).reap() == ExitStatus(None, "SIGUSR2")
        os.kill(os.getpid(), signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert ran == [1], "but it still does in the parent"


def test_the_parents_mask_is_what_it_was_after_a_fork() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    child = fork_child(lambda: 0)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    child.reap()


def test_a_signal_to_a_child_that_is_dead_already_is_no_error() -> None:
    child = fork_child(lambda: 0)
    os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED | os.WNOWAIT)
    child.send_signal(signal.SIGTERM)
    assert child.reap() == ExitStatus(0, None)


def test_the_pidfd_is_readable_once_the_child_is_dead_and_closed_once_it_was_reaped() -> None:
    child = fork_child(lambda: 0)
    poller = Poller()
    poller.add_reader(child.pidfd, lambda: None)
    assert len(list(poller.wait(20))) == 1
    poller.remove(child.pidfd)
    poller.close_copy()
    child.reap()
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(child.pidfd)


def test_a_child_without_a_pidfd_is_killed_and_counts_as_a_failed_fork() -> None:
    with no_free_descriptors(), pytest.raises(MachineError, match="Too many open files"):
        fork_child(lambda: signal.pause() or 0)  # type: ignore[func-returns-value]
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_real_time_signal_has_a_number_for_a_name() -> None:
    assert signal_name(signal.SIGTERM) == "SIGTERM"
    assert signal_name(40) == "signal 40"


def test_a_child_dies_with_its_parent() -> None:
    reader, writer = os.pipe()

    def parent_life() -> int:
        me = os.getpid()

        def child_life() -> int:
            alive = set_parent_death_signal(signal.SIGKILL, me)
            os.write(writer, b"1" if alive else b"0")
            signal.pause()
            return 0

        fork_child(child_life)
        os.close(writer)
        return int(os.read(reader, 1) != b"1")  # the child has said its wish

    parent = fork_child(parent_life)
    os.close(writer)
    assert parent.reap() == ExitStatus(0, None)
    # The end of file: no process has the other end any more, so the grandchild has died, too.
    assert os.read(reader, 10) == b""
    os.close(reader)


def test_set_parent_death_signal_tells_that_the_parent_is_dead_already() -> None:
    child = fork_child(lambda: int(set_parent_death_signal(0, os.getpid())))
    assert child.reap() == ExitStatus(0, None)


def test_adopted_orphans_are_reaped_and_own_children_are_left_to_their_pidfd() -> None:
    def life() -> int:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        reader, writer = os.pipe()

        def orphan_maker() -> int:
            fork_child(lambda: 0)
            return 0

        maker = fork_child(orphan_maker)
        os.close(writer)
        if maker.reap() != ExitStatus(0, None) or os.read(reader, 1):
            return 1  # the end of the pipe says that the orphan is dead too
        reap_adopted_orphans(lambda _pid: False)
        ours = fork_child(lambda: 5)
        os.waitid(os.P_PIDFD, ours.pidfd, os.WEXITED | os.WNOWAIT)
        reap_adopted_orphans(lambda pid: pid == ours.pid)
        return 0 if ours.reap() == ExitStatus(5, None) and none_left() else 2

    def none_left() -> bool:
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        return False

    assert fork_child(life).reap() == ExitStatus(0, None)
