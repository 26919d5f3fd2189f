"""Socket activation without systemd: a command that inherits sockets as from a socket unit."""

import socket
import sys

# The work of systemd between fork and exec: sockets at 3 and up, and LISTEN_PID.
ACTIVATE = """
import fcntl, os, sys
count = int(sys.argv[1])
fds = [fcntl.fcntl(int(word), fcntl.F_DUPFD_CLOEXEC, 100) for word in sys.argv[2:2 + count]]
os.closerange(3, 100)
for number, fd in enumerate(fds, 3):
    os.dup2(fd, number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count))
command = sys.argv[2 + count:]
os.execv(command[0], command)
"""


def activation(*sockets: socket.socket) -> list[str]:
    """Return the prefix of a command that is to inherit the sockets."""
    fds = [str(sock.fileno()) for sock in sockets]
    return [sys.executable, "-c", ACTIVATE, str(len(fds)), *fds]
