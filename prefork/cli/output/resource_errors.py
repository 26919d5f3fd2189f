"""Errors of the kernel that mean that the machine is out of something: disk, memory, descriptors.

No code of prefork causes these errors. Each place that writes a file names the file in an error of
its own; this module is for all other places, so that a full disk is not taken for a bug in prefork.
"""

import errno

from prefork.errors import MachineError

_RESOURCES = frozenset(
    {
        errno.EDQUOT,
        errno.EFBIG,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.EROFS,
    }
)


def resource_error(error: OSError) -> MachineError | None:
    """Return the error to report for an OSError that means a lack of resources.

    None: the error has another cause, which may be a bug in prefork.
    """
    if error.errno not in _RESOURCES:
        return None
    where = f"{error.filename}: " if error.filename else ""
    return MachineError(f"the machine refused: {where}{error.strerror}")
