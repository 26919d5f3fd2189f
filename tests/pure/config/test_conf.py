"""Shipped files match the code: the sample file, the manual's table, the systemd units."""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from prefork.config import Config, value_types
from prefork.config.access_format import DIRECTIVES
from prefork.config.option_reference import settings_reference
from prefork.config.render import sample_file
from prefork.errors import UsageError
from prefork.unix.system_homes import SYSTEM_HOMES

ROOT = Path(__file__).parents[3]
CONF = ROOT / "conf"
DOCS = ROOT / "prefork" / "docs"
SERVICE, SOCKET = CONF / "prefork.service", CONF / "prefork.socket"
TEMPLATE, SOCKET_TEMPLATE = CONF / "prefork@.service", CONF / "prefork@.socket"


def unit(path: Path) -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(
        strict=False, interpolation=None, comment_prefixes=("#", ";")
    )
    parsed.optionxform = str  # type: ignore[assignment, method-assign]
    parsed.read_string(path.read_text())
    return parsed


def test_the_sample_file_is_generated_from_the_options() -> None:
    assert (CONF / "prefork.toml").read_text() == sample_file(), "run scripts/docs"


def test_the_settings_page_is_generated_from_the_options() -> None:
    page = (DOCS / "settings.md").read_text()
    generated = f"<!-- options -->\n{settings_reference()}<!-- /options -->\n"
    assert generated in page, "run scripts/docs"


def test_the_manual_lists_every_directive_of_the_access_log() -> None:
    page = (DOCS / "logging.md").read_text()
    missing = [name for name in DIRECTIVES if f"`%({name})s`" not in page]
    assert not missing


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("ExecReload", "/srv/app/.venv/bin/prefork reload --master-pid $MAINPID"),
        ("FileDescriptorStoreMax", "64"),
        ("RuntimeDirectory", "prefork/%N"),
        ("RuntimeDirectoryMode", "0700"),
        ("RuntimeDirectoryPreserve", "yes"),
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


def test_the_socket_template_is_what_the_socket_offers_for_a_proxy(tmp_path: Path) -> None:
    offered = tmp_path / "prefork.socket"
    offered.write_text(uncommented(SOCKET.read_text()))
    one, several = (dict(unit(path)["Socket"]) for path in (offered, SOCKET_TEMPLATE))
    assert several.pop("ListenStream") == one.pop("ListenStream").replace(".sock", "-%i.sock")
    assert several == one


def uncommented(text: str) -> str:
    """Uncomment the optional settings: ``#Key=value``, with no blank after the ``#``."""
    lines = text.splitlines(keepends=True)
    return "".join(line[1:] if line[:1] == "#" and line[1:2].isupper() else line for line in lines)


def test_the_template_differs_from_the_service_in_its_instance_alone() -> None:
    one, several = ({**unit(path)["Unit"], **unit(path)["Service"]} for path in (SERVICE, TEMPLATE))
    different = {key for key, value in one.items() if several.pop(key) != value}
    assert not several
    assert different == {
        "Description",
        "ExecStart",
        "ExecReload",
        "WorkingDirectory",
        "LogsDirectory",
    }


def test_the_home_of_a_service_is_where_the_verbs_look() -> None:
    for path in (SERVICE, TEMPLATE):
        assert f"\nEnvironment=PREFORK_HOME={SYSTEM_HOMES}/%N\n" in path.read_text()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
@pytest.mark.parametrize("offers", [False, True], ids=["as_shipped", "with_all_that_it_offers"])
def test_systemd_accepts_the_shipped_units(tmp_path: Path, offers: bool) -> None:
    units = {path.name: path for path in (SERVICE, SOCKET)}
    units |= {"prefork@web.service": TEMPLATE, "prefork@web.socket": SOCKET_TEMPLATE}
    for name, path in units.items():
        text = uncommented(path.read_text()) if offers else path.read_text()
        # systemd wants a program that exists.
        text = re.sub("/srv/[^/]*/.venv/bin/prefork", shutil.which("true") or "/bin/true", text)
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no"]
        + [str(tmp_path / name) for name in units],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    complaints = [line for line in done.stderr.splitlines() if re.search("prefork[.@]", line)]
    assert (done.returncode, complaints) == (0, [])
