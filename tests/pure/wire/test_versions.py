"""The version in the messages of prefork's own processes."""

import json
from collections.abc import Callable

import pytest

from prefork.errors import UsageError
from prefork.wire import (
    control,
    guard_messages,
    log_writer_messages,
    ready,
    registry_state,
    scoreboard,
    start_report,
    watcher_messages,
)
from prefork.wire.control import Progress, RefusedError, Result
from prefork.wire.guard_messages import SessionBegan, SessionEnded
from prefork.wire.ready import InvalidMessage, MessageKind, ReadyDecoder, ReadyMessage
from prefork.wire.registry_state import RegistryState
from prefork.wire.verb_table import VERBS
from prefork.wire.versions import (
    FIRST,
    LaterVersionError,
    require_known_version,
    stamp,
    take_version,
)
from prefork.wire.watcher_messages import WatchStarted


def change_version(message: bytes, version: object) -> bytes:
    """Return the message with another version; None: without one."""
    content = {**json.loads(message), "v": version}
    if version is None:
        del content["v"]
    return json.dumps(content).encode() + b"\n"


def decode_ready(line: bytes) -> object:
    return next(ReadyDecoder().feed(line))


FORMATS = [
    pytest.param(
        ready.encode_message(MessageKind.WORN, "old"),
        ready.VERSION,
        decode_ready,
        ReadyMessage(MessageKind.WORN, "old"),
        id="ready pipe",
    ),
    pytest.param(
        log_writer_messages.encode_message("rotate", number=3),
        log_writer_messages.VERSION,
        log_writer_messages.decode_message,
        ("rotate", {"number": 3}),
        id="log writer",
    ),
    pytest.param(
        watcher_messages.encode_watching(["/srv"]),
        watcher_messages.VERSION,
        watcher_messages.decode_message,
        WatchStarted(("/srv",)),
        id="watcher",
    ),
    pytest.param(
        guard_messages.encode_began(SessionBegan(71, 15, 30.0)),
        guard_messages.VERSION,
        guard_messages.decode_message,
        SessionBegan(71, 15, 30.0),
        id="guard, began",
    ),
    pytest.param(
        guard_messages.encode_ended(71),
        guard_messages.VERSION,
        guard_messages.decode_message,
        SessionEnded(71),
        id="guard, ended",
    ),
    pytest.param(
        start_report.encode_report(101),
        start_report.VERSION,
        start_report.decode_report,
        101,
        id="foreground pipe",
    ),
    pytest.param(
        control.encode_request("ping"),
        control.VERSION,
        control.decode_request,
        control.Request(VERBS["ping"], {}),
        id="request",
    ),
    pytest.param(
        control.encode_result({"pid": 4}),
        control.VERSION,
        control.decode_answer,
        Result({"pid": 4}),
        id="result",
    ),
    pytest.param(
        control.encode_progress("half", slot=1),
        control.VERSION,
        control.decode_answer,
        Progress("half", {"slot": 1}),
        id="progress",
    ),
]


LENIENT, STRICT = FORMATS[-3:], FORMATS[1:-3]
"""Those of the control socket, and those of one tree of processes but for the ready pipe."""


@pytest.mark.parametrize(("message", "version", "decode", "expected"), FORMATS)
def test_every_message_has_its_version(
    message: bytes, version: int, decode: Callable[[bytes], object], expected: object
) -> None:
    assert json.loads(message)["v"] == version
    assert decode(message) == expected


@pytest.mark.parametrize(("message", "version", "decode", "expected"), FORMATS)
def test_a_message_of_an_earlier_version_is_understood(
    message: bytes, version: int, decode: Callable[[bytes], object], expected: object
) -> None:
    for earlier in (None, *range(FIRST, version)):
        assert decode(change_version(message, earlier)) == expected


@pytest.mark.parametrize(("message", "version", "decode", "expected"), LENIENT)
def test_the_control_socket_understands_what_it_knows_of_a_later_version(
    message: bytes, version: int, decode: Callable[[bytes], object], expected: object
) -> None:
    assert decode(change_version(message, version + 1)) == expected


@pytest.mark.parametrize(("message", "version", "decode", "_expected"), STRICT)
def test_a_later_version_is_refused_by_both_numbers(
    message: bytes, version: int, decode: Callable[[bytes], object], _expected: object
) -> None:
    with pytest.raises(ValueError, match=f"has version {version + 1} .* knows {version}$"):
        decode(change_version(message, version + 1))


def test_a_ready_message_of_a_later_version_is_invalid() -> None:
    message = ready.encode_message(MessageKind.READY)
    later = change_version(message, ready.VERSION + 1)
    assert isinstance(decode_ready(later), InvalidMessage)


@pytest.mark.parametrize("version", [0, -1, "2", True, None, 1.5, [2]])
def test_a_version_is_a_positive_integer(version: object) -> None:
    with pytest.raises(ValueError, match="is not a positive integer"):
        require_known_version({"v": version}, 2)


def test_a_version_is_taken_out_of_its_message() -> None:
    message = stamp(3, {"say": "ready"})
    assert (take_version(message), message) == (3, {"say": "ready"})
    assert take_version({}) == FIRST


def test_a_refusal_tells_the_version_of_the_master() -> None:
    line = control.encode_error("no verb 'dance'", UsageError.exit_code)
    for version, told in ((None, FIRST), (1, 1), (control.VERSION + 1, control.VERSION + 1)):
        with pytest.raises(RefusedError) as caught:
            control.decode_answer(change_version(line, version))
        assert caught.value.version == told


def test_a_verb_is_not_older_than_the_protocol() -> None:
    assert all(FIRST <= verb.since <= control.VERSION for verb in VERBS.values())


def test_the_scoreboard_begins_with_its_version() -> None:
    magic = scoreboard.MAGIC.to_bytes(8, "little")
    assert magic == b"prefork%d" % scoreboard.VERSION
    scoreboard.check_magic(scoreboard.MAGIC)
    with pytest.raises(ValueError, match="version '1', and this prefork reads version"):
        scoreboard.check_magic(int.from_bytes(b"prefork1", "little"))
    with pytest.raises(ValueError, match="not a scoreboard"):
        scoreboard.check_magic(0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"71 15",
        b"[]",
        b'{"v": 2}',
        b'{"session": 71}',
        b'{"gone": "71"}',
        b'{"v": 0, "gone": 1}',
    ],
)
def test_a_guard_understands_nothing_else(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        guard_messages.decode_message(data)
    assert not isinstance(caught.value, LaterVersionError)


@pytest.mark.parametrize(
    "line", [b"\0", b"0", b"[]", b'{"exit_code": 256}', b'{"exit_code": -1}', b'{"exit_code": "0"}']
)
def test_a_report_has_an_exit_code(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        start_report.decode_report(line)


def test_a_registry_state_has_its_version() -> None:
    keys = {"name": "web", "pid": 71}
    text = registry_state.encode_state(keys)
    assert json.loads(text) == {"v": registry_state.VERSION, **keys}
    for version in (FIRST, registry_state.VERSION, registry_state.VERSION + 1):
        data = json.dumps({"v": version, **keys}).encode()
        assert registry_state.decode_state(data) == RegistryState(keys, version)
    assert registry_state.decode_state(b'{"name": "web"}').version == FIRST


@pytest.mark.parametrize("data", [b"", b"[]", b'{"v": 0}', b'{"v": "2"}', b"[" * 100_000])
def test_what_is_no_registry_state_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        registry_state.decode_state(data)
