"""The environment that an app keeps: its variables, and its file."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.config.kept_environment import (
    decode_environment,
    encode_environment,
    keep_environment,
    needs_new_interpreter,
    variables_of_one_start,
)

TEXTS = st.binary(max_size=40).map(lambda data: os.fsdecode(data.replace(b"\0", b"")))
NAMES = TEXTS.map(lambda name: name.replace("=", "") or "A")

SHELL = {
    "PATH": "/usr/bin",
    "TOKEN": "s3cret",
    "SSHD": "kept",
    "PREFORK_WORKERS": "4",
    "LISTENERS": "kept",
}
ONE_START = {
    "LISTEN_FDS": "1",
    "LISTEN_PID": "7",
    "LISTEN_FDNAMES": "web",
    "NOTIFY_SOCKET": "/run/n",
    "WATCHDOG_USEC": "1",
    "WATCHDOG_PID": "7",
}
LOGIN = {
    "INVOCATION_ID": "ab",
    "JOURNAL_STREAM": "8:9",
    "DISPLAY": ":0",
    "SSH_AUTH_SOCK": "/tmp/a",
    "SSH_CLIENT": "1",
    "SUDO_USER": "ann",
    "SUDO_COMMAND": "x",
    "PREFORK_HOME": "/h",
    "NOTIFY_FD": "4",
    "PREFORK_SLOT": "0",
    "PREFORK_FIGURES_FD": "5",
}


def test_what_belongs_to_one_start_or_one_login_is_not_kept() -> None:
    assert keep_environment({**SHELL, **ONE_START, **LOGIN}) == SHELL
    assert variables_of_one_start({**SHELL, **ONE_START, **LOGIN}) == ONE_START


@given(st.dictionaries(NAMES, TEXTS, max_size=8))
def test_any_environment_reads_back_unchanged(environ: dict[str, str]) -> None:
    assert decode_environment(encode_environment(environ)) == environ


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", '{"A": 1}', '{"": "x"}', '{"A=B": "x"}', '{"A": "\\u0000"}', "[" * 10**5],
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each has a reason of its own
        decode_environment(text)


@pytest.mark.parametrize(
    ("change", "needed"),
    [
        ({}, False),
        ({"PATH": "/bin", "TOKEN": "x"}, False),
        ({"PYTHONPATH": "lib"}, True),
        ({"LD_PRELOAD": "jemalloc.so"}, True),
        ({"MALLOC_ARENA_MAX": "2"}, True),
    ],
)
def test_variables_that_are_read_at_the_start_need_a_new_interpreter(
    change: dict[str, str], needed: bool
) -> None:
    assert needs_new_interpreter(SHELL, {**SHELL, **change}) is needed
    assert needs_new_interpreter({**SHELL, **change}, SHELL) is needed
