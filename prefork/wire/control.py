"""The control protocol between a master and its clients: JSON lines on a unix socket. PURE.

A connection carries one request and its answer: any number of progress lines, then one result or
one error, then the end of the connection.

    request    {"v": 2, "verb": "scale", "arguments": {"workers": "+2"}}
    progress   {"progress": "worker 3 (pid 71, gen 1) ready in 0.41s"}
    result     {"result": {"workers": 4}}
    error      {"error": "reload failed, gen 1 serves on: …", "code": 102}

Each line has the key ``v`` (versions.py). A later version of either end is no error: verbs and
keys that both know work.

``verb_table.py`` declares the verbs and the fields of their requests.

Design
------
- **The reasons of deaths in one answer are bounded by bytes** (MAX_REASONS_SIZE). Each reason may
  be a long traceback; beyond the bound the oldest keep their last line only.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prefork.errors import PreforkError, UsageError
from prefork.plural import pluralize
from prefork.printable import cut_middle
from prefork.wire.verb import Verb
from prefork.wire.verb_table import requests
from prefork.wire.versions import stamp, take_version

VERSION = max(verb.since for verb in requests().values())
"""The version of the protocol, the ``v`` of each line. A new verb is a new version."""

MAX_LINE_SIZE = 1024 * 1024
"""Bytes that a line may have."""

MAX_REASONS_SIZE = MAX_LINE_SIZE // 2
"""Bytes of the reasons of all deaths in one answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request for a verb, with the fields that the client sent."""

    verb: Verb
    arguments: Mapping[str, Any]


class RefusedError(PreforkError):
    """The master refused a request; ``exit_code`` is for the process of the client. ``version``:
    the version of the protocol that the master has."""

    def __init__(self, message: str, code: int, version: int = VERSION) -> None:
        super().__init__(message)
        self.exit_code = code
        self.version = version


def encode_request(verb: Verb | str, **arguments: Any) -> bytes:
    """Encode a request. ``verb``: its declaration, or the name that a program gives."""
    name = verb if isinstance(verb, str) else verb.name
    return _line({"verb": name, "arguments": arguments})


def encode_progress(text: str, **details: Any) -> bytes:
    """Encode a progress line: ``text`` for people, ``details`` for programs."""
    return _line({"progress": text, **details})


def encode_result(value: Mapping[str, Any]) -> bytes:
    """Encode the result, the last line of an answer."""
    return _line({"result": value})


def encode_error(text: str, code: int) -> bytes:
    """Encode an error, the last line of an answer; ``code``: the exit code for the client."""
    return _line({"error": cut_middle(text), "code": code})


def fit_deaths(deaths: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the deaths in the order of their time (``at``), small enough for one answer.

    Once the reasons of the newest deaths take MAX_REASONS_SIZE bytes, the ``reason`` of each older
    one is cut to its last line, at most 200 characters.
    """
    # Newest first, because the newest deaths matter most to the reader.
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
    """Decode and validate a request. Raises UsageError when the line is not a valid one."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise UsageError("a request is one line of JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("arguments", {}), dict):
        raise UsageError('a request is an object: {"verb": "…", "arguments": {…}}')
    name, arguments = message.get("verb"), message.get("arguments", {})
    known = requests()
    verb = known.get(name) if isinstance(name, str) else None
    if verb is None:
        raise UsageError(f"no verb {name!r}; there are {', '.join(known)}")
    fields = {field.name: field for field in verb.fields}
    for name in arguments:
        if name not in fields:
            raise UsageError(f"{verb.name} has no argument {name!r}")
    for field in fields.values():
        if not field.flags and field.name not in arguments:
            raise UsageError(f"{verb.name} needs {field.name}: {field.text}")
    return Request(verb, arguments)


@dataclass(frozen=True, slots=True)
class Progress:
    """A decoded progress line: ``text`` for people, ``details`` for programs."""

    text: str
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """A decoded result."""

    value: Mapping[str, Any]


def decode_answer(line: bytes) -> Progress | Result:
    """Decode one line of an answer.

    Raises RefusedError for an error of the master, and for a line that is malformed.
    """
    try:
        message = json.loads(line)
        if "result" in message:
            return Result(dict(message["result"]))
        version = take_version(message)
        if "progress" in message:
            return Progress(str(message.pop("progress")), message)
        text, code = str(message["error"]), int(message["code"])
        if not 0 < code < 256:  # of exit(3); 0 would make a refusal a success
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        text = f"the answer of the master is malformed: {line[:200]!r}"
        code, version = PreforkError.exit_code, VERSION
    raise RefusedError(text, code, version)


class LineDecoder:
    """Splits a stream of bytes into lines, and keeps an unfinished line for the next call."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the lines that ``data`` completes, without their line ends.

        Raises UsageError when a line has more than MAX_LINE_SIZE bytes.
        """
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > MAX_LINE_SIZE:
            raise UsageError(f"a line of more than {MAX_LINE_SIZE} bytes")
        yield from lines


_WORKERS = re.compile(r"[+-]?[0-9]{1,18}")
"""A number of workers. One that is larger than the pool takes is refused there, with its limit."""


def parse_target(requested: object, target: int) -> int:
    """Return the number of workers that ``4``, ``+2`` or ``-1`` means when ``target`` are wanted
    now. Raises UsageError for other texts and for less than one worker."""
    text = str(requested).strip()
    if not _WORKERS.fullmatch(text):
        raise UsageError(f"workers must be a number, or +N or -N, not {text!r}")
    number = int(text)
    if text[0] in "+-":
        number += target
    if number < 1:
        left = pluralize(number, "worker")
        raise UsageError(f"{text} would leave {left}; to stop all of them use stop")
    return number


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(stamp(VERSION, message)).encode() + b"\n"
