"""``prefork why``: deaths that are alike are printed once, and all fit into one answer."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.cli.view.death_report import Failure, group_deaths, print_deaths
from prefork.wire.control import MAX_LINE_SIZE, encode_result, fit_deaths


def death(at: float = 0.0, **also: Any) -> dict[str, Any]:
    return {
        "at": at,
        "slot": 0,
        "pid": 7,
        "generation": 1,
        "cause": "boot failure",
        "detail": "exit code 102",
        "killed": False,
        "reason": "",
        "why": "",
        **also,
    }


def traceback(pid: int) -> str:
    return (
        f"web:app: importing web failed\n  in <object at 0x{pid:x}> of pid {pid}\nLookupError: no"
    )


def test_a_crash_loop_is_printed_in_a_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_deaths(
        "web", [death(n, pid=n, slot=n % 2, reason=traceback(n)) for n in range(1, 101)], Failure()
    )
    headline, *reason = capsys.readouterr().out.splitlines()
    assert "100 times since " in headline
    assert "workers 0, 1 (gen 1, the last was pid 100): boot failure (exit code 102)" in headline
    assert reason == traceback(100).splitlines()


def test_a_single_death_is_printed_with_its_signal(capsys: pytest.CaptureFixture[str]) -> None:
    print_deaths(
        "web", [death(cause="killed by a signal", detail="SIGKILL", killed=True)], Failure()
    )
    output = capsys.readouterr().out
    assert output.endswith("worker 0 (pid 7, gen 1): killed by a signal (SIGKILL, killed)\n")


def test_the_group_with_the_latest_death_comes_first_whatever_the_generation() -> None:
    deaths = [
        death(1, reason="a"),
        death(2, reason="b"),
        death(3, reason="a", generation=2),
        death(4, reason="a", detail="exit code 1"),
        death(5, reason="a"),
    ]
    found = [[each["at"] for each in group.deaths] for group in group_deaths(deaths)]
    assert found == [[1, 3, 5], [4], [2]]


def test_times_in_the_output_make_no_new_death(capsys: pytest.CaptureFixture[str]) -> None:
    said = "2026-11-28 22:{0:02d}:01,123 ERROR no route; see 2026-11-28T22_{0:02d}_01_5Z.log"
    print_deaths(
        "web", [death(n, generation=n, reason=said.format(n)) for n in range(1, 9)], Failure()
    )
    headline, reason = capsys.readouterr().out.splitlines()
    assert "8 times since" in headline
    assert "(gen 1 to 8, the last was pid 7)" in headline
    assert reason == said.format(8)


def test_the_end_of_a_master_is_told_unless_a_death_tells_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reason = "node ended before it was ready; its last output:\n  Error: no"
    ended = "worker 0: node ended before it was ready; its last output:"
    print_deaths("web", [death(reason=reason)], Failure(), Failure(ended))
    assert "the master ended" not in capsys.readouterr().out
    print_deaths("web", [death()], Failure(), Failure("did not start: the port is in use"))
    assert capsys.readouterr().out.startswith("the master ended: did not start: the port is in use")


def test_recycled_workers_are_grouped_in_spite_of_different_amounts() -> None:
    deaths = [death(n, cause="recycled", why=f"{512.3 + n} MB > --max-memory") for n in range(9)]
    (group,) = group_deaths(deaths)
    assert group.headline().endswith(": recycled: 520.3 MB > --max-memory (exit code 102)")


@given(st.lists(st.builds(death, st.floats(0, 9), reason=st.sampled_from("abc"))))
def test_no_death_is_lost(deaths: list[dict[str, Any]]) -> None:
    found = [each for group in group_deaths(deaths) for each in group.deaths]
    assert sorted(map(id, found)) == sorted(map(id, deaths))


def test_a_failed_reload_is_printed_unless_a_death_explains_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_deaths("web", [death(reason="it broke")], Failure("worker 0: it broke"))
    assert "the last reload failed" not in capsys.readouterr().out
    print_deaths("web", [], Failure("workers: expected a number"))
    assert capsys.readouterr().out == "the last reload failed: workers: expected a number\n"
    print_deaths("web", [], Failure())
    assert capsys.readouterr().out == "web: no worker has died\n"


def test_a_failure_is_printed_with_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    print_deaths(
        "web", [], Failure("workers: expected a number", 1.0), Failure("did not start", 2.0)
    )
    when = [time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) for at in (1.0, 2.0)]
    assert capsys.readouterr().out.splitlines() == [
        f"{when[1]} the master ended: did not start",
        f"{when[0]} the last reload failed: workers: expected a number",
    ]


def test_a_worker_that_was_killed_is_printed_with_the_limit_that_it_exceeded() -> None:
    ends = {"cause": "reload", "detail": "SIGKILL", "killed": True}
    groups = group_deaths([death(1, **ends, exceeded="timeout"), death(2, **ends)])
    told = [group.headline().partition("): ")[2] for group in groups]
    assert told == ["reload (SIGKILL, killed)", "reload (SIGKILL, killed by --timeout)"]


def test_a_hundred_long_reasons_fit_into_one_answer() -> None:
    """The client refuses a line that is longer than MAX_LINE_SIZE."""
    long = "\U0001f600" * 20_000
    deaths = [death(n, reason=f"first\n{long}\nlast {n}\n") for n in range(120)]
    fitted = fit_deaths(reversed(deaths))
    assert len(encode_result({"deaths": fitted})) < MAX_LINE_SIZE
    assert [each["at"] for each in fitted] == [each["at"] for each in deaths]
    assert fitted[-1] == deaths[-1]
    assert fitted[0]["reason"] == "last 0"
    short = [death(n, reason="short") for n in range(120)]
    assert fit_deaths(short) == short
    assert json.loads(encode_result({"deaths": fitted}))["result"]["deaths"] == fitted
