"""The type of the file system that a file is on (proc_pid_mountinfo(5))."""

import os


def file_system_type(fd: int) -> str:
    """Return the type of the file system of an open file, such as ext4; empty: it is not known."""
    device = os.fstat(fd).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    found = ""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                before, _, after = line.partition(" - ")
                if before.split(" ", 3)[2:3] == [wanted]:
                    found = after.split(" ", 1)[0]
    except OSError:
        return ""
    return found


def is_network_file_system(kind: str) -> bool:
    """Return whether other machines may change files of this type of file system.

    Locks and shared memory of this machine say nothing about their processes.
    """
    return kind.startswith(("nfs", "cifs", "smb", "afs", "ceph", "9p", "lustre")) or kind in (
        "fuse.sshfs",
        "fuse.glusterfs",
        "ocfs2",
        "gfs2",
    )
