"""What the pool learns from a message on a ready pipe."""

from collections.abc import Iterator

from prefork.errors import AppError
from prefork.pool import facts
from prefork.wire.ready import InvalidMessage, MessageKind, ReadyMessage


def facts_of(worker: int, message: ReadyMessage | InvalidMessage) -> Iterator[facts.Fact]:
    """The facts about the worker with this number of the pool.

    Nonsense is two of them, and the pool passes over the one that does not fit the worker's state:
    a worker that boots has failed, and one that serves is replaced like a worn one. Its heir boots
    first, because its clients are not to suffer; it can do no harm meanwhile, since nothing more is
    heard of it.
    """
    match message:
        case ReadyMessage(MessageKind.READY):
            yield facts.Ready(worker)
        case ReadyMessage(MessageKind.FAILED, text, code):
            yield facts.BootFailed(worker, text, code or AppError.exit_code)
        case ReadyMessage(MessageKind.LEAVING, waits_for):
            yield facts.Leaving(worker, waits_for)
        case ReadyMessage(MessageKind.WORN, text):
            yield facts.Worn(worker, text)
        case ReadyMessage(MessageKind.STUCK, text):
            yield facts.Stuck(worker, text)
        case InvalidMessage(line):
            why = f"it said what makes no sense: {line}"
            yield facts.BootFailed(worker, why)
            yield facts.Worn(worker, why)
