"""What a process that gave up root must not get back: capabilities, and rights by exec.

capabilities(7), prctl(2). The numbers are those of linux/prctl.h and linux/capability.h.
"""

import ctypes
import errno
import os

PR_CAPBSET_READ, PR_CAPBSET_DROP = 23, 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4

_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def empty_bounding_set() -> None:
    """Drop every capability from it, before the change of user: no program that is executed from
    now on has one, also as root and with file capabilities.

    A process without CAP_SETPCAP, as root in some containers, cannot; that is no error, as it has
    less to lose. Raises OSError.
    """
    capability = 0
    while _libc.prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0:
        if _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            if ctypes.get_errno() == errno.EPERM:
                return
            raise _error()
        capability += 1


def drop_capabilities() -> None:
    """Empty the effective, permitted, inheritable and ambient sets, after the change of user.

    setuid(2) empties the first two and the last by itself, but never the inheritable set, and none
    when the securebits say so (SECBIT_NO_SETUID_FIXUP, SECBIT_KEEP_CAPS). Raises OSError.
    """
    if _libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0:
        raise _error()
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if _libc.capset(header, nothing) < 0:
        raise _error()


def forbid_new_privileges() -> None:
    """For this process and all that it starts: setuid and setgid bits and file capabilities mean
    nothing at exec. Raises OSError."""
    if _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0:
        raise _error()


def _error() -> OSError:
    why = ctypes.get_errno()
    return OSError(why, os.strerror(why))
