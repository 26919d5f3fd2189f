"""The scaler in a simulated service: it follows the load and does not flap."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tests.pure.pool.queueing import App, flapping, sawtooth, service, spike, steady

HOUR = 3600.0
MB = 2**20


def test_a_spike_has_all_workers_within_five_seconds_and_all_but_one_leave_after_it() -> None:
    run = service(spike(2, 75, 10.05, 60)).run(600)
    assert run.ready_after(10.05, 8) < 5
    assert run.target == 1
    assert min(run.steps()) == -1
    assert run.arrived - run.served == pytest.approx(run.backlog, abs=1e-6), "nothing was lost"


@pytest.mark.parametrize("hidden", [False, True])
def test_apps_without_a_busy_share_are_scaled_by_their_queue(hidden: bool) -> None:
    run = service(spike(2, 75, 10.05, 60), hidden=hidden).run(600)
    assert run.ready_after(10.05, 8) < 5
    assert run.target == 1


@pytest.mark.parametrize("rate", [2, 5, 8, 10, 20, 30, 40, 60])
def test_a_steady_load_settles(rate: float) -> None:
    run = service(steady(rate)).run(HOUR)
    late = [at for at, _ in run.changes if at > 600]
    assert not late
    needed = rate * 0.1
    assert needed < run.target or run.target == 8
    assert run.backlog < 1 or run.target == 8


@pytest.mark.parametrize("period", [10, 20, 30, 60])
def test_a_fast_sawtooth_is_not_followed(period: float) -> None:
    run = service(sawtooth(2, 70, period)).run(HOUR)
    assert len(run.changes) <= 8


@pytest.mark.parametrize("period", [90, 120, 300, 600])
def test_a_slow_sawtooth_is_followed_within_bounds(period: float) -> None:
    """The number of workers goes up and down once in each period at most."""
    run = service(sawtooth(2, 70, period)).run(HOUR)
    assert len(run.changes) <= 2 + 7 * HOUR / period
    assert min(run.steps()) == -1


@pytest.mark.parametrize("half", [5, 10, 20, 30])
def test_a_load_that_flaps_is_not_followed(half: float) -> None:
    run = service(flapping(2, 70, half)).run(HOUR)
    assert len(run.changes) <= 3


@pytest.mark.parametrize("half", [40, 60, 100])
def test_a_load_that_flaps_slowly_is_followed_less_and_less(half: float) -> None:
    """Each step down that is taken back lengthens the calm time before the next one."""
    run = service(flapping(2, 70, half)).run(HOUR)
    assert len(run.changes) <= 20
    assert run.scaler.calm_seconds > run.scaler.bounds.scale_down_after


@pytest.mark.parametrize("cores", [1, 2, 4, 6])
@pytest.mark.parametrize("hidden", [False, True])
def test_an_app_that_computes_gets_as_many_workers_as_cores(cores: int, hidden: bool) -> None:
    run = service(steady(300), App(cpu=0.05, sleep=0.0), 16, cores=cores, hidden=hidden).run(100)
    assert run.target == cores
    assert "the CPU is busy" in run.vetoes()


@pytest.mark.parametrize(("cpu", "sleep", "best"), [(0.03, 0.07, 6.7), (0.01, 0.09, 20.0)])
def test_an_app_that_sleeps_gets_as_many_as_it_takes_to_use_the_cores(
    cpu: float, sleep: float, best: float
) -> None:
    run = service(steady(1000), App(cpu, sleep), 60, cores=2).run(100)
    assert 0.9 * best <= run.target <= 1.3 * best
    assert "the CPU is busy" in run.vetoes()


def test_neighbours_that_fill_the_cpu_do_not_stop_an_app_that_sleeps() -> None:
    assert service(steady(75), others=1.99).run(60).target == 8


def test_memory_ends_the_growth() -> None:
    run = service(steady(75), App(size=50 * MB), memory=300 * MB).run(60)
    assert run.target == 5
    assert "memory is short" in run.vetoes()


def test_slow_boots_overshoot_at_most_to_the_limit_and_come_back() -> None:
    run = service(spike(2, 12, 10, HOUR), App(boot=10.0)).run(HOUR)
    assert run.target <= 5
    assert len(run.changes) <= 10


@settings(deadline=None, max_examples=40)
@given(
    low=st.floats(0, 30),
    high=st.floats(0, 100),
    period=st.floats(5, 600),
    boot=st.sampled_from([0.1, 1.0, 5.0]),
    most=st.sampled_from([2, 4, 8]),
    shape=st.sampled_from([sawtooth, flapping]),
)
def test_no_load_makes_the_number_of_workers_flap(
    low: float, high: float, period: float, boot: float, most: int, shape
) -> None:
    """The calm time bounds the number of steps down, and all requests are served."""
    run = service(shape(low, high, period), App(boot=boot), most).run(1800)
    downs = [step for step in run.steps() if step < 0]
    assert set(downs) <= {-1}
    assert len(downs) <= 1800 / run.scaler.bounds.scale_down_after
    assert run.arrived - run.served == pytest.approx(run.backlog, abs=1e-6)
