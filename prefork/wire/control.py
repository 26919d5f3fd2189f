"""The control protocol between a master and those who manage it: JSON lines on a unix socket. PURE.

A connection carries one request and what follows from it: any number of progress lines, then one
result or one error, then its end.

    request    {"verb": "scale", "arguments": {"workers": "+2"}}
    progress   {"progress": "worker 3 (pid 71, gen 1) ready in 0.41s"}
    result     {"result": {"workers": 4}}
    error      {"error": "reload failed, gen 1 serves on: …", "code": 102}

Each verb is declared once, below: the socket, the command line and the documentation go by it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prefork.errors import PreforkError, UsageError
from prefork.plural import pluralize
from prefork.printable import cut_middle

MAX_LINE_SIZE = 1024 * 1024
"""Bytes of a line; more is no request of ours."""

MAX_REASONS_SIZE = MAX_LINE_SIZE // 2
"""Bytes that the reasons of all deaths may take in one answer."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a verb; ``required`` has no default, otherwise it is None."""

    name: str
    text: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Verb:
    """What a master can be asked. ``changes``, or tells a secret: only its owner may ask."""

    name: str
    text: str
    owner_only: bool = False
    arguments: tuple[Argument, ...] = ()


NO_WAIT = Argument("no_wait", "end as soon as the wish is known to be right")

VERBS = {
    verb.name: verb
    for verb in (
        Verb("ping", "whether the master answers, and who it is"),
        Verb("show", "the master's state, its workers and its settings"),
        Verb("why", "the last deaths, each with its cause and what the worker said itself"),
        Verb("wait", "nothing; ends when every slot serves and nobody is on the way out"),
        Verb("events", "everything that happens, as it happens, until the connection ends"),
        Verb("plan", "what a reload would change now, and how it would go", True),
        Verb("env", "the variables of the workers, with their values", True),
        Verb(
            "reload",
            "a rolling reload; ends when every slot serves the new generation",
            True,
            (NO_WAIT,),
        ),
        Verb(
            "scale",
            "another number of workers; ends when they serve and the others have left",
            True,
            (Argument("workers", "a number, or +N or -N", required=True), NO_WAIT),
        ),
        Verb(
            "stop",
            "a graceful stop; ends when everything is over",
            True,
            (Argument("quick", "do not wait for requests in flight"), NO_WAIT),
        ),
        Verb(
            "signal",
            "a signal to the workers, or to those of one slot",
            True,
            (
                Argument("signal", "its name or number", required=True),
                Argument("slot", "only to this slot"),
            ),
        ),
        Verb("hand_over", "copies of the listening sockets, for the master after this one", True),
        Verb("reopen", "open the logs anew, after somebody else rotated them", True),
        Verb("rotate", "put what the workers printed away, and begin a new file", True),
        Verb("flush", "empty the logs, the rotated ones, too", True),
        Verb("reset", "forget the deaths so far, and begin to count anew", True),
    )
}


@dataclass(frozen=True, slots=True)
class Request:
    """A verb of VERBS with its arguments."""

    verb: Verb
    arguments: Mapping[str, Any]


class RefusedError(PreforkError):
    """The master said no, with the exit code that it deserves."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code


def encode_request(verb: str, **arguments: Any) -> bytes:
    """The line that asks."""
    return _line({"verb": verb, "arguments": arguments})


def encode_progress(text: str, **details: Any) -> bytes:
    """A line on the way."""
    return _line({"progress": text, **details})


def encode_result(value: Mapping[str, Any]) -> bytes:
    """The last line, when the goal is reached."""
    return _line({"result": value})


def encode_error(text: str, code: int) -> bytes:
    """The last line, when it is not; ``code`` is the exit code for the client."""
    return _line({"error": cut_middle(text), "code": code})


def fit_deaths(deaths: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The deaths, by their time (``at``), as they fit into one answer: each has a ``reason``, and
    those of the oldest are cut to one line of 200 characters where ROOM_FOR_REASONS is used up."""
    fitted: list[Mapping[str, Any]] = []
    room_left = MAX_REASONS_SIZE
    for death in sorted(deaths, key=lambda death: float(death["at"]), reverse=True):
        room_left -= len(json.dumps(death["reason"]))
        short = death if room_left >= 0 else {**death, "reason": _last_line(death["reason"])[:200]}
        fitted.insert(0, short)
    return fitted


def _last_line(text: str) -> str:
    return text.rstrip().rpartition("\n")[2]


def decode_request(line: bytes) -> Request:
    """What a client asks. Raises UsageError for everything that is no request."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise UsageError("a request is one line of JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("arguments", {}), dict):
        raise UsageError('a request is an object: {"verb": "…", "arguments": {…}}')
    name, arguments = message.get("verb"), message.get("arguments", {})
    verb = VERBS.get(name) if isinstance(name, str) else None
    if verb is None:
        raise UsageError(f"no verb {name!r}; there are {', '.join(VERBS)}")
    known = {argument.name for argument in verb.arguments}
    for name in arguments:
        if name not in known:
            raise UsageError(f"{verb.name} has no argument {name!r}")
    for argument in verb.arguments:
        if argument.required and argument.name not in arguments:
            raise UsageError(f"{verb.name} needs {argument.name}: {argument.text}")
    return Request(verb, arguments)


@dataclass(frozen=True, slots=True)
class Progress:
    """On the way; ``details`` are for programs."""

    text: str
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """The goal is reached."""

    value: Mapping[str, Any]


def decode_answer(line: bytes) -> Progress | Result:
    """What a master says. Raises RefusedError for its errors, and for nonsense."""
    try:
        message = json.loads(line)
        if "result" in message:
            return Result(dict(message["result"]))
        if "progress" in message:
            return Progress(str(message.pop("progress")), message)
        text, code = str(message["error"]), int(message["code"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        text, code = f"the master said nonsense: {line[:200]!r}", PreforkError.exit_code
    raise RefusedError(text, code)


class LineDecoder:
    """Bytes in, lines out; keeps an unfinished line. Raises UsageError when one is too long."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """All lines that are complete with ``data``, without their ends."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > MAX_LINE_SIZE:
            raise UsageError(f"a line of more than {MAX_LINE_SIZE} bytes")
        yield from lines


def parse_target(requested: object, target: int) -> int:
    """How many workers ``4``, ``+2`` or ``-1`` mean when there are ``target``.

    Raises UsageError.
    """
    text = str(requested).strip()
    digits = text.removeprefix("+").removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 6:
        raise UsageError(f"workers must be a number, or +N or -N, not {text!r}")
    number = int(digits)
    if text[0] in "+-":
        number = target + number if text[0] == "+" else target - number
    if number < 1:
        left = pluralize(number, "worker")
        raise UsageError(f"{text} would leave {left}; to stop all of them use stop")
    return number


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"
