"""Statuses of WSGI apps: a three-digit code of RFC 9110 section 15, and any reason or none."""

import pytest

from prefork.http.response_head import ResponseError, encode_wsgi_status


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("200 OK", b"HTTP/1.1 200 OK\r\n"),
        ("299 Fine By Me", b"HTTP/1.1 299 Fine By Me\r\n"),
        ("404 ", b"HTTP/1.1 404 \r\n"),
        ("404", b"HTTP/1.1 404 \r\n"),
        ("500 \xe4", b"HTTP/1.1 500 \xe4\r\n"),
    ],
)
def test_a_wsgi_status_is_a_status_line(text: str, line: bytes) -> None:
    assert encode_wsgi_status(text) == (int(text[:3]), line)


@pytest.mark.parametrize("text", ["", "20 OK", "100 Continue", "600 No", "200OK", "200 O\r\nK: x"])
def test_a_wsgi_status_that_http_forbids_is_an_error(text: str) -> None:
    with pytest.raises(ResponseError, match="must be like"):
        encode_wsgi_status(text)


def test_wsgi_statuses_that_never_repeat_stay_right() -> None:
    for number in range(1100):
        text = f"200 {number}"
        assert encode_wsgi_status(text) == (200, f"HTTP/1.1 {text}\r\n".encode())
