"""Minutes of what the other tests do for seconds: fuzzing, attacks, log lines, many verbs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.harness import shared_folder

ROOT = Path(__file__).parents[2]
LIMIT = 600.0
"""Seconds after which a run hangs; each takes about two minutes."""

RUNS = {
    "fuzz": ["-m", "tests.fuzz", "--seconds", "120"],
    "hostile children": ["-m", "tests.hostile", "--seconds", "5"],
    "log lines": ["scripts/soak_logs.py", "--seconds", "60", "--rate", "20000"],
    "verbs": ["-m", "pytest", "tests/live/test_manage_concurrent.py", "--seeds", "20"],
}


@pytest.mark.timeout(LIMIT + 60)
@pytest.mark.parametrize("words", RUNS.values(), ids=RUNS.keys())
def test_it_goes_on_for_minutes(words: list[str]) -> None:
    if words[1] == "tests.hostile" and os.geteuid() != 0:
        pytest.skip("the attacks need root: they run as another user")
    with shared_folder() as folder:  # the attacks run as another user
        done = subprocess.run(
            [sys.executable, *words],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder)},
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
