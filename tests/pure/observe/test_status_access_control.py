"""The requests that the status server allows: host, origin, token."""

import pytest

from prefork.errors import ClientError
from prefork.observe.status.access_control import AccessControl

TOKEN = b"open-sesame"


def refused(access: AccessControl, **headers: str) -> bool:
    try:
        access.check_origin({k.encode(): v.encode() for k, v in headers.items()})
    except ClientError as error:
        return error.status == 403
    return False


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:9090", "127.0.0.1", "[::1]:9090", "localhost:9090", "LOCALHOST", "10.1.2.3:80"]
    + ["ops.example:9090", "OPS.example"],
)
def test_a_host_that_no_other_website_can_have_is_allowed(host: str) -> None:
    assert not refused(AccessControl("ops.example", b""), host=host)


@pytest.mark.parametrize(
    "host",
    ["evil.example:9090", "", "127.0.0.1.evil.example", "localhost.evil.example", "a:b:c", "[]:1"]
    + ["ops.example.evil", "::1", "[ops.example]"],
)
def test_a_host_that_another_website_may_have_is_refused(host: str) -> None:
    assert refused(AccessControl("ops.example", b""), host=host)


def test_on_a_unix_socket_every_host_is_allowed() -> None:
    assert not refused(AccessControl(None, b""), host="whatever")
    assert refused(AccessControl(None, b""), host="whatever", origin="http://evil.example")


@pytest.mark.parametrize(
    ("origin", "is_ours"),
    [
        ("http://127.0.0.1:9090", True),
        ("https://127.0.0.1:9090", True),
        ("http://127.0.0.1:9091", False),
        ("http://localhost:9090", False),
        ("null", False),
        ("", False),
    ],
)
def test_an_origin_must_match_the_host(origin: str, is_ours: bool) -> None:
    access = AccessControl("127.0.0.1", TOKEN)
    assert refused(access, host="127.0.0.1:9090", origin=origin) != is_ours


@pytest.mark.parametrize(
    ("header", "is_right"),
    [
        (b"Bearer open-sesame", True),
        (b"bearer  open-sesame ", True),
        (b"Bearer open-sesam", False),
        (b"Bearer open-sesame2", False),
        (b"Bearer", False),
        (b"Basic open-sesame", False),
        (b"open-sesame", False),
        (b"Bearer \xff\xfe", False),
        (b"", False),
    ],
)
def test_only_the_whole_token_is_valid(header: bytes, is_right: bool) -> None:
    assert AccessControl("h", TOKEN).has_valid_token({b"authorization": header}) is is_right


def test_without_a_token_no_request_has_a_valid_one() -> None:
    assert not AccessControl("h", b"").has_valid_token({b"authorization": b"Bearer "})
    assert not AccessControl("h", b"").has_valid_token({})
