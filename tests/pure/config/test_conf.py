"""Shipped files match the code: the sample file, the README's table, the systemd units."""

import configparser
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from prefork.config import Config, value_types
from prefork.config.access_format import DIRECTIVES
from prefork.config.render import option_table, sample_file
from prefork.errors import UsageError

ROOT = Path(__file__).parents[3]
CONF = ROOT / "conf"
SERVICE, SOCKET = CONF / "prefork.service", CONF / "prefork.socket"


def unit(path: Path) -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(
        strict=False, interpolation=None, comment_prefixes=("#", ";")
    )
    parsed.optionxform = str  # type: ignore[assignment, method-assign]
    parsed.read_string(path.read_text())
    return parsed


def test_the_sample_file_is_generated_from_the_options() -> None:
    assert (CONF / "prefork.toml").read_text() == sample_file(), "run scripts/docs"


def test_the_readmes_table_is_generated_from_the_options() -> None:
    readme = (ROOT / "README.md").read_text()
    assert f"<!-- options -->\n{option_table()}<!-- /options -->\n" in readme, "run scripts/docs"


def test_the_readme_lists_every_directive_of_the_access_log() -> None:
    readme = (ROOT / "README.md").read_text()
    missing = [name for name in DIRECTIVES if f"`%({name})s`" not in readme]
    assert not missing


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
        ("KillMode", "mixed"),
        ("OOMPolicy", "continue"),
        ("Restart", "on-failure"),
        ("RestartPreventExitStatus", str(UsageError.exit_code)),
        ("NoNewPrivileges", "yes"),
        ("PrivateTmp", "yes"),
        ("ProtectSystem", "strict"),
    ],
)
def test_the_service_has_the_settings_that_prefork_needs(key: str, value: str) -> None:
    assert unit(SERVICE)["Service"][key] == value


def test_the_services_timeouts_are_longer_than_preforks() -> None:
    service = unit(SERVICE)["Service"]
    assert value_types.DURATION.parse(service["TimeoutStopSec"]) > Config().kill_timeout
    assert value_types.DURATION.parse(service["TimeoutStartSec"]) > Config().boot_timeout


def test_the_service_starts_prefork_in_the_foreground() -> None:
    assert unit(SERVICE)["Service"]["ExecStart"] == (
        "/srv/app/.venv/bin/prefork -c /etc/prefork.toml"
    )
    assert Config().daemon is False


def test_the_socket_listens_where_prefork_does_by_default() -> None:
    socket = unit(SOCKET)["Socket"]
    assert socket["ListenStream"] == str(Config().bind[0])
    assert int(socket["Backlog"]) == Config().backlog
    assert unit(SOCKET)["Install"]["WantedBy"] == "sockets.target"


def uncommented(text: str) -> str:
    """Uncomment the optional settings: ``#Key=value``, with no blank after the ``#``."""
    lines = text.splitlines(keepends=True)
    return "".join(line[1:] if line[:1] == "#" and line[1:2].isupper() else line for line in lines)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
@pytest.mark.parametrize("offers", [False, True], ids=["as_shipped", "with_all_that_it_offers"])
def test_systemd_accepts_the_shipped_units(tmp_path: Path, offers: bool) -> None:
    for path in (SERVICE, SOCKET):
        text = uncommented(path.read_text()) if offers else path.read_text()
        # systemd wants a program that exists.
        text = text.replace("/srv/app/.venv/bin/prefork", shutil.which("true") or "/bin/true")
        (tmp_path / path.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no"]
        + [str(tmp_path / path.name) for path in (SERVICE, SOCKET)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    complaints = [line for line in done.stderr.splitlines() if "prefork." in line]
    assert (done.returncode, complaints) == (0, [])
