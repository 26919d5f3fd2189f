"""Find out whether the next master of an app would start, while the present one serves.

Design
------
- **The check is that of** ``--check``, in a new Python with the working directory, the command line
  and the environment of the next master. It imports the app as a worker would, and ends within
  ``--boot-timeout``. What a start needs beyond that (addresses) the present master checks, because
  it has the sockets (master/reload_preparation.py).
- **It costs a second import of the app** while its workers run, as a reload does. An app that
  cannot be imported then, because it locks a file, is restarted with ``--stop-first``.
- **What the app prints goes to stderr,** so that a script which reads stdout gets the outcome only.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefork.cli.output.output_streams import printable_streams
from prefork.errors import MachineError, PreforkError
from prefork.unix.daemon import open_standard_streams
from prefork.unix.process import signal_name
from prefork.wire.control import RefusedError

_MAX_REPORT_SIZE = 2**20
"""Bytes of a report that are read."""

_CODE = """\
import sys
sys.path.insert(0, sys.argv[2])
from prefork.cli.verbs.restart_check import run_check
del sys.path[0]
run_check(int(sys.argv[1]), sys.argv[3:])
"""


@dataclass(frozen=True, slots=True)
class NextStart:
    """How the next master of an app would be started. ``environment``: all of its variables."""

    arguments: Sequence[str]
    start_dir: str
    environment: Mapping[str, str]


def check_start(start: NextStart, timeout: float | None) -> None:
    """Raise RefusedError, with the reason, if the start would fail; MachineError if the check does
    not end within ``timeout`` seconds (None: no limit but ``--boot-timeout``)."""
    report = os.memfd_create("prefork-check")
    package = str(Path(__file__).parents[3])
    # -P: a folder "prefork" in the working directory is not this package.
    words = [sys.executable, "-P", "-c", _CODE, str(report), package, *start.arguments]
    try:
        process = subprocess.Popen(
            words,
            cwd=start.start_dir,
            env=dict(start.environment),
            stdin=subprocess.DEVNULL,
            stdout=2,
            pass_fds=(report,),
        )
        with process:
            _wait(process, timeout)
        _raise_failure(os.pread(report, _MAX_REPORT_SIZE, 0), process.returncode)
    except OSError as error:
        raise MachineError(f"cannot check the next start: {error.strerror}") from error
    finally:
        os.close(report)


def _wait(process: "subprocess.Popen[bytes]", timeout: float | None) -> None:
    """Wait for the end of the check; kill it if it takes too long, or if this command is ended."""
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        text = f"the check of the next start did not end within {timeout:g} s"
        raise MachineError(text) from None
    except BaseException:
        process.kill()
        raise


def _raise_failure(report: bytes, code: int) -> None:
    """Raise RefusedError unless the report says that the check succeeded."""
    if report:
        found = json.loads(report)
        if found["code"]:
            raise RefusedError(found["error"], found["code"])
        return
    how = signal_name(-code) if code < 0 else f"exit code {code}"
    raise MachineError(f"the check of the next start ended without a result: {how}")


def run_check(report: int, arguments: Sequence[str]) -> None:
    """Check a start in this process, and write the result to the descriptor ``report``."""
    open_standard_streams()
    found = {"code": 0, "error": ""}
    with printable_streams():
        try:
            _check(arguments)
        except PreforkError as error:
            found = {"code": error.exit_code, "error": str(error)}
    os.write(report, json.dumps(found).encode())


def _check(arguments: Sequence[str]) -> None:
    # The command that asks for the check needs none of these.
    from prefork.cli.serve.check_app import check_app  # noqa: PLC0415
    from prefork.cli.serve.settings_loader import SettingsLoader, start_folder  # noqa: PLC0415
    from prefork.config.target import require_target  # noqa: PLC0415
    from prefork.unix.identity import group_id  # noqa: PLC0415

    config = SettingsLoader(arguments, os.environ).read().config
    require_target(config)
    if config.control_group:
        group_id(config.control_group)
    check_app(config, start_folder())
