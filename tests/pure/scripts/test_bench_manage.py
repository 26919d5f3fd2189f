"""The pure parts of scripts/bench manage: the commands of the verbs, medians, tables."""

import json
from pathlib import Path

from benchmarks.manage import __main__ as command
from benchmarks.manage.managers import MANAGERS, PM2, PREFORK, STEPS
from benchmarks.manage.results import ManagerFigures, Run, as_json, from_json, render_tables
from benchmarks.manage.trial import Memory, Trial
from benchmarks.report import PAGE, replace_section

ABOUT = {
    "date": "2026-01-02 03:04+00:00",
    "rounds": 3,
    "machine": {"cores": "2"},
    "versions": {"PM2": "7"},
}


def trial(wall: float, cpu: float) -> Trial:
    return Trial(int(wall * 1e6), int(wall * 5e5), int(cpu * 1e6))


RUN: Run = {
    "prefork": ManagerFigures(
        {"stop": [trial(50, 40), trial(80, 40), trial(60, 41)]}, [Memory(20_000_000, 60_000_000)]
    ),
    "PM2": ManagerFigures({"stop": [trial(300, 80)]}, [Memory(30_000_000, 90_000_000)], "gone"),
}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_manager_has_a_command_for_every_verb() -> None:
    for manager in MANAGERS:
        for arguments in (
            *(manager.verbs[step] for step in STEPS),
            manager.delete,
            manager.shutdown,
        ):
            assert not [word for word in manager.command(arguments, 8001) if "{" in word]


def test_the_pid_is_read_from_the_file_of_each_manager(tmp_path: Path) -> None:
    assert PREFORK.find_pid(tmp_path) is PM2.find_pid(tmp_path) is None
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "state").write_text('{"pid": 12}')
    (tmp_path / "pm2.pid").write_text("13")
    assert (PREFORK.find_pid(tmp_path), PM2.find_pid(tmp_path)) == (12, 13)


def test_a_cell_has_the_median_of_the_rounds_and_their_range() -> None:
    (line,) = [cells(line) for line in render_tables(RUN) if line.startswith("| stop")]
    assert line == [
        "stop 4 workers",
        "60 (50-80)",
        "300 (300-300)",
        "5.0",
        "40",
        "80",
        "2.0",
        "?",
        "?",
    ]


def test_memory_and_failures_are_reported() -> None:
    text = "\n".join(render_tables(RUN))
    (line,) = [cells(line) for line in render_tables(RUN) if line.startswith("| the manager")]
    assert line == ["the manager and its own processes", "20.0", "30.0", "1.5", "?"]
    assert text.endswith("PM2 failed: gone")


def test_a_missing_value_is_a_question_mark() -> None:
    assert all(
        set(cells(line)[1:]) == {"?"} for line in render_tables({}) if line.startswith("| start")
    )


def test_a_run_survives_the_way_through_json_without_unknown_managers() -> None:
    found = json.loads(json.dumps(as_json(RUN) | {"supervisord": {}}))
    assert from_json(found) == RUN


def test_the_manual_has_the_markers() -> None:
    page = (Path(__file__).parents[3] / PAGE).read_text()
    lines = command.render_section(ABOUT, RUN, {})
    assert "60 (50-80)" in replace_section(page, "manage", lines)
