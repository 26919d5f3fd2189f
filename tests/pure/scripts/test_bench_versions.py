"""The pure parts of scripts/bench versions: ratios of pairs and their table."""

from pathlib import Path

import pytest
from benchmarks.loads import LOADS
from benchmarks.versions import __main__ as command
from benchmarks.versions.comparison import Comparison, checkout_peer

DRIFTING = [(10.0, 10.1), (20.0, 20.2), (11.0, 11.11), (40.0, 40.4)]
"""Pairs on a machine whose speed changes fourfold; the new checkout always needs 1 % more."""


def test_the_ratio_is_the_median_of_the_ratios_of_pairs() -> None:
    comparison = Comparison(LOADS["hello"], "wsgi", [*DRIFTING, (5.0, 9.0)])
    assert comparison.ratio == pytest.approx(1.01)
    assert comparison.quartiles == pytest.approx((1.01, 1.01))
    assert (comparison.old_us, comparison.new_us) == (11.0, 11.11)


def test_the_table_has_a_row_for_each_load() -> None:
    rows = command.render_table([Comparison(LOADS["json"], "asgi", DRIFTING)], "abc", "def").split(
        "\n"
    )
    assert rows[2].split("|")[3:5] == [" abc ", " def "]
    assert rows[4] == "| json | asgi | 15.50 | 15.65 | 1.010 | 1.010 to 1.010 |"


def test_each_checkout_runs_in_its_own_virtual_environment(tmp_path: Path) -> None:
    peer = checkout_peer(tmp_path, "asgi")
    assert peer.program == tmp_path / ".venv" / "bin" / "python"
    assert peer.supports(LOADS["websocket"])


def test_a_checkout_without_virtual_environment_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(tmp_path)]) == 2
    assert "run its scripts/setup" in capsys.readouterr().err
