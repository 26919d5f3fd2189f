"""How a response is framed: its length, its chunks, its trailers, its end (RFC 9112 section 6).

h11 reads the responses, so each of them is whole, unless it is cut off so that no client takes it
for a whole one.
"""

import h11
import pytest

from tests.pure.http.asgi_server import (
    Event,
    body,
    read_response,
    read_responses,
    request,
    sending,
    serving,
    start,
)

LENGTH = (b"content-length", b"5")
JOIN_BELOW = 16 * 1024
"""Bytes from which a body is not copied behind its head."""

SIZES = [0, 1, JOIN_BELOW - 1, JOIN_BELOW, 10 * JOIN_BELOW]
TWO_PIECES = (body(b"he", more=True), body(b"llo"))


@pytest.mark.parametrize("size", SIZES)
def test_a_body_in_one_event_has_a_length(size: int) -> None:
    with serving(sending(start(), body(b"x" * size))) as client:
        response = read_response(client)
        assert response.fields == {b"content-length": b"%d" % size}
        assert response.body == b"x" * size
        assert not client.closed


@pytest.mark.parametrize("size", SIZES)
def test_a_body_in_several_events_is_chunked(size: int) -> None:
    pieces = (body(b"x" * size, more=True), body(b"", more=True), body(b"x" * size))
    with serving(sending(start(), *pieces)) as client:
        response = read_response(client)
        assert response.fields == {b"transfer-encoding": b"chunked"}
        assert response.body == b"x" * 2 * size
        assert not client.closed


def test_chunks_are_those_of_the_app() -> None:
    with serving(sending(start(), body(b"", more=True), *TWO_PIECES)) as client:
        assert client.out.endswith(b"\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")
    with serving(sending(start(), body(b"hello", more=True), body())) as client:
        assert client.out.endswith(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")


@pytest.mark.parametrize("pieces", [(body(b"hello"),), TWO_PIECES], ids=["one", "two"])
def test_a_body_with_the_apps_length_is_not_chunked(pieces: tuple[Event, ...]) -> None:
    with serving(sending(start(200, LENGTH), *pieces)) as client:
        response = read_response(client)
        assert response.fields == {b"content-length": b"5"}
        assert response.body == b"hello"
        assert not client.closed


@pytest.mark.parametrize("pieces", [(body(b"hello!"),), (body(b"hell"),), (body(),)])
def test_another_length_than_the_apps_is_a_500(pieces: tuple[Event, ...]) -> None:
    with serving(sending(start(200, LENGTH), *pieces)) as client:
        assert read_response(client).status == 500
        assert not client.closed


@pytest.mark.parametrize(
    "pieces",
    [
        (body(b"hello", more=True), body(b"!")),
        (body(b"hello", more=True), body(b"!", more=True)),
        (body(b"hell", more=True), body()),
        (body(b"h", more=True), body(b"ell")),
    ],
    ids=["more at the end", "more in the middle", "less", "less at the end"],
)
def test_a_body_that_breaks_its_length_is_cut_off(pieces: tuple[Event, ...]) -> None:
    with serving(sending(start(200, LENGTH), *pieces)) as client:
        assert client.was_reset
        assert len(client.out.split(b"\r\n\r\n")[1]) <= 5


@pytest.mark.parametrize(
    "fields", [(LENGTH, LENGTH), ((b"content-length", b"-1"),), ((b"content-length", b"five"),)]
)
def test_a_wrong_length_is_a_500(fields: tuple[tuple[bytes, bytes], ...]) -> None:
    with serving(sending(start(200, *fields), body(b"hello"))) as client:
        assert read_response(client).status == 500


HEAD = request(method=b"HEAD")


@pytest.mark.parametrize("fields", [(), (LENGTH,)], ids=["no length", "length"])
@pytest.mark.parametrize("pieces", [(body(b"hello"),), TWO_PIECES], ids=["one", "two"])
def test_a_response_to_head_is_the_head_of_one_to_get(
    fields: tuple[tuple[bytes, bytes], ...], pieces: tuple[Event, ...]
) -> None:
    """Transfer-Encoding may be left out (RFC 9110 section 9.3.2)."""
    app = sending(start(200, *fields), *pieces)
    with serving(app, HEAD) as client:
        response = read_response(client, b"HEAD")
        assert response.fields == ({b"content-length": b"5"} if fields or len(pieces) == 1 else {})
        assert client.send(request()).statuses == [200, 200]
        assert read_responses(client, b"HEAD", b"GET")[1].body == b"hello"


def test_an_app_may_send_more_to_head_than_its_length() -> None:
    with serving(sending(start(200, LENGTH), *TWO_PIECES, body(b"!")), HEAD) as client:
        assert read_response(client, b"HEAD").fields == {b"content-length": b"5"}
        assert not client.closed


@pytest.mark.parametrize("pieces", [(body(b"hello"),), TWO_PIECES], ids=["one", "two"])
@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_status_without_a_body_ends_with_its_head(status: int, pieces: tuple[Event, ...]) -> None:
    with serving(sending(start(status), *pieces), request() * 2) as client:
        first, second = read_responses(client, b"GET", b"GET")
        assert (first.status, first.body) == (status, b"")
        assert first == second
        assert first.fields == ({b"content-length": b"0"} if status == 205 else {})


def test_http_1_0_has_no_chunks_so_the_end_of_the_connection_is_that_of_the_body() -> None:
    data = request(b"/", b"Connection: keep-alive", version=b"1.0")
    with serving(sending(start(), *TWO_PIECES), data) as client:
        response = read_response(client)
        assert response.fields == {b"connection": b"close"}
        assert response.body == b"hello"
        assert client.closed


def test_http_1_0_stays_open_when_the_client_asks_and_the_length_is_known() -> None:
    data = request(b"/", b"Connection: keep-alive", version=b"1.0")
    with serving(sending(start(), body(b"hello")), data, data) as client:
        first, second = read_responses(client, b"GET", b"GET")
        assert first.fields == {b"content-length": b"5", b"connection": b"keep-alive"}
        assert first == second
    with serving(sending(start(), body(b"hello")), request(version=b"1.0")) as client:
        assert read_response(client).closes
        assert client.closed


# Trailers.

TRAILER = (b"trailer", b"X-Sum, X-Other")


def trailing(*fields: tuple[bytes, bytes], more: bool = False) -> Event:
    return {"type": "http.response.trailers", "headers": fields, "more_trailers": more}


def test_trailers_follow_the_last_chunk() -> None:
    sums = trailing((b"X-Sum", b"7"), (b"X-Secret", b"8"), more=True), trailing((b"x-other", b"9"))
    events = (start(200, TRAILER, LENGTH, trailers=True), *TWO_PIECES, *sums)
    with serving(sending(*events), request(b"/", b"TE: trailers")) as client:
        response = read_response(client)
        assert response.body == b"hello"
        assert response.trailers == ((b"x-sum", b"7"), (b"x-other", b"9"))
        assert b"content-length" not in response.fields
        assert client.out.endswith(b"\r\n0\r\nx-sum: 7\r\nx-other: 9\r\n\r\n")
        assert not client.closed


def test_a_client_that_accepts_no_trailers_gets_none() -> None:
    events = (start(200, TRAILER, trailers=True), body(b"hello"), trailing((b"x-sum", b"7")))
    with serving(sending(*events)) as client:
        assert read_response(client).trailers == ()
        assert not client.closed


def test_a_response_to_head_has_no_trailers() -> None:
    events = (start(200, TRAILER, trailers=True), *TWO_PIECES, trailing((b"x-sum", b"7")))
    with serving(sending(*events), request(b"/", b"TE: trailers", method=b"HEAD")) as client:
        assert read_response(client, b"HEAD").trailers == ()
        assert client.out.endswith(b"\r\n\r\n")
        assert client.out.count(b"\r\n\r\n") == 1


def test_a_response_without_its_trailers_is_cut_off() -> None:
    events = (start(200, TRAILER, trailers=True), body(b"hello"))
    with serving(sending(*events), request(b"/", b"TE: trailers")) as client:
        assert client.was_reset
        with pytest.raises(h11.RemoteProtocolError):
            read_response(client)


# Early hints.


def hint(*links: object) -> Event:
    return {"type": "http.response.early_hint", "links": links}


LINK = b"</style.css>; rel=preload"


def test_early_hints_come_before_the_response() -> None:
    with serving(sending(hint(LINK, LINK), hint(LINK), start(), body(b"hello"))) as client:
        first, second, last = read_responses(client)
        assert client.out.startswith(
            b"HTTP/1.1 103 Early Hints\r\n" + (b"Link: %b\r\n" % LINK) * 2 + b"\r\n"
        )
        assert (first.status, second.fields) == (103, {b"link": LINK})
        assert (last.status, last.body) == (200, b"hello")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_hint_without_links_and_one_for_http_1_0_are_not_sent(version: bytes) -> None:
    hints = [hint()] if version == b"1.1" else [hint(LINK)]
    with serving(sending(*hints, start(), body(b"hello")), request(version=version)) as client:
        assert client.statuses == [200]


def test_a_hint_after_the_head_is_not_sent() -> None:
    events = (start(), body(b"he", more=True), hint(LINK), body(b"llo"), hint(LINK))
    with serving(sending(*events)) as client:
        assert read_response(client).body == b"hello"


@pytest.mark.parametrize("link", [b"a\r\nb", "text"])
def test_a_hint_that_is_not_allowed_is_a_500(link: object) -> None:
    with serving(sending(hint(link), start(), body(b"hello"))) as client:
        assert client.statuses == [500]
