"""The pure parts of scripts/bench fair: the simulated ideal, the tables, the chart."""

import json
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from itertools import cycle, islice, repeat
from pathlib import Path

import pytest
from benchmarks.fair import tables
from benchmarks.fair.__main__ import update_page, write
from benchmarks.fair.ideal import LONG, SHORT, percentile, service_times, simulate_single_queue
from benchmarks.fair.picture import render_svg
from benchmarks.fair.results import AcceptRate, Run, ServerFigures, as_json, from_json
from benchmarks.fair.servers import SERVERS
from benchmarks.fair.workloads import (
    MIXED_LOADS,
    Burst,
    Mixed,
    counts_per_worker,
    ideal_burst,
    ideal_mixed,
)
from benchmarks.report import PAGE

MIXED = Mixed(360, 120, 641, 1665, 0.87, 1.25, 6, 31)
RUN = Run(
    {
        "prefork wsgi": ServerFigures([5, 5, 5, 5], [Burst(1.0, 2), Burst(1.5, 3)], {4: MIXED}),
        "uvicorn": ServerFigures([15, 5, 0, 0], [Burst(9.0, 8)], {}, {"4 workers": "it fell over"}),
    },
    {4: ideal_mixed(MIXED_LOADS[0], 1000)},
    {"--accept fair": AcceptRate(5000, 50.0)},
)
ABOUT = ["2026-01-02 03:04+00:00", "cores 2", "Node 20"]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def last(service: Iterator[float], workers: int, clients: int) -> float:
    """Return the highest latency of many requests on a single queue."""
    return simulate_single_queue(workers, clients, service, 1000)[0][-1]


class TestIdeal:
    def test_no_request_waits_when_each_client_has_a_worker(self) -> None:
        latencies, _ = simulate_single_queue(3, 3, repeat(2.0), 100)
        assert latencies == pytest.approx([2.0] * 100)

    def test_clients_of_a_single_worker_wait_for_each_other(self) -> None:
        latencies, took = simulate_single_queue(1, 5, repeat(1.0), 100)
        assert latencies == pytest.approx([5.0] * 100)
        assert took == pytest.approx(100.0)

    def test_throughput_is_the_sum_of_all_workers(self) -> None:
        _, took = simulate_single_queue(4, 64, service_times(1), 10_000)
        assert 10_000 / took == pytest.approx(4 / (0.9 * SHORT + 0.1 * LONG), rel=0.01)

    def test_a_long_request_blocks_only_its_own_worker(self) -> None:
        """With a second worker the short requests do not wait for it."""
        assert last(cycle([1.0, 1.0, 1.0, 100.0]), 1, 2) == pytest.approx(101.0)
        latencies, _ = simulate_single_queue(2, 2, cycle([1.0, 1.0, 1.0, 100.0]), 1000)
        assert latencies[500] == pytest.approx(1.0)
        assert latencies[-1] == pytest.approx(100.0)

    def test_waits_are_proportional_to_clients(self) -> None:
        assert last(repeat(1.0), 4, 64) == pytest.approx(16.0)

    def test_service_times_depend_on_the_seed_and_have_a_fixed_share_of_long_ones(self) -> None:
        first = list(islice(service_times(3), 300))
        assert first == list(islice(service_times(3), 300)) != list(islice(service_times(4), 300))
        assert Counter(first) == {SHORT: 270, LONG: 30}
        assert max(islice(service_times(3, scale=4), 100)) == 4 * LONG

    def test_percentiles(self) -> None:
        hundred = [float(number) for number in range(100)]
        assert [percentile(hundred, share) for share in (0.5, 0.99, 1.0)] == [50, 99, 99]

    def test_the_ideal_burst_is_spread_evenly(self) -> None:
        assert ideal_burst(4) == Burst(1.0, 2)
        assert ideal_burst(3) == Burst(1.5, 3)


class TestTables:
    def test_workers_that_got_nothing_are_counted(self) -> None:
        assert counts_per_worker(Counter({7: 1, 8: 5}), 4) == [5, 1, 0, 0]

    def test_tables_have_medians_and_worst_values(self) -> None:
        lines = {cells(line)[0]: cells(line)[1:] for line in tables.render_sections(ABOUT, RUN)}
        assert lines["*ideal: a single queue*"][-1] == "-"
        assert lines["--accept fair"] == ["5,000", "50.0"]
        text = tables.render_document(ABOUT, RUN)
        assert "| prefork wsgi            |           5/5/5/5 |    1.25 |    1.50 |" in text
        assert "| uvicorn                 |          15/5/0/0 |    9.00 |    9.00 |" in text
        assert lines["prefork wsgi"] == [
            "360", "120", "641", "1665", "0.87-1.25", "6-31", "-",
        ]  # fmt: skip

    def test_failures_are_reported(self) -> None:
        assert "uvicorn failed (4 workers): it fell over" in tables.render_document(ABOUT, RUN)

    def test_a_run_survives_the_way_through_json(self) -> None:
        assert from_json(json.loads(json.dumps(as_json(RUN)))) == RUN

    def test_a_run_has_three_files(self, tmp_path: Path) -> None:
        write(tmp_path / "new", ABOUT, RUN)
        names = {path.name for path in (tmp_path / "new").iterdir()}
        assert names == {"fair.md", "fair.json", "fair.svg"}

    def test_the_manual_has_the_markers(self) -> None:
        page = (Path(__file__).parents[3] / PAGE).read_text()
        once = update_page(page, ABOUT, RUN)
        assert "it fell over" in once
        assert "\n### Mixed: 64 clients, 4 workers\n" in once
        assert update_page(once, ABOUT, RUN) == once


def test_the_chart_is_xml_and_no_element_leaves_its_frame() -> None:
    for run in (RUN, Run()):
        root = ET.fromstring(render_svg("here & <now>", run))
        width, height = (float(root.attrib[side]) for side in ("width", "height"))
        for element in root.iter():
            if "x" in element.attrib:
                assert float(element.attrib["x"]) + float(element.get("width", 0)) <= width
                assert float(element.attrib["y"]) + float(element.get("height", 0)) <= height
    assert render_svg("", RUN).count('class="cut"') == 1


def test_no_command_has_empty_placeholders() -> None:
    for server in SERVERS:
        command = " ".join(server.command(8001, 16))
        assert "8001" in command
        assert "16" in command
        assert "{" not in command
