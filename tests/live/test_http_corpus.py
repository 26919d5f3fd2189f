"""Every request of the corpus, in different pieces, with WSGI and ASGI.

A refused request gets its status and a clean end of the connection, and no app gets it complete.
An accepted request means the same however its bytes arrive.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.corpus import Case, load_cases
from tests.live.harness import APPS, Server, serving
from tests.live.raw_client import Answer, RawConnection, get, tcp, unix

LIMITS = (
    *("--limit-line", "200", "--limit-headers", "16"),
    *("--limit-header-size", "1k", "--limit-body", "64"),
)
FIRST = get("/first")

invalid = pytest.mark.parametrize("case", load_cases("invalid"), ids=lambda case: case.name)
valid = pytest.mark.parametrize("case", load_cases("valid"), ids=lambda case: case.name)


class Recorder:
    """The server, with access to the requests that its app has seen."""

    def __init__(self, server: Server, path: Path) -> None:
        self.server = server
        self.path = path

    def tcp(self) -> RawConnection:
        return tcp(self.server)

    def unix(self) -> RawConnection:
        return unix(self.path)

    def seen(self) -> list[str]:
        """Return the requests that the app got since the last call."""
        with self.unix() as wire:
            return json.loads(wire.send(get("/seen")).answer().body)


@pytest.fixture(scope="module", params=["wsgi", "asgi"])
def recorder(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Recorder]:
    path = tmp_path_factory.mktemp("corpus") / "socket"
    arguments = ("-b", f"unix:{path}", "--pythonpath", str(APPS), *LIMITS)
    with serving(path.parent, f"recorder:{request.param}", *arguments) as server:
        recorder = Recorder(server, path)
        yield recorder
        assert not any("the app failed" in line for line in server.lines), server.log


def expect_refusal(wire: RawConnection, case: Case) -> None:
    answer = wire.answer()
    assert (answer.status, answer.closes) == (case.status, True), answer.body
    assert wire.ends_cleanly()


def expect_account(answer: Answer, case: Case) -> None:
    assert answer.status == case.status, answer.body
    account = json.loads(answer.body)
    for key, value in case.account.items():
        if key == "fields":
            assert account[key] == {**account[key], **value}
        elif key == "absent":
            assert not account["fields"].keys() & set(value)
        elif key != "closes":
            assert account[key] == value
    assert answer.closes == case.account.get("closes", False)


@invalid
def test_an_invalid_request_is_refused_and_no_app_sees_it(recorder: Recorder, case: Case) -> None:
    recorder.seen()
    with recorder.tcp() as wire:
        expect_refusal(wire.send(case.raw), case)
    assert recorder.seen() == []


@invalid
def test_an_invalid_request_is_refused_if_each_byte_comes_alone(
    recorder: Recorder, case: Case
) -> None:
    recorder.seen()
    with recorder.unix() as wire:
        expect_refusal(wire.send_bytewise(case.raw), case)
    assert recorder.seen() == []


@invalid
def test_an_invalid_request_is_refused_after_its_valid_predecessor_is_answered(
    recorder: Recorder, case: Case
) -> None:
    recorder.seen()
    with recorder.tcp() as wire:
        wire.send(FIRST, case.raw)
        first = wire.answer()
        assert (first.status, first.closes) == (200, False)
        expect_refusal(wire, case)
    assert recorder.seen() == ["GET /first"]


@valid
def test_a_valid_request_is_understood(recorder: Recorder, case: Case) -> None:
    with recorder.tcp() as wire:
        expect_account(wire.send(case.raw).answer(), case)


@valid
def test_a_valid_request_is_understood_if_each_byte_comes_alone(
    recorder: Recorder, case: Case
) -> None:
    with recorder.unix() as wire:
        expect_account(wire.send_bytewise(case.raw).answer(), case)


@valid
def test_a_valid_request_means_the_same_again_and_again(recorder: Recorder, case: Case) -> None:
    """From the third time on the head may come from the cache, on any connection."""
    closes = case.account.get("closes", False)
    for _ in range(4 if closes else 2):
        with recorder.tcp() as wire:
            for _ in range(1 if closes else 3):
                expect_account(wire.send(case.raw).answer(), case)


@valid
def test_two_valid_requests_in_one_piece_are_answered_in_turn(
    recorder: Recorder, case: Case
) -> None:
    recorder.seen()
    closes = case.account.get("closes", False)
    with recorder.tcp() as wire:
        wire.send(case.raw, case.raw)
        if not closes:
            expect_account(wire.answer(), case)
            wire.send(get("/last", "Connection: close"))
        expect_account(wire.answer(), case)
        if not closes:
            assert json.loads(wire.answer().body)["path"] == "/last"
        assert wire.ends_cleanly()
    assert len(recorder.seen()) == (1 if closes else 3)
