"""The version that each message between prefork's own processes carries. PURE.

Processes of two versions of prefork meet: after an update of the package the command manages a
master that was started before it. A message has the version of its format in the key ``v``.
Messages of masters from before that key count as version FIRST.

    format                                 version                      a message of a later one
    control socket (control.py)            ``v`` in each line           works if its verb is known
    ready pipe (ready.py)                  ``v`` in each line           is an invalid message
    log writer and status server           ``v`` in each message        is an invalid message
    (log_writer_messages.py)
    file watcher (watcher_messages.py)     ``v`` in each line           is an invalid message
    order pipe (worker_orders.py)          one byte without a version  comes from the same process
    guard (guard_messages.py)              ``v`` in each message        ends the guard for a new one
    foreground pipe (start_report.py)      ``v`` in the line            is an error; the daemon runs
    scoreboard (scoreboard.py)             the last character of MAGIC  is not read
    shared queue (unix/shared_queue.py)    the first byte of a message  is dropped
    write journal                          the mark of a batch          is forgotten: its lines may
    (observe/write_journal.py)                                          come twice, none is lost
    state of a master                      the key ``version``          is refused
    (master/master_record.py)
    registry (registry_state.py)           ``v`` in the state file      is listed, and not started
    deaths (death_file.py)                 ``v`` in the file            has no deaths
    ``saved.toml``                         ``v`` at its top             is refused
    (cli/registry/saved_apps.py)

The pid file, the datagrams of sd_notify(3) and the log files have formats of others. Output pipes,
the spool and the shared connection carry bytes of apps and clients.

Design
------
- **A reader understands its own version and all before.** A format that changes gets the next
  number; its decoder keeps the cases of earlier numbers.
- **The control socket is lenient,** because command and master meet there in both orders, and what
  both know (list, reload, stop) has to work. A verb says since which version it exists, so that the
  command can say why a master refuses it. Inside of one master's process tree a message from a
  later version is a mistake of an upgrade, and its sender is replaced.
- **Rejected: one number for all formats,** such as the version of the package. It changes with each
  release, and tells nothing about what a reader understands.
"""

from collections.abc import Mapping
from typing import Any

FIRST = 1
"""The version of messages without the key ``v``."""


class LaterVersionError(ValueError):
    """A message has a later version of its format than this process knows."""


def stamp(version: int, message: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``message`` with the version of its format."""
    return {"v": version, **message}


def take_version(message: dict[str, Any]) -> int:
    """Remove the version from a decoded message, and return it.

    Raises ValueError for one that is no positive integer.
    """
    version = message.pop("v", FIRST)
    if type(version) is not int or version < FIRST:
        raise ValueError(f"the version {version!r} of the message is not a positive integer")
    return version


def require_known_version(message: dict[str, Any], known: int) -> None:
    """Remove the version from a decoded message.

    Raises LaterVersionError if it is later than the version ``known`` of this process, and
    ValueError for one that is no version.
    """
    if (version := take_version(message)) > known:
        raise LaterVersionError(
            f"the message has version {version} of its format, and this process knows {known}"
        )
