"""The verdict on the store: taken in a thread, at most once a second, and never waited for long."""

import asyncio
import logging
import threading
from collections.abc import Callable

import pytest

from prefork.errors import StoreUnavailable
from prefork.observe.status import store_health
from prefork.observe.status.store_health import NO_ANSWER_YET, StoreHealth

LOG = logging.getLogger("prefork.test")
PATIENCE = 60.0


def judge(
    check: Callable[[], None], patience: float = PATIENCE, silent_after: float = PATIENCE
) -> str | None:
    """Return the verdict after one check."""

    async def run() -> str | None:
        loop = asyncio.get_running_loop()
        health = StoreHealth(check, loop, LOG, patience, silent_after)
        assert health.problem() == NO_ANSWER_YET
        await health.refresh()
        return health.problem()

    return asyncio.run(run())


def test_a_store_that_can_be_written_is_available() -> None:
    assert judge(lambda: None) is None


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (StoreUnavailable("no\x1b[31m room"), "no\\x1b[31m room"),
        (RecursionError("deep"), "RecursionError: deep"),
    ],
)
def test_whatever_a_check_raises_is_the_reason(
    error: Exception, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    def check() -> None:
        raise error

    assert judge(check) == text
    assert "/readyz says 503" in caplog.text


def test_a_check_that_hangs_is_not_waited_for_and_no_second_one_begins() -> None:
    goes_on = threading.Event()
    checks: list[int] = []

    def check() -> None:
        checks.append(1)
        goes_on.wait(PATIENCE)

    async def run() -> list[str | None]:
        health = StoreHealth(check, asyncio.get_running_loop(), LOG, 0.01, 0.0)
        seen = []
        for _ in "123":
            await health.refresh()
            seen.append(health.problem())
        assert health.is_checking
        goes_on.set()
        while health.is_checking:
            await asyncio.sleep(0.001)
        return [*seen, health.problem()]

    *hung, last = asyncio.run(run())
    assert all("it has not answered for" in str(problem) for problem in hung)
    assert (last, checks) == (None, [1])


def test_the_last_verdict_counts_while_a_check_runs() -> None:
    goes_on = threading.Event()
    goes_on.set()

    def check() -> None:
        goes_on.wait(PATIENCE)

    async def run() -> None:
        health = StoreHealth(check, asyncio.get_running_loop(), LOG)
        await health.refresh()
        goes_on.clear()
        health._checked_at = float("-inf")  # as a second later
        health._patience = 0.01
        await health.refresh()
        assert health.is_checking
        assert health.problem() is None
        goes_on.set()
        while health.is_checking:
            await asyncio.sleep(0.001)

    asyncio.run(run())


def test_a_verdict_is_used_for_a_second_and_a_change_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    results = iter([None, StoreUnavailable("gone"), StoreUnavailable("gone"), None])

    def check() -> None:
        if error := next(results):
            raise error

    async def run() -> list[str | None]:
        health = StoreHealth(check, asyncio.get_running_loop(), LOG, PATIENCE)
        seen = []
        for _ in range(4):
            await health.refresh()
            await health.refresh()  # at once: no other check
            seen.append(health.problem())
            health._checked_at = float("-inf")  # as a second later
        return seen

    monkeypatch.setattr(store_health, "MAX_AGE", PATIENCE)
    assert asyncio.run(run()) == [None, "gone", "gone", None]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
