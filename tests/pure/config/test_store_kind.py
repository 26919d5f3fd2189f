"""The values of --store."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.config.store_kind import (
    EXPECTED_STORE,
    SCHEMES,
    hide_password,
    hide_passwords,
    is_server,
    is_unix_socket,
    parse_store,
    server_url,
)


@pytest.mark.parametrize(
    "text",
    ["embedded", "memory", "off", "/srv/store", "redis://:pw@host:6379/2", "valkeys://[::1]:1"]
    + ["unix:///run/redis.sock", "redis+unix://u:pw@/run/redis.sock?db=1", "redis+tls://host"],
)
def test_a_store_is_a_word_a_folder_or_a_server(text: str) -> None:
    assert parse_store(text) == text


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "lmdb",
        "store",
        "./store",
        "/a\0b",
        "redis:/x",
        "redis://",
        "REDIS://host",
        "http://host",
        5,
        None,
    ]
    + ["redis://host:70000", "redis://host:0", "redis://[::1"]
    + [
        "unix://",
        "unix://host",
        "unix://host/run/redis.sock",
        "redis://host\n",
        "redis+tcp://host",
    ],
)
def test_another_value_is_refused(raw: object) -> None:
    with pytest.raises(ValueError, match="embedded, memory, off"):
        parse_store(raw)
    assert "redis" in EXPECTED_STORE


@pytest.mark.parametrize(
    ("given_url", "url", "is_socket"),
    [
        ("valkey://host:1/2", "redis://host:1/2", False),
        ("valkeys://host", "rediss://host", False),
        ("redis+tls://u:p@host?a=b", "rediss://u:p@host?a=b", False),
        ("valkey+unix:///run/valkey", "unix:///run/valkey", True),
    ],
)
def test_each_scheme_is_one_that_the_client_knows(
    given_url: str, url: str, is_socket: bool
) -> None:
    assert (server_url(given_url), is_unix_socket(given_url)) == (url, is_socket)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("embedded", "embedded"),
        ("/srv/a@b?password=c", "/srv/a@b?password=c"),
        ("redis://host:6379/2", "redis://host:6379/2"),
        ("redis://horse@host", "redis://***@host"),
        ("rediss://me:horse@host/0", "rediss://***@host/0"),
        ("unix://:horse@/run/redis.sock?db=1", "unix://***@/run/redis.sock?db=1"),
        ("redis://host?db=1&password=horse&x=1", "redis://host?db=1&password=***&x=1"),
        ("rediss://host?ssl_Password=horse", "rediss://host?ssl_Password=***"),
        ("redis://:ho@rse@host", "redis://***@host"),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str) -> None:
    assert hide_password(url) == shown
    assert "horse" not in shown


URLS = st.builds(
    "{}{}@{}{}".format,
    st.sampled_from(sorted(SCHEMES)),
    st.text("a:@%é", max_size=9).map(lambda text: f"{text}:hunter2"),
    st.sampled_from(["host", "[::1]:1"]),
    st.text(max_size=10),
)


@given(st.text() | URLS)
def test_any_text_is_a_store_or_refused(text: str) -> None:
    try:
        store = parse_store(text)
    except ValueError:
        return
    assert is_server(store) == bool(store.partition("://")[1] and not store.startswith("/"))
    assert "hunter2" not in hide_password(store)


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("redis+tls://:horse@host", "redis+tls://***@host"),
        ("--store=valkey://me:horse@host/1", "--store=valkey://***@host/1"),
        ("PREFORK_STORE=unix://:horse@/run/s", "PREFORK_STORE=unix://***@/run/s"),
        ("postgres://:horse@host", "postgres://:horse@host"),
        ("app:app", "app:app"),
    ],
)
def test_a_word_of_a_command_line_shows_no_password_of_a_server(word: str, shown: str) -> None:
    assert hide_passwords(word) == shown
