"""An error that a verb prints about one app of several names that app, once."""

from pathlib import Path

import pytest

from prefork.cli.view.progress import carry_out
from prefork.errors import PreforkError
from prefork.unix.registry_entry import RegistryEntry
from prefork.wire.control import RefusedError


@pytest.mark.parametrize(
    ("name", "error", "printed"),
    [
        ("c", RefusedError("cannot listen", 100), "c: cannot listen"),
        ("worker", RefusedError("worker 0 failed", 102), "worker: worker 0 failed"),
        ("web", RefusedError("web: the port is in use", 111), "web: the port is in use"),
        ("web", PreforkError("web does not run"), "web does not run"),
        ("web", PreforkError("webs do not run"), "web: webs do not run"),
    ],
)
def test_an_error_names_the_app(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    name: str,
    error: PreforkError,
    printed: str,
) -> None:
    def fail(_entry: RegistryEntry) -> int:
        raise error

    assert carry_out(RegistryEntry(tmp_path / name), fail) == error.exit_code
    assert capfd.readouterr().err == f"prefork: {printed}\n"
