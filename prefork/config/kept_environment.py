"""The environment that an app keeps: the one that it was started with. PURE.

An app in the background is started again with it, by ``start``, ``restart``, ``resurrect`` and at
boot, from whatever shell the command comes. The app's folder has it in a file with mode 0600
(unix/home.py), and ``save`` writes it into ``saved.toml``, which has mode 0600 as well.

Design
------
- **The shell of a later command does not change an app.** At boot there is no shell, and PATH is
  another one; a restart by a colleague or by cron would bring theirs. PM2 keeps the environment for
  the same reason, and takes the present one with ``--update-env``, as prefork does.
- **Values are kept, secrets among them.** Without them an app that reads its database's password
  from the environment does not come back after a boot. Its owner and root alone can read the files,
  as they can read /proc/PID/environ of the app, and commands print values only with ``--reveal``.
- **What belongs to one login or one start is not kept:** the sockets and the watchdog that systemd
  gave to this process, the terminal, the agent and the address of an SSH session, the user who
  called sudo. An app that used them would work until the first restart.
"""

import json
import re
from collections.abc import Mapping

_OF_ONE_START = re.compile(r"LISTEN_\w+|NOTIFY_SOCKET|WATCHDOG_\w+|FDSTORE")
"""Variables by which a service manager speaks to the process that it has just started."""

_NOT_KEPT = re.compile(
    _OF_ONE_START.pattern
    + r"|INVOCATION_ID|JOURNAL_STREAM|SSH_\w+|SUDO_\w+|DISPLAY"
    + r"|NOTIFY_FD|PREFORK_(HOME|SLOT|GENERATION|FIGURES_FD)"
)
"""Those, and what belongs to one login, to the home, or to a worker that started the command."""

_READ_AT_START = re.compile(r"PYTHON\w*|LD_\w+|MALLOC_\w+|GLIBC_TUNABLES")
"""Variables that Python, the loader and the C library read once, when a process begins."""


def keep_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the part of an environment that an app keeps."""
    return {name: value for name, value in environ.items() if not _NOT_KEPT.fullmatch(name)}


def variables_of_one_start(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are for the next start alone."""
    return {name: value for name, value in environ.items() if _OF_ONE_START.fullmatch(name)}


def needs_new_interpreter(current: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Return whether a process with one environment cannot simply take the other one.

    PYTHONPATH, LD_PRELOAD or MALLOC_ARENA_MAX take effect when a process begins, and not later.
    """
    return _read_at_start(current) != _read_at_start(wanted)


def _read_at_start(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if _READ_AT_START.fullmatch(name)}


def encode_environment(environ: Mapping[str, str]) -> str:
    """Return the text of the file. Bytes that are not UTF-8 are lone surrogates (PEP 383), which
    JSON can express."""
    return json.dumps(dict(sorted(environ.items())), indent=1)


def decode_environment(text: str) -> dict[str, str]:
    """Parse a text that ``encode_environment`` returned. Raises ValueError for any other text."""
    try:
        environ = json.loads(text)
    except RecursionError as error:
        raise ValueError("too deep") from error
    if not isinstance(environ, dict):
        raise ValueError("no object")
    for name, value in environ.items():
        if not isinstance(value, str):
            raise ValueError(f"the value of {name!r} is no text")
        check_variable(name, value)
    return environ


def check_variable(name: str, value: str) -> None:
    """Raise ValueError for a variable that no process can have."""
    if not name or "=" in name or "\0" in name + value:
        raise ValueError(f"no process can have the variable {name!r}")
