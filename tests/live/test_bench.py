"""The benchmarks run in their shortest forms, with prefork alone, and leave no process behind.

The measured values themselves are not checked.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


def bench(name: str, out: Path, *arguments: str) -> dict[str, Any]:
    """Run a benchmark, check its output and its processes, and return its JSON file."""
    environ = {**os.environ, "PYTHONPATH": str(SCRIPTS), "TMPDIR": str(out)}
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--out", str(out), *arguments],
        env=environ,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert (out / f"{name}.md").read_text().rstrip() == done.stdout.rstrip()
    assert not [one for one in psutil.process_iter() if str(out) in _temporary_of(one)]
    found: dict[str, Any] = json.loads((out / f"{name}.json").read_text())
    return found


def _temporary_of(process: psutil.Process) -> str:
    try:
        return process.environ().get("TMPDIR", "")
    except psutil.Error:
        return ""


def test_the_benchmark_of_verbs_runs(tmp_path: Path) -> None:
    found = bench("manage", tmp_path, "--only", "Python")
    (manager,) = found["sides"].values()
    assert {len(trials) for trials in manager["trials"].values()} == {1, 2}
    assert manager["failure"] is None
    assert manager["memory"][0]["manager"] > 0


@pytest.mark.slow
def test_the_benchmark_of_fairness_runs(tmp_path: Path) -> None:
    found = bench("fair", tmp_path, "--only", "prefork")
    assert len(found["servers"]) == 6
    for figures in found["servers"].values():
        assert figures["failures"] == {}
        assert sum(figures["sequential"]) == 20
        assert figures["mixed"]["4"]["rate"] > 0
    assert all(one["rate"] > 0 for one in found["accepting"].values())
