"""The pure parts of scripts/bench: loads, peers, results, tables, chart, report, command line.

No server is started. The apps are called directly, as a server calls them.
"""

import io
import re
import xml.etree.ElementTree as ET
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from benchmarks import __main__ as command
from benchmarks import picture, report, table, targets
from benchmarks.apps import wsgi_apps
from benchmarks.loads import ALL, LOADS, Load
from benchmarks.peers import PEERS, Peer
from benchmarks.results import Measurement, Row, as_json, from_json

HELLO, VARIED, TLS = LOADS["hello"], LOADS["hello-varied"], LOADS["tls"]
FLOOR, WSGI, ASGI = PEERS[:3]
ABOUT = {
    "date": "2026-01-02 03:04+00:00",
    "connections": "32 connections",
    "rounds": 3,
    "schedule": {"rounds": 3, "warmup": 1.0, "seconds": 2.0},
    "machine": {"cores": "2", "CPU": "Z80 <fast>"},
    "cores": {"server": 1, "generator": 0},
    "versions": {"project": {"prefork": "1"}, "others": {}},
}


def peer(name: str) -> Peer:
    return next(peer for peer in PEERS if peer.name == name)


def window(cpu_us: float = 10.0, **changed: Any) -> Measurement:
    """Return a measurement of one second with 100,000 requests of ``cpu_us`` microseconds each."""
    figures = {
        "requests": 100_000,
        "elapsed_ns": 1_000_000_000,
        "cpu_ns": int(cpu_us * 100_000 * 1000),
        "p50_ns": 200_000,
        "p99_ns": 1_500_000,
        "max_ns": 12_000_000,
        "reconnects": 0,
        "starved": 0,
        "generator_ns": 500_000_000,
        "memory_bytes": 30_000_000,
    }
    return Measurement(**(figures | changed))


def row(load: Load, name: str, *cpu_us: float, failure: str | None = None) -> Row:
    return Row(load, peer(name), [window(one) for one in cpu_us], failure)


ROWS = [
    row(HELLO, "floor", 5.0),
    row(HELLO, "prefork wsgi", 12.0, 10.0, 11.0),
    row(HELLO, "prefork asgi", 20.0),
    row(HELLO, "gunicorn sync", 220.0),
    row(HELLO, "bjoern", 5.5),
    row(HELLO, "uvicorn", 30.0),
    row(TLS, "prefork wsgi", failure="ended before it answered"),
    row(TLS, "prefork asgi", 25.0),
    row(TLS, "uvicorn", failure="no TLS | at all"),
]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


class TestLoads:
    def test_requests_of_a_varied_load_are_all_different_and_have_the_same_length(self) -> None:
        for load in (VARIED, LOADS["browser-varied"]):
            requests = list(islice(load.iterate_requests(), 1000))
            assert len(set(requests)) == 1000
            assert {len(request) for request in requests} == {len(requests[0])}

    def test_requests_of_other_loads_are_all_equal(self) -> None:
        for load in ALL:
            if not load.varied:
                assert set(islice(load.iterate_requests(), 3)) == {load.request}

    @pytest.mark.parametrize("load", ALL, ids=lambda load: load.name)
    def test_requests_are_valid_http(self, load: Load) -> None:
        head, end, body = next(
            (load.opening and iter([load.opening])) or load.iterate_requests()
        ).partition(b"\r\n\r\n")
        assert end
        assert re.fullmatch(rb"(GET|POST) /\S* HTTP/1.1(\r\n[\w-]+: [^\r\n]+)+", head)
        length = re.search(rb"Content-Length: (\d+)", head)
        assert len(body) == (int(length[1]) if length else 0)

    def test_a_browser_sends_twelve_headers(self) -> None:
        for name in ("browser", "browser-varied"):
            assert LOADS[name].request.partition(b"\r\n\r\n")[0].count(b"\r\n") == 12

    def test_bodies_have_the_sizes_of_the_names(self) -> None:
        assert len(LOADS["10k"].body) == 10 * 1024
        assert len(LOADS["1m"].body) == 1024 * 1024
        assert len(LOADS["json"].body) == 1024
        assert len(LOADS["websocket"].body) == 64
        assert LOADS["upload"].body == b"10000000"

    @pytest.mark.parametrize(
        "load", [load for load in ALL if not load.opening], ids=lambda load: load.name
    )
    def test_the_app_of_a_load_returns_the_expected_body(self, load: Load) -> None:
        body = next(load.iterate_requests()).partition(b"\r\n\r\n")[2]
        environ = {"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
        started: list[Any] = []
        answer = b"".join(
            getattr(wsgi_apps, load.app)(environ, lambda *words: started.append(words))
        )
        assert answer == load.body
        assert started[0][0] == "200 OK"
        assert dict(started[0][1])["Content-Length"] == str(len(answer))


class TestPeers:
    def test_a_command_has_no_empty_placeholders(self) -> None:
        for one in PEERS:
            for load in ALL:
                if one.supports(load):
                    words = one.command(load, 8001, Path("/tmp/log"))
                    assert "8001" in " ".join(words)
                    assert not [word for word in words if "{" in word]

    def test_certificate_and_access_log_are_in_the_command(self) -> None:
        words = WSGI.command(TLS, 1, Path("/tmp/log"))
        assert {"--tls-cert", "--tls-key"} <= set(words)
        assert "/tmp/log" in WSGI.command(LOADS["access-log"], 1, Path("/tmp/log"))

    def test_unsupported_loads_are_declared(self) -> None:
        assert not peer("bjoern").supports(TLS)
        assert not WSGI.supports(LOADS["websocket"])
        assert ASGI.supports(LOADS["websocket"])
        assert FLOOR.supports(HELLO)
        assert not FLOOR.supports(LOADS["upload"])


class TestResults:
    def test_a_row_is_the_median_of_its_rounds(self) -> None:
        ours = ROWS[1]
        assert ours.cpu_us == 11.0
        assert ours.cpu_us_range == (10.0, 12.0)

    def test_the_bottleneck_is_the_process_that_filled_its_core(self) -> None:
        assert Row(HELLO, WSGI, [window(9.5)]).bottleneck == "server"
        assert Row(HELLO, WSGI, [window(8.0, generator_ns=950_000_000)]).bottleneck == "generator"
        assert Row(HELLO, WSGI, [window(8.0)]).bottleneck == "neither"

    def test_a_server_that_closes_after_each_answer_is_not_keep_alive(self) -> None:
        assert Row(HELLO, WSGI, [window()]).is_keep_alive
        assert not Row(HELLO, WSGI, [window(reconnects=100_000)]).is_keep_alive

    def test_rows_survive_the_way_through_json(self) -> None:
        assert from_json(as_json(ROWS)) == ROWS

    def test_rows_of_an_unknown_peer_are_left_out(self) -> None:
        found = as_json(ROWS[:2])
        found[0]["server"] = "netscape"
        assert from_json(found) == ROWS[1:2]


class TestTables:
    def test_the_matrix_has_a_ratio_to_the_same_interface(self) -> None:
        lines = {cells(line)[0]: cells(line)[1:] for line in table.ratio_matrix(ROWS)}
        assert lines["server"] == ["hello", "tls"]
        assert lines["prefork wsgi"] == ["11.0 µs", "failed"]
        assert lines["prefork asgi"] == ["20.0 µs", "25.0 µs"]
        assert lines["gunicorn sync"] == ["20.00", "-"]
        assert lines["bjoern"] == ["0.50", "-"]
        assert lines["uvicorn"] == ["1.50", "failed"]

    def test_the_floor_is_in_both_halves(self) -> None:
        floors = [cells(line)[1] for line in table.ratio_matrix(ROWS) if line.startswith("| floor")]
        assert floors == ["0.45", "0.25"]

    def test_without_prefork_there_is_no_ratio(self) -> None:
        assert cells(table.ratio_matrix([row(HELLO, "uvicorn", 30.0)])[-1]) == ["uvicorn", "?"]

    def test_all_lines_of_a_table_have_the_same_length_and_columns(self) -> None:
        for lines in (table.ratio_matrix(ROWS), table.load_table(ROWS, HELLO)):
            shapes = {(len(line), line.count("|")) for line in lines if line.startswith("|")}
            assert len(shapes) == 1

    def test_the_table_of_a_load_has_the_ratio_first(self) -> None:
        line = next(line for line in table.load_table(ROWS, HELLO) if "prefork wsgi" in line)
        assert cells(line) == [
            "prefork wsgi", "1.00", "11.0 (10.0-12.0)", "100,000", "0.20", "1.50", "12.0", "30.0",
        ]  # fmt: skip

    def test_notes_stand_below_the_table(self) -> None:
        rows = [
            Row(HELLO, WSGI, [window(8.0, generator_ns=950_000_000)]),
            Row(HELLO, peer("uWSGI"), [window(8.0, starved=31)]),
            row(HELLO, "bjoern", failure="x" * 500),
        ]
        text = "\n".join(table.load_table(rows, HELLO))
        assert "so these servers can serve more requests/s: prefork wsgi." in text
        assert "used the machine: uWSGI." in text
        assert "uWSGI left 31 of 32 connections without an answer" in text
        assert f"bjoern failed: {'x' * 157}..." in text


class TestPicture:
    def test_the_chart_is_xml_and_no_element_leaves_its_frame(self) -> None:
        root = ET.fromstring(picture.render_svg("here & <now>", ROWS))
        width, height = (float(root.attrib[side]) for side in ("width", "height"))
        for element in root.iter():
            if "x" in element.attrib:
                right = float(element.attrib["x"]) + float(element.attrib.get("width", 0))
                bottom = float(element.attrib["y"]) + float(element.attrib.get("height", 0))
                assert right <= width
                assert bottom <= height

    def test_bars_are_proportional_and_the_longest_is_cut(self) -> None:
        root = ET.fromstring(picture.render_svg("", ROWS))
        bars = [one for one in root.iter() if one.get("class") in ("ours", "peer", "floor")]
        lengths = [float(bar.attrib["width"]) for bar in bars]
        floor, prefork, gunicorn, bjoern = lengths[:4]
        assert prefork == pytest.approx(2.2 * floor, rel=0.01)
        assert bjoern == pytest.approx(1.1 * floor, rel=0.01)
        assert gunicorn == pytest.approx(picture.LONGEST_BAR * prefork, rel=0.01)
        assert len([one for one in root.iter() if one.get("class") == "cut"]) == 1

    def test_every_value_is_also_written_as_text(self) -> None:
        root = ET.fromstring(picture.render_svg("", ROWS))
        words = {"".join(element.itertext()) for element in root.iter()}
        assert {"20.00", "0.50", "11.0 µs", "failed", "220.0"} <= words

    def test_the_chart_follows_the_colour_scheme_of_the_reader(self) -> None:
        assert "prefers-color-scheme: dark" in picture.render_svg("", ROWS)


class TestReport:
    def test_the_files_of_a_run_can_be_read_again(self, tmp_path: Path) -> None:
        report.write(tmp_path / "new", ABOUT, ROWS)
        assert report.read(tmp_path / "new") == (ABOUT, ROWS)
        assert "## hello: hello world, keep-alive" in (tmp_path / "new" / "bench.md").read_text()
        ET.parse(tmp_path / "new" / "bench.svg")

    def test_the_page_changes_between_its_markers_only(self) -> None:
        text = "above\n<!-- benchmark -->\nold\n<!-- /benchmark -->\nbelow\n"
        once = report.update_page(text, ABOUT, ROWS)
        assert once.startswith("above\n<!-- benchmark -->\n")
        assert once.endswith("<!-- /benchmark -->\nbelow\n")
        assert "old" not in once
        assert "2026-01-02" in once
        assert report.update_page(once, ABOUT, ROWS) == once

    def test_a_missing_file_or_marker_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(report.NoResultsError, match=r"no bench\.json in"):
            report.read(tmp_path)
        with pytest.raises(report.NoResultsError, match="<!-- benchmark -->"):
            report.update_page("no markers", ABOUT, ROWS)

    def test_the_manual_has_the_markers(self) -> None:
        page = Path(__file__).parents[3] / report.PAGE
        assert report.update_page(page.read_text(), ABOUT, ROWS)


class TestCommand:
    def test_help_names_every_load_and_peer(self) -> None:
        text = command.build_parser().format_help()
        for name in [load.name for load in ALL] + [one.name for one in PEERS]:
            assert f"\n  {name}" in text

    def test_loads_and_peers_can_be_selected(self) -> None:
        assert command.select_loads(["tls", "hello"]) == [HELLO, TLS]
        assert command.select_loads([]) == list(ALL)
        assert {one.name for one in command.select_peers(["PREFORK", "uvi"])} == {
            "prefork wsgi", "prefork asgi", "uvicorn",
        }  # fmt: skip

    def test_the_error_for_an_unknown_name_lists_the_known_names(self) -> None:
        with pytest.raises(
            LookupError, match="no load is named helo; the loads are hello-varied, "
        ):
            command.select_loads(["helo"])
        with pytest.raises(LookupError, match="no peer is named like apache; the peers are floor,"):
            command.select_peers(["apache"])


# Targets.


def target_rows(**cpu_us: float) -> list[Row]:
    names = {"prefork": "prefork wsgi", "granian": "granian wsgi"}
    return [
        Row(VARIED, peer(names.get(name, name)), [window(number)])
        for name, number in cpu_us.items()
    ]


def test_each_target_names_loads_and_peers_that_are_measured_together() -> None:
    for target in targets.TARGETS:
        compared = [peer(name) for name in target.peers]
        assert all(each.supports(LOADS[target.load]) for each in compared)
        assert all(target.interface in each.interfaces for each in compared)
    for surcharge in targets.SURCHARGES:
        assert {surcharge.load, surcharge.beside} <= set(targets.LOADS)
    assert {load.name for load in command.select_loads(targets.LOADS)} == set(targets.LOADS)
    assert {name for t in targets.TARGETS for name in t.peers} <= {
        each.name for each in command.select_peers(targets.PEERS)
    }


def test_a_target_is_compared_with_the_fastest_of_its_peers() -> None:
    rows = target_rows(prefork=10.0, bjoern=8.0, fastwsgi=7.0, granian=14.0)
    lines = targets.render_targets(rows)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert cells == [
        ["hello-varied", "wsgi", "fastwsgi", "1.43", "1.35", "missed"],
        ["hello-varied", "wsgi", "granian wsgi", "0.71", "0.80", "holds"],
        ["hello-varied", "wsgi", "bjoern", "1.25", "1.05", "aim, not reached"],
    ]
    rows[0].rounds[:] = [window(8.4)]
    table = targets.render_targets(rows)
    assert "holds" in table[2]
    assert "aim, reached" in table[4]


def test_the_access_log_is_compared_with_the_same_load_without() -> None:
    rows = [row(VARIED, "prefork asgi", 9.0), row(LOADS["access-log-varied"], "prefork asgi", 9.7)]
    cells = [cell.strip() for cell in targets.render_targets(rows)[-1].strip("|").split("|")]
    assert cells == [
        "access-log-varied", "asgi", "hello-varied", "+0.7 µs", "+0.8 µs", "aim, reached"
    ]  # fmt: skip
    rows[1].rounds[:] = [window(9.9)]
    assert targets.render_targets(rows)[-1].count("aim, not reached") == 1
    assert targets.render_targets(rows[:1]) == []


def test_targets_that_were_not_measured_are_left_out() -> None:
    assert targets.render_targets(target_rows(prefork=10.0)) == []
    assert targets.render_targets(target_rows(bjoern=10.0)) == []
    failed = target_rows(prefork=10.0, bjoern=8.0)
    failed[1].failure = "did not start"
    assert targets.render_targets(failed) == []
    both = target_rows(prefork=10.0, bjoern=8.0)
    assert "## Targets" in report.render_document(ABOUT, both)
    text = f"{report.START}{report.END}"
    assert report.TARGETS in report.update_page(text, ABOUT, both)
