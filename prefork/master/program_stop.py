"""Send the stop signal to one program: first to the processes that serve, then to all others.

Design
------
- **Only a server that drains by itself is told first.** The Node shim reports each process that
  takes connections (``X_PREFORK_NODE``). The others of the session are its wrappers (npm, a shell)
  and its helpers. A shell that gets the signal dies at once, and npm then prints five lines of
  errors while the server still answers; a helper may be needed for the requests in flight. They
  end by themselves when the server has ended, or get the signal a moment later: ``nodemon`` and
  ``node --watch`` would wait for ever. Without such a server the signal goes to the whole session
  at once, as with systemd.
- **Servers are found by their pid,** as the kernel told it with their message, and signalled only
  if they are members of the session at that moment. A pid that another process of the program has
  got meanwhile does no harm: it would have got the signal as well.
"""

from dataclasses import dataclass, field

from prefork.unix import process_tree

POLL_INTERVAL = 0.1
"""Seconds between two looks at the servers, which are no children of the master."""

WRAPPER_GRACE = 1.0
"""Seconds that wrappers have to end by themselves after the last server has ended."""

MAX_SERVERS = 64
"""Reported processes of a program that are remembered; a hostile one may report any number."""


@dataclass(slots=True)
class ProgramStop:
    """The stop of one program.

    ``servers``: the pids of the processes that reported themselves. ``next_look_at``: monotonic
    time of the next look at them; None: none is needed. ``is_session_told``: the whole session got
    the signal, or the program was not told to stop.
    """

    servers: set[int] = field(default_factory=set)
    next_look_at: float | None = None
    is_session_told: bool = True
    session: int = 0
    signum: int = 0
    _rest_due_at: float | None = None

    def add_server(self, pid: int) -> None:
        """Remember a process that reported itself as a server."""
        if len(self.servers) < MAX_SERVERS:
            self.servers.add(pid)

    def begin(self, session: int, signum: int, now: float) -> None:
        """Send the signal to the servers, or to all processes of the session if there are none."""
        self.session, self.signum, self.is_session_told = session, signum, False
        for pid in self._living_servers():
            process_tree.signal_member(pid, session, signum)
            self.next_look_at = now + POLL_INTERVAL
        if self.next_look_at is None:
            self.tell_session()

    def run_due(self, now: float) -> None:
        """Send the signal to the rest of the session when it is due."""
        if self.next_look_at is None or self.next_look_at > now:
            return
        self.next_look_at = now + POLL_INTERVAL
        if self._rest_due_at is None:
            if not self._living_servers():
                self._rest_due_at = now + WRAPPER_GRACE
        elif self._rest_due_at <= now:
            self.tell_session()

    def tell_session(self) -> None:
        """Send the signal to all processes of the session, unless they got it already."""
        self.next_look_at = None
        if not self.is_session_told:
            self.is_session_told = True
            process_tree.signal_session(self.session, self.signum)

    def _living_servers(self) -> list[int]:
        found = [process_tree.read_process(pid) for pid in self.servers]
        return [
            each.pid
            for each in found
            if each is not None and each.session == self.session and not each.is_dead
        ]
