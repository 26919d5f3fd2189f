"""Drop the privileges that a process must not get back once it gave up root.

Sources: capabilities(7), prctl(2). The numbers are those of linux/prctl.h and linux/capability.h.

Design
------
- **A worker that gives up root keeps no capability.** The bounding set is emptied before setuid(2),
  all other sets after it, whatever inheritable and ambient sets or securebits the master was given.
  The master binds low ports, so no worker needs CAP_NET_BIND_SERVICE.
- **A master that is not root leaves the sets that its service manager chose.** There is no option
  against this: an app that needs sudo runs under a master that is not root, with sockets from
  systemd.
- **no_new_privs is an option** (``--no-new-privs``), because it breaks setgid programs as well.
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
    """Drop every capability from the bounding set; to be called before the change of user.

    No program that is executed from now on can gain one, also as root and with file capabilities. A
    process without CAP_SETPCAP, such as root in some containers, cannot drop them; that is no
    error, because it has fewer to lose. Raises OSError.
    """
    # PR_CAPBSET_READ fails beyond the last capability that this kernel knows.
    capability = 0
    while _libc.prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0:
        if _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            if ctypes.get_errno() == errno.EPERM:
                return
            raise _error()
        capability += 1


def drop_capabilities() -> None:
    """Empty the effective, permitted, inheritable and ambient sets, after the change of user.

    setuid(2) empties the effective, permitted and ambient sets by itself, but never the inheritable
    set, and none of them when the securebits say so (SECBIT_NO_SETUID_FIXUP, SECBIT_KEEP_CAPS).
    Raises OSError.
    """
    if _libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0:
        raise _error()
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if _libc.capset(header, nothing) < 0:
        raise _error()


def forbid_new_privileges() -> None:
    """Set no_new_privs for this process and its descendants (prctl(2)).

    Setuid and setgid bits and file capabilities have no effect at exec from then on. Raises
    OSError.
    """
    if _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0:
        raise _error()


def _error() -> OSError:
    why = ctypes.get_errno()
    return OSError(why, os.strerror(why))
