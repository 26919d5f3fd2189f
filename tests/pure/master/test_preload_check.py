"""Why the processes of a program do not load the Node preload, from real processes."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from prefork.master.preload_check import find_preload_obstacle
from prefork.node.node_environment import SETTINGS_VARIABLE, SHIM, require_option


@contextmanager
def process(environ: Mapping[str, str], executable: str = sys.executable) -> Iterator[int]:
    """Run a process with this environment, until the end of the block."""
    with subprocess.Popen(
        [executable, "-c", "print(flush=True); input()"],
        executable=executable,
        env={"PYTHONHOME": sys.base_prefix, **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()
        try:
            yield running.pid
        finally:
            running.communicate(b"\n")


LOADED = {SETTINGS_VARIABLE: "{}", "NODE_OPTIONS": f"--no-warnings {require_option(SHIM)}"}


def test_overwritten_options_are_named() -> None:
    with (
        process(LOADED) as wrapper,
        process({**LOADED, "NODE_OPTIONS": "--no-warnings"}) as overwritten,
        process({SETTINGS_VARIABLE: "{}"}) as unset,
    ):
        for pid in (overwritten, unset):
            found = find_preload_obstacle([wrapper, pid])
            assert found.startswith("NODE_OPTIONS was set anew for ")
            assert f"(pid {pid})" in found
            assert 'write NODE_OPTIONS="$NODE_OPTIONS ' in found


def test_what_loaded_it_or_was_not_to_load_it_is_no_obstacle() -> None:
    with process(LOADED) as loaded, process({"NODE_OPTIONS": "--no-warnings"}) as other:
        assert find_preload_obstacle([loaded, other]) == ""


def test_processes_that_ended_are_passed_over() -> None:
    with process(LOADED) as pid:
        pass
    assert find_preload_obstacle([pid]) == ""


@pytest.mark.parametrize(
    ("name", "runtime"), [("bun", "Bun"), ("bun.exe", "Bun"), ("deno", "Deno")]
)
def test_a_runtime_without_preloads_is_named(tmp_path: Path, name: str, runtime: str) -> None:
    shutil.copy(os.path.realpath(sys.executable), tmp_path / name)
    with process(LOADED, str(tmp_path / name)) as pid:
        found = find_preload_obstacle([pid])
        assert found.startswith(f"{runtime} (pid {pid}) does not load the preload ")
