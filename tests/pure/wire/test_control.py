"""The control protocol: encoding and decoding of requests and answers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.errors import PreforkError, UsageError
from prefork.wire import control
from prefork.wire.control import LineDecoder, Progress, RefusedError, Request, Result
from prefork.wire.verb_table import VERBS


def test_a_request_is_decoded_as_encoded() -> None:
    line = control.encode_request("scale", workers="+2")
    assert control.decode_request(line) == Request(VERBS["scale"], {"workers": "+2"})


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"", "one line of JSON"),
        (b"\xff", "one line of JSON"),
        (b"[" * 100_000, "one line of JSON"),
        (b"[]", "a request is an object"),
        (b'{"verb": "ping", "arguments": []}', "a request is an object"),
        (b"{}", "no verb None"),
        (b'{"verb": ["ping"]}', "no verb"),
        (b'{"verb": "dance"}', "no verb 'dance'; there are stop, "),
        (b'{"verb": "ping", "arguments": {"loud": true}}', "ping has no argument 'loud'"),
        (b'{"verb": "scale"}', "scale needs workers: a number, or"),
    ],
)
def test_an_invalid_request_is_explained(line: bytes, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        control.decode_request(line)


@given(st.binary(max_size=100))
def test_random_bytes_raise_nothing_but_the_documented_errors(line: bytes) -> None:
    try:
        control.decode_request(line)
    except UsageError:
        pass
    try:
        control.decode_answer(line)
    except RefusedError:
        pass


def test_answers_are_decoded_as_encoded() -> None:
    assert control.decode_answer(control.encode_progress("half", slot=1)) == Progress(
        "half", {"slot": 1}
    )
    assert control.decode_answer(control.encode_result({"workers": 4})) == Result({"workers": 4})
    with pytest.raises(RefusedError, match="broken") as caught:
        control.decode_answer(control.encode_error("broken", 102))
    assert caught.value.exit_code == 102


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"7", b"{}", b'{"result": 7}', b'{"error": "x"}', b"[" * 9999),
        *(b'{"error": "x", "code": %d}' % code for code in (0, -1, 256)),
    ],
)
def test_an_invalid_answer_of_a_master_is_an_error(line: bytes) -> None:
    with pytest.raises(RefusedError, match="malformed") as caught:
        control.decode_answer(line)
    assert caught.value.exit_code == PreforkError.exit_code


@given(st.lists(st.text(st.characters(blacklist_characters="\n"))), st.integers(1, 5))
def test_lines_are_complete_whatever_the_pieces(texts: list[str], size: int) -> None:
    data = b"".join(json.dumps(text).encode() + b"\n" for text in texts)
    lines = LineDecoder()
    found = [line for at in range(0, len(data), size) for line in lines.feed(data[at : at + size])]
    assert [json.loads(line) for line in found] == texts


def test_an_endless_line_is_an_error() -> None:
    lines = LineDecoder()
    assert list(lines.feed(b"x" * control.MAX_LINE_SIZE)) == []
    with pytest.raises(UsageError, match="a line of more than"):
        list(lines.feed(b"x"))


@pytest.mark.parametrize(
    ("asked", "meant"),
    [(4, 4), ("4", 4), (" 4 ", 4), ("+2", 5), ("-1", 2), ("+0", 3), ("1000000", 1000000)],
)
def test_a_number_of_workers_is_absolute_or_relative(asked: object, meant: int) -> None:
    assert control.parse_target(asked, 3) == meant


@pytest.mark.parametrize("asked", ["", "many", "+", "--1", "+-1", "1.5", None, True, "4" * 19, "²"])
def test_other_texts_are_no_number_of_workers(asked: object) -> None:
    with pytest.raises(UsageError, match="workers must be a number"):
        control.parse_target(asked, 3)


@pytest.mark.parametrize("asked", ["0", "-3", "-7", 0])
def test_scaling_below_one_worker_is_refused(asked: object) -> None:
    with pytest.raises(UsageError, match="to stop all of them use stop"):
        control.parse_target(asked, 3)
