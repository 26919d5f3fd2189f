"""The facts for the pool that follow from a message on a ready pipe.

Design
------
- **The first invalid message of a worker is the last that the master reads.** The worker is
  replaced like a worn one: its heir is ready first, because its clients have done nothing wrong.
  Valid messages have a limit, too (100 from a worker).
"""

from collections.abc import Iterator

from prefork.errors import AppError
from prefork.pool import facts
from prefork.wire.ready import InvalidMessage, MessageKind, ReadyMessage


def facts_of(worker: int, message: ReadyMessage | InvalidMessage) -> Iterator[facts.Fact]:
    """Yield the facts that a message of a worker means. ``worker``: its serial number.

    An invalid message yields two facts, and the pool ignores the one that does not fit the state of
    the worker: a worker that boots has failed, and one that serves is replaced like a worn one.
    """
    match message:
        case ReadyMessage(MessageKind.READY):
            yield facts.Ready(worker)
        case ReadyMessage(MessageKind.BEATS):
            pass  # the master reads all deadlines when it was woken
        case ReadyMessage(MessageKind.FAILED, text, code):
            yield facts.BootFailed(worker, text, code or AppError.exit_code)
        case ReadyMessage(MessageKind.LEAVING, waits_for):
            yield facts.Leaving(worker, waits_for)
        case ReadyMessage(MessageKind.WORN, text):
            yield facts.Worn(worker, text)
        case ReadyMessage(MessageKind.RESIGNED):
            yield facts.Resigned(worker)
        case ReadyMessage(MessageKind.STUCK, text):
            yield facts.Stuck(worker, text)
        case InvalidMessage(line):
            why = f"it sent an invalid message: {line}"
            yield facts.BootFailed(worker, why)
            yield facts.Worn(worker, why)
