"""``prefork startup``, ``unstartup`` and ``init``: a systemd unit, and a sample settings file.

Design
------
- **``startup`` writes one oneshot unit that resurrects,** not a unit per app: masters belong to the
  list, and systemd must not bring back one that crashed or was deleted. ``conf/prefork.service`` is
  for operators who want systemd to own an app.
- **The unit is active also if an app does not start.** systemd kills all processes of a unit that
  failed: one broken app took all others down at boot.
- **Its name is its own,** ``prefork-resurrect.service``: an operator's ``prefork.service`` may be a
  copy of that in ``conf``. A unit without the first line that ``startup`` writes is neither
  replaced nor removed, as Debian's tools leave changed files alone.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from prefork.cli.registry.client import Client
from prefork.errors import MachineError, UsageError
from prefork.unix.directory import Directory
from prefork.unix.home import replace_file, user_home_directory
from prefork.unix.identity import describe_user
from prefork.unix.regular_file import NotRegularFileError

Options = argparse.Namespace
UNIT_NAME = "prefork-resurrect.service"

_MAX_UNIT_SIZE = 64 * 1024
"""Bytes of a unit that are read at most."""

UNIT_TEMPLATE = """\
# Written by `prefork startup`; `prefork unstartup` removes it.
[Unit]
Description=the saved prefork apps of {owner}
Documentation=man:systemd.service(5)
After=network-online.target
Wants=network-online.target

[Service]
# The masters stay in the background; each is ready when resurrect returns. The dash: systemd would
# end them all if one of them did not start. The journal and `prefork list` name that one.
Type=oneshot
RemainAfterExit=yes
Environment={home}
ExecStart=-{prefork} resurrect
ExecReload={prefork} reload all
ExecStop={prefork} stop all
# Longer than it takes to boot and to drain the apps: prefork itself reports what failed.
TimeoutStartSec=infinity
TimeoutStopSec=300
LimitNOFILE=65536

[Install]
WantedBy={target}
"""
FIRST_LINE = UNIT_TEMPLATE.partition("\n")[0]
"""By this line a unit is known as one of ``startup``."""

SAMPLE_SETTINGS = """\
# prefork start prefork.toml           starts what is missing, reloads what changed
# prefork start prefork.toml --dry-run prints what it would do
# prefork check prefork.toml           loads every app in a throw-away process

[defaults]                             # options of all apps; see prefork --help
kill-timeout = "30s"

[apps.web]
app = "myapp:main"
workers = 0                            # one per core
bind = ["127.0.0.1:8000"]
# namespace = "shop"                   # prefork reload shop: all apps of it
# after = ["db"]                       # started when [apps.db] is ready

[apps.web.env]
GREETING = "hello"

# [apps.web.env_production]            # prefork start prefork.toml --env production
# GREETING = "good day"
"""


def init(_client: Client, _options: Options) -> int:
    """Write a sample ``prefork.toml`` to the working directory. Return the exit code.

    An existing file stays as it is (UsageError).
    """
    try:
        with Directory.open(".") as here:
            here.create_with_content("prefork.toml", SAMPLE_SETTINGS.encode(), 0o666)
    except FileExistsError:
        raise UsageError("there is a prefork.toml here already, and it stays as it is") from None
    except OSError as error:
        raise MachineError(f"cannot write prefork.toml: {error.strerror}") from error
    print("wrote prefork.toml; edit it, then: prefork start prefork.toml")
    return 0


def startup(client: Client, options: Options) -> int:
    """Write the systemd unit and enable it. Return the exit code."""
    path, text = _unit_path(options.user), _render_unit(client, options.user)
    if _prints_only(options):
        print(f"# {path}\n{text}")
        _print_commands(options.user, ("daemon-reload",), ("enable", UNIT_NAME))
        return 0
    _require_own_unit(path, "and is not replaced")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(f"cannot make {path.parent}: {error.strerror}") from error
    replace_file(path, text, mode=0o644)
    print(f"wrote {path}")
    _systemctl(options.user, "daemon-reload")
    _systemctl(options.user, "enable", UNIT_NAME)
    print("at boot `prefork resurrect` starts what `prefork save` kept")
    if options.user:
        print("to start before you log in: loginctl enable-linger")
    return 0


def unstartup(_client: Client, options: Options) -> int:
    """Disable the systemd unit and remove it. Return the exit code."""
    path = _unit_path(options.user)
    if _prints_only(options):
        print(f"# remove {path}")
        _print_commands(options.user, ("disable", UNIT_NAME), ("daemon-reload",))
        return 0
    if not path.exists():
        raise UsageError(f"there is no {path}")
    _require_own_unit(path, "and is not removed")
    _systemctl(options.user, "disable", UNIT_NAME)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise MachineError(f"cannot remove {path}: {error.strerror}") from error
    _systemctl(options.user, "daemon-reload")
    print(f"removed {path}")
    return 0


def _require_own_unit(path: Path, consequence: str) -> None:
    """Raise UsageError if a unit that ``startup`` did not write is at ``path``."""
    if not _is_own_unit(path):
        raise UsageError(
            f"{path} was not written by `prefork startup`, {consequence}; move it away first"
        )


def _is_own_unit(path: Path) -> bool:
    """Return whether ``startup`` wrote the unit at ``path``, or there is none.

    Raises MachineError.
    """
    try:
        folder, name = Directory.open_parent(path)
        with folder:
            return folder.read(name, _MAX_UNIT_SIZE).startswith(FIRST_LINE.encode())
    except FileNotFoundError:
        return True
    except NotRegularFileError:
        return False  # a symlink, such as that of `systemctl mask`
    except OSError as error:
        raise MachineError(f"cannot read {path}: {error.strerror}") from error


def _prints_only(options: Options) -> bool:
    if options.dry_run:
        return True
    if not options.user and os.geteuid() != 0:
        print("# this needs root; as root, or with --user, these commands would be run:")
        return True
    return False


def _unit_path(user: bool) -> Path:
    if not user:
        return Path("/etc/systemd/system") / UNIT_NAME
    if config := os.environ.get("XDG_CONFIG_HOME"):
        return Path(config) / "systemd/user" / UNIT_NAME
    return user_home_directory("set XDG_CONFIG_HOME") / ".config/systemd/user" / UNIT_NAME


def _render_unit(client: Client, user: bool) -> str:
    return UNIT_TEMPLATE.format(
        owner=describe_user(os.geteuid()),
        home=_quoted(f"PREFORK_HOME={client.home.absolute()}"),
        prefork=f"{_quoted(sys.executable)} -m prefork",
        target="default.target" if user else "multi-user.target",
    )


def _quoted(text: str) -> str:
    """Quote a word for a unit file.

    See systemd.syntax(7); percent signs are doubled (systemd.unit(5)).
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _print_commands(user: bool, *commands: Sequence[str]) -> None:
    for command in commands:
        print("# " + shlex.join(_command(user, command)))


def _command(user: bool, arguments: Sequence[str]) -> list[str]:
    return ["systemctl", *(["--user"] if user else []), *arguments]


def _systemctl(user: bool, *arguments: str) -> None:
    command = _command(user, arguments)
    command_line = shlex.join(command)
    if shutil.which("systemctl") is None:
        raise MachineError(f"systemctl is not installed; this is left to do: {command_line}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MachineError(f"{command_line} failed: {done.stderr.strip() or done.returncode}")
