"""The leader: the one worker of an app that does what must not be done twice.

    state    event                                                           next state
    vacant   a worker serves, and no leader of an earlier master lives       held: NameLeader
    held     the leader was reaped, or resigned                              vacant

Design
------
- **Nothing else ends a term.** A leader that hangs, or was sent SIGKILL, leads until it is reaped:
  a process that was stopped (SIGSTOP) goes on where it was, so a second leader would run beside it.
  Rejected: a lease with a time limit, which cannot stop a process that sleeps through its end
  (Kleppmann, "How to do distributed locking"). One machine needs none, because its kernel tells
  when a process has ended.
- **A leader that is asked to stop resigns,** once its work as the leader has ended, and drains
  without the leadership. A drain may take as long as the kill timeout.
- **A worker leads once at most.** A hostile worker that resigns again and again would otherwise
  keep the master busy. A worker resigns when it stops, so it has no use for a second term.
- **The next leader is of the generation that is desired, and has the lowest slot.** So a roll moves
  the leadership once, and a scale-down, which stops the highest slots, rarely does. A worn worker
  leads only if there is no other.
- **The fencing token rises with each term,** also from one master to the next, whose first token is
  above the last one. A resource that keeps the largest token that it has seen refuses a leader
  whose term is over.
- **A leader of an earlier master counts as the leader until it has ended.** A master that was
  killed leaves its workers to drain by themselves, and the next master may start meanwhile.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from prefork.pool.orders import NameLeader
from prefork.pool.table import WorkerTable
from prefork.pool.workers import Worker


@dataclass(slots=True)
class LeaderState:
    """The leadership of the app.

    ``worker``: the serial number of the leader; 0: vacant. ``token``: the fencing token of the
    present term, or of the last one. ``predecessor_lives``: the leader of an earlier master has not
    ended yet.
    """

    worker: int = 0
    token: int = 0
    predecessor_lives: bool = False

    @property
    def shown_token(self) -> int:
        """The fencing token of the leader; 0: no worker leads."""
        return self.token if self.worker else 0

    def release(self, worker: Worker) -> None:
        """End the term of a worker that was reaped or resigned; it gets no other one."""
        worker.may_lead = False
        if self.worker == worker.id:
            self.worker = 0

    def appoint(self, workers: WorkerTable, generation: int) -> Iterator[NameLeader]:
        """Name the next leader if there is none. ``generation``: the desired one."""
        if self.worker or self.predecessor_lives:
            return
        candidates = [worker for worker in workers.ready() if worker.may_lead]
        if not candidates:
            return

        def rank(worker: Worker) -> tuple[bool, bool, int, int]:
            is_desired = worker.generation == generation
            return is_desired, not worker.worn, worker.generation, -worker.slot

        self.worker, self.token = max(candidates, key=rank).id, self.token + 1
        yield NameLeader(self.worker, self.token)
