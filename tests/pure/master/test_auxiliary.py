"""Auxiliary processes: read, reaped and replaced."""

import atexit
import gc
import os
import signal
from collections.abc import Callable, Iterator
from time import monotonic

import pytest

from prefork.master import auxiliary
from prefork.master.auxiliary import AuxiliaryProcess
from prefork.unix.descriptor_channel import DescriptorChannel, open_channel_pair
from prefork.unix.poller import Poller
from tests.pure.children import no_free_descriptors


class Owner:
    """The owner of processes that run ``live(line)``; it collects their messages and deaths."""

    def __init__(self, live: Callable[[DescriptorChannel], int]) -> None:
        self._live = live
        self.told: list[str] = []
        self.waiter = Poller()
        self.process: AuxiliaryProcess[DescriptorChannel] = AuxiliaryProcess(
            "sampler", self.waiter, 0.3, self._hear, self.told.append, self.told.append
        )

    def _hear(self, line: DescriptorChannel) -> None:
        self.told += [message.decode() for message, _ in line.receive() if message]

    def spawn(self) -> None:
        ours, theirs = open_channel_pair()

        def live() -> int:
            atexit._clear()
            return self._live(theirs)

        self.process.spawn(ours, theirs, live)

    def wait_told(self, text: str) -> None:
        while text not in self.told:
            reacts = list(self.waiter.wait(60.0))
            assert reacts, f"waited for {text!r}; told: {self.told}"
            for react in reacts:
                react()


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> Iterator[Owner]:
    """The owner of processes that send "here" and wait to be killed; all of them die young."""
    monkeypatch.setattr(auxiliary, "MIN_LIFETIME", 3600.0)

    def live(line: DescriptorChannel) -> int:
        line.send(b"here")
        return signal.pause() or 0  # type: ignore[func-returns-value]

    owner = Owner(live)
    yield owner
    if owner.process:
        owner.process.kill()
        owner.process.detach().reap()


def test_last_messages_are_read_before_the_death() -> None:
    def live(line: DescriptorChannel) -> int:
        line.send(b"trouble")
        return 3

    owner = Owner(live)
    owner.spawn()
    assert owner.process._child is not None
    assert owner.process._child.wait_for_exit(60)
    heard, died = owner.waiter.wait(60.0)
    died()
    heard()
    assert owner.told == ["trouble", "the sampler died (exit code 3)"]
    assert not owner.process
    assert owner.process.channel is None


def test_each_death_of_a_young_process_lengthens_the_pause(owner: Owner) -> None:
    pauses = []
    for _ in range(4):
        owner.process.ensure_running(owner.spawn)
        owner.process.kill()
        owner.told.clear()
        owner.wait_told("the sampler died (SIGKILL)")
        pauses.append(owner.process._pause)
    assert pauses == [0.1, 0.2, 0.3, 0.3]


def test_the_pause_in_the_process_does_not_count_as_lifetime() -> None:
    def live(_line: DescriptorChannel) -> int:
        owner.process.sleep_pause()
        return 3

    owner = Owner(live)
    owner.process._pause = 1.2
    owner.spawn()
    owner.wait_told("the sampler died (exit code 3)")
    assert owner.process._pause > 0
    owner.waiter.close_copy()


def test_the_pause_may_pass_in_the_master(owner: Owner) -> None:
    owner.process.lengthen_pause()
    before = monotonic()
    owner.process.delay_next()
    assert owner.process.due_at >= before + 0.1
    owner.process.due_at = float("inf")
    owner.process.ensure_running(owner.spawn)
    assert not owner.process
    owner.process.reset_pause()
    owner.process.ensure_running(owner.spawn)
    assert owner.process


def test_the_masters_signals_do_not_end_it(owner: Owner) -> None:
    owner.spawn()
    owner.wait_told("here")
    child = owner.process.detach()
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        child.send_signal(signum)
    child.send_signal(signal.SIGKILL)
    assert child.reap().signal == "SIGKILL"


def test_a_death_that_was_seen_before_a_succession_is_not_the_successors(owner: Owner) -> None:
    owner.spawn()
    owner.wait_told("here")
    owner.process.kill()
    assert owner.process._child is not None
    assert owner.process._child.wait_for_exit(60)
    seen = list(owner.waiter.wait(60.0))
    assert len(seen) == 2, "its channel and its pidfd"
    owner.process.detach().reap()
    owner.spawn()
    for react in seen:
        react()
    owner.told.clear()
    owner.wait_told("here")
    assert owner.told == ["here"]


def test_a_fork_that_the_machine_refuses_is_tried_again_later(owner: Owner) -> None:
    with no_free_descriptors():
        owner.process.ensure_running(owner.spawn)
    (why,) = owner.told
    assert why.startswith("cannot open a socket pair")
    owner.process.ensure_running(owner.spawn)
    assert not owner.process


def test_no_descriptor_is_left_in_the_master(owner: Owner) -> None:
    gc.collect()  # so that descriptors of earlier tests are not counted
    before = os.listdir("/proc/self/fd")
    owner.spawn()
    owner.wait_told("here")
    assert len(os.listdir("/proc/self/fd")) == len(before) + 2
    owner.process.kill()
    owner.wait_told("the sampler died (SIGKILL)")
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([b"nonsense"], "ValueError: nonsense"),
        ([b"raise"], "ZeroDivisionError: division by zero"),
        ([b"x" * 5000], "ValueError: a message of more than 4096 bytes"),
    ],
)
def test_a_message_that_raises_in_the_master_ends_its_sender(
    messages: list[bytes], why: str
) -> None:
    def live(line: DescriptorChannel) -> int:
        line._end.setblocking(True)
        for message in messages * 100:
            line._end.send(message)
        return signal.pause() or 0  # type: ignore[func-returns-value]

    def hear(line: DescriptorChannel) -> None:
        for message, _ in line.receive():
            if message == b"raise":
                1 / 0  # noqa: B018
            raise ValueError(message.decode())

    owner = Owner(live)
    owner.process._read_message = hear
    owner.spawn()
    owner.wait_told(f"the sampler sent an invalid message and was killed ({why})")
    assert len(owner.told) == 1, "it is told once"
    assert not owner.process


def test_a_process_that_closed_its_channel_and_lives_on_is_killed() -> None:
    def live(line: DescriptorChannel) -> int:
        line.close()
        return signal.pause() or 0  # type: ignore[func-returns-value]

    owner = Owner(live)
    owner.spawn()

    def hear(line: DescriptorChannel) -> None:
        for message, _ in line.receive():
            if not message:
                raise EOFError

    owner.process._read_message = hear
    owner.wait_told("the sampler died (SIGKILL)")
