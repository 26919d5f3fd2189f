"""What a machine refuses when it has no more of something: disk, memory, descriptors.

No code of ours brings these errors about. Each place that writes a file names the file in an error
of its own; this is for what is left, so that a full disk is not taken for a bug in prefork.
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
    """The error for the operator; None: the cause may well be in prefork."""
    if error.errno not in _RESOURCES:
        return None
    where = f"{error.filename}: " if error.filename else ""
    return MachineError(f"the machine refused: {where}{error.strerror}")
