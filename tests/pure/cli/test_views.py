"""The output of list, show and monit at several widths, for described apps."""

import io
import time
from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console, RenderableType

from prefork.cli.registry.windowed_stats import WINDOW_SECONDS, WindowedStats
from prefork.cli.view import units
from prefork.cli.view.app_columns import APP_COLUMNS, WORKER_COLUMNS
from prefork.cli.view.app_table import render_app_list
from prefork.cli.view.columns import Column, fit_columns
from prefork.cli.view.details import list_flags, render_app
from prefork.cli.view.figure_lines import figure_lines
from prefork.cli.view.monit_screen import ScreenState, draw
from prefork.observe.log_records import Record
from prefork.wire import histogram

FIGURES: dict[str, Any] = {
    "requests": 12_345,
    "in_flight": 3,
    "rate": 1234.5,
    "p50": 0.0012,
    "p99": 0.0456,
    "answered": {"1xx": 0, "2xx": 12_000, "3xx": 0, "4xx": 345, "5xx": 0},
    "unanswered": 7,
    "sent": 5 * 2**20,
    "oldest": 1.25,
    "accepted": 99,
    "accept_wait": 0.0001,
    "connections": 5,
    "lag": 0.002,
}


def worker(slot: int, **news: Any) -> dict[str, Any]:
    described = {"slot": slot, "pid": 100 + slot, "generation": 2, "state": "ready", "restarts": 0}
    used = {"cpu": 12.0, "memory": 30 * 2**20, "since": time.time() - 90, "says": ""}
    return {**described, **used, **FIGURES, **news}


def app(name: str = "web", workers: int = 2, **news: Any) -> dict[str, Any]:
    described = {
        "name": name,
        "namespace": "",
        "state": "running",
        "answers": True,
        "pid": 99,
        "started": time.time() - 3700,
        "ready": workers,
        "target": workers,
        "generation": 2,
        "restarts": 1,
        "listening": ["127.0.0.1:8000"],
        "settings": {"bind": ["127.0.0.1:8000", "[::1]:8000"]},
        "figures": FIGURES,
        "cpu": 25.0,
        "memory": 2**30,
        "workers": [worker(slot) for slot in range(workers)],
    }
    return {**described, **news}


def lines(drawn: RenderableType, width: int, height: int = 100) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    with console.capture() as captured:
        console.print(drawn, height=height if height < 100 else None)
    return [line.rstrip() for line in captured.get().splitlines()]


@pytest.mark.parametrize("width", [1, 20, 40, 60, 80, 120, 200, 10_000])
def test_no_line_is_longer_than_the_terminal_is_wide(width: int) -> None:
    for drawn in (render_app_list([app(), app("a" * 30)], width), render_app(app(), width)):
        assert max(map(len, lines(drawn, width))) <= width


def test_a_narrow_list_has_the_most_important_columns() -> None:
    def head(width: int) -> list[str]:
        return (
            lines(render_app_list([app()], width), width)[0].replace("in flight", "flight").split()
        )

    assert head(40) == ["name", "state", "workers", "req/s", "p99"]
    assert head(60) == ["name", "state", "workers", "req/s", "p99", "CPU", "%", "memory"]
    assert head(80)[-4:] == ["CPU", "%", "memory", "uptime"]
    assert head(120)[-5:] == ["uptime", "restarts", "gen", "pid", "listening"]
    assert len(head(10_000)) == len(APP_COLUMNS)  # no namespace, and CPU % are two words
    assert "namespace" in lines(render_app_list([app(namespace="shop")], 100), 100)[0]


def test_the_first_columns_are_always_shown() -> None:
    assert [column.name for column in fit_columns(APP_COLUMNS, [app()], 1)] == ["name", "state"]
    assert [column.name for column in fit_columns(WORKER_COLUMNS, [worker(0)], 1)] == [
        "slot",
        "state",
    ]


def test_wide_characters_take_two_cells() -> None:
    columns = [Column("a", 1, lambda thing: thing["a"]), Column("b", 2, lambda thing: "b")]
    assert len(fit_columns(columns, [{"a": "xxxx"}], 7)) == 2
    assert len(fit_columns(columns, [{"a": "漢字漢"}], 8)) == 1


def test_a_row_has_the_figures_of_the_app() -> None:
    row = " ".join(lines(render_app_list([app()], 200), 200)[2].split())
    assert row == "web running 2/2 1,234 3 1.2ms 46ms 25 1.00g 1h 1m 1 2 99 127.0.0.1:8000"


def test_unknown_figures_are_dashes() -> None:
    stopped = {"name": "web", "state": "stopped", "answers": False, "pid": None}
    assert lines(render_app_list([stopped], 80), 80)[2].split()[:4] == ["web", "stopped", "-", "-"]
    program = app(figures={**FIGURES, "requests": 0, "in_flight": 0, "rate": 0.0})
    assert lines(render_app_list([program], 80), 80)[2].split()[3:7] == ["-", "-", "-", "-"]


def test_a_hung_master_is_reported_with_the_command_that_helps() -> None:
    text = " ".join(lines(render_app_list([app(state="hung", answers=False)], 80), 80))
    assert "web: its master does not answer; figures are from its scoreboard" in text
    assert "`prefork stop --force web` ends it" in text
    dumb = {"name": "web", "state": "hung", "answers": False}
    assert "nothing is known" in " ".join(lines(render_app_list([dumb], 80), 80))


def test_states_are_coloured_where_colours_are_allowed() -> None:
    def coloured(**options: Any) -> str:
        console = Console(file=io.StringIO(), force_terminal=True, width=80, **options)
        with console.capture() as captured:
            console.print(render_app_list([app()], 80))
        return captured.get()

    assert "\x1b[32mrunning" in coloured(color_system="standard")
    assert "\x1b[32m" not in coloured(color_system="standard", no_color=True)


def test_an_empty_list_names_the_command_that_starts_an_app() -> None:
    assert "prefork start" in lines(render_app_list([], 80), 80)[0]


def test_show_prints_the_figures_that_the_list_leaves_out() -> None:
    text = "\n".join(lines(render_app(app(failure="it broke"), 120), 120))
    for part in (
        "12,345, 1,234 a second",
        "2xx 12,000, 4xx 345; 7 left before",
        "3, the oldest for 1.2s",
        "p50 1.2ms, p99 46ms",
        "5.0m in bodies",
        "99 connections, 5 open, after 100µs in the queue on average",
        "--bind",
        "--bind     127.0.0.1:8000\n",
        "--bind     '[::1]:8000'\n",
        "the last reload failed: it broke",
    ):
        assert part in text
    assert "requests" not in "\n".join(lines(render_app(app(figures={}, workers=0), 120), 120))


def test_settings_are_shown_as_they_are_typed() -> None:
    settings = {
        "app": "m:app",
        "command": ["node", "my server.js"],
        "bind": ["8000", "unix:a b"],
        "daemon": True,
        "tls-watch": False,
        "env": {"A": "***", "B": "x"},
        "kill-timeout": "5s",
        "access-log": "",
        "max-restarts": 3,
    }
    assert list(list_flags(settings)) == [
        ("--", "node 'my server.js'"),
        ("--bind", "8000"),
        ("--bind", "'unix:a b'"),
        ("--daemon", ""),
        ("--no-tls-watch", ""),
        ("--env", "'A=***'"),
        ("--env", "B=x"),
        ("--kill-timeout", "5s"),
        ("--access-log", "''"),
        ("--max-restarts", "3"),
    ]


def test_show_leaves_out_what_an_older_master_does_not_know() -> None:
    old = {key: FIGURES[key] for key in ("requests", "in_flight", "connections")}
    assert list(figure_lines({**old, "answered": {"2xx": 0}})) == [
        ("requests", "12,345"),
        ("answered", "-"),
        ("in flight", "3"),
        ("accepted", "5 open"),
    ]


def test_one_connection_is_no_plural() -> None:
    assert list(figure_lines({"accepted": 1, "oldest": 0.0})) == [("accepted", "1 connection")]


def test_the_status_of_programs_has_a_column_only_when_there_is_one() -> None:
    assert "says" not in "\n".join(lines(render_app(app(), 200), 200))
    described = {**app(), "workers": [worker(0, says="warming up")]}
    assert "warming up" in "\n".join(lines(render_app(described, 200), 200))


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (units.format_duration, None, "-"),
        (units.format_duration, 0.0, "-"),
        (units.format_duration, 0.00025, "250µs"),
        (units.format_duration, 0.0009999, "1.0ms"),
        (units.format_duration, 0.0099, "9.9ms"),
        (units.format_duration, 0.00996, "10ms"),
        (units.format_duration, 0.9999, "1.0s"),
        (units.format_duration, 75.0, "1m 15s"),
        (units.format_span, 0.0, "0s"),
        (units.format_span, 7_199, "1h 59m"),
        (units.format_span, 90_000, "1d 1h"),
        (units.format_bytes, None, "-"),
        (units.format_bytes, 512, "0.5k"),
        (units.format_bytes, 2**20, "1.0m"),
        (units.format_bytes, 3 * 2**30, "3.00g"),
        (units.format_rate, None, "-"),
        (units.format_rate, 0.0, "0"),
        (units.format_rate, 9.94, "9.9"),
        (units.format_rate, 9.96, "10"),
        (units.format_percent, None, "-"),
        (units.format_count, None, "-"),
        (units.format_age, None, "-"),
    ],
)
def test_numbers_are_formatted_for_people(show: Any, value: float | None, text: str) -> None:
    assert show(value) == text


# The screen of monit.

RECORDS = [
    Record(f"2026-11-26 10:00:{n:02}.000", 7, n % 2, "out", f"line {n}\x1b[2J") for n in range(60)
]


def screen(view: ScreenState, width: int, height: int) -> list[str]:
    return lines(draw(view, width, height), width, height)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
@pytest.mark.parametrize("height", [8, 10, 12, 16, 24, 50])
def test_a_screen_fills_its_terminal_and_no_more(width: int, height: int) -> None:
    for count in (1, 3, 30):
        apps = [app(f"app{n}", workers=count) for n in range(count)]
        drawn = screen(ScreenState(apps, "app0", RECORDS), width, height)
        assert len(drawn) == height
        assert max(map(len, drawn)) <= width
        assert any("app0" in line for line in drawn)
        assert "quit" in drawn[-1] or width == 20


def test_the_selected_app_and_its_place_in_the_list_are_on_the_screen() -> None:
    apps = [app(f"app{n:02}") for n in range(40)]
    drawn = screen(ScreenState(apps, "app33", ()), 80, 24)
    assert any("app33" in line for line in drawn[2:7])
    assert "of 40)" in drawn[0]


def test_the_workers_have_pages() -> None:
    view = [app(workers=20)]

    def slots(page: int) -> list[str]:
        drawn = screen(ScreenState(view, "web", (), page=page), 80, 24)
        at = next(i for i, line in enumerate(drawn) if "slot" in line)
        end = next(i for i, line in enumerate(drawn) if i > at and "╯" in line)
        rows = [line.strip("│ ").split() for line in drawn[at + 1 : end]]
        return [row[0] for row in rows if row]

    pages = [slots(page) for page in range(4)]
    assert [slot for page in pages for slot in page] == [str(n) for n in range(20)]
    assert slots(4) == slots(0)


def test_the_end_of_the_log_is_shown_without_control_characters() -> None:
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True)
    with console.capture() as captured:
        console.print(draw(ScreenState([app()], "web", RECORDS), 80, 24))
    assert "line 59·[2J" in captured.get()
    assert "\x1b[2J" not in captured.get()
    assert "its own terminal" in "\n".join(screen(ScreenState([app()], "web", None), 80, 24))


def test_the_outcome_of_a_key_is_shown_and_otherwise_a_warning() -> None:
    assert (
        "reload done" in screen(ScreenState([app()], "web", message="web: reload done"), 80, 24)[-2]
    )
    assert "does not answer" in screen(ScreenState([app(state="hung")], "web"), 80, 24)[-2]
    assert "no apps" in "\n".join(screen(ScreenState([]), 80, 24))


# Figures of the last seconds.


def row(worker: int, requests: int, times: dict[int, int]) -> dict[str, Any]:
    counts = [times.get(bucket, 0) for bucket in range(histogram.BUCKET_COUNT)]
    return {
        "worker": worker,
        "pid": 100 + worker,
        "requests": requests,
        "times": counts,
        "uncounted": 0,
    }


def sampled(stats: WindowedStats, rows: Sequence[dict[str, Any]], now: float) -> dict[str, Any]:
    return stats.add_to(app(workers=2), rows, now)


def test_the_figures_are_the_difference_of_two_samples() -> None:
    stats = WindowedStats()
    quick, slow = 20, 120
    first = sampled(stats, [row(0, 1000, {quick: 1000}), row(1, 10, {quick: 10})], 50.0)
    assert (first["figures"]["rate"], first["figures"]["p99"]) == (0.0, 0.0)
    assert first["figures"]["requests"] == FIGURES["requests"]  # a total, not of the last seconds
    then = sampled(stats, [row(0, 1030, {quick: 1000, slow: 30}), row(1, 10, {quick: 10})], 52.0)
    assert [each["rate"] for each in then["workers"]] == [15.0, 0.0]
    assert then["workers"][1]["p50"] == 0.0
    assert then["figures"]["rate"] == 15.0
    assert then["figures"]["p50"] == pytest.approx(histogram.upper_bound(slow), rel=0.1)


def test_samples_older_than_the_window_are_forgotten() -> None:
    stats = WindowedStats()
    for second in range(20):
        found = sampled(stats, [row(0, min(second, 5) * 10, {30: min(second, 5) * 10})], second)
        expected = 10.0 if 0 < second <= 5 else 0.0 if second >= 5 + WINDOW_SECONDS else None
        assert expected is None or found["figures"]["rate"] == expected


def test_the_figures_of_a_new_worker_start_at_zero() -> None:
    stats = WindowedStats()
    sampled(stats, [row(0, 1000, {30: 1000})], 1.0)
    assert sampled(stats, [row(1, 2, {30: 2})], 2.0)["figures"]["rate"] == 0.0


def test_without_a_scoreboard_the_app_is_unchanged() -> None:
    assert WindowedStats().add_to(described := app(), [], 1.0) == described
