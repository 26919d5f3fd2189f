"""saved.toml reads back unchanged, for all folders and arguments."""

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.cli.registry.saved_apps import VERSION, SavedApp, dump, load
from prefork.wire.versions import LaterVersionError

ARGUMENTS = st.binary(max_size=60).map(os.fsdecode) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=60
)
"""All possible arguments of a program, and NUL, which the kernel would refuse."""

NAMES = st.from_regex(re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,20}", re.ASCII), fullmatch=True)
SCALED = st.none() | st.fixed_dictionaries(
    {"workers": st.integers(1, 2**62), "settings": st.integers(1, 2**62)}
)
VARIABLES = st.binary(max_size=40).map(lambda data: os.fsdecode(data.replace(b"\0", b"")))
VARIABLE_NAMES = st.binary(max_size=40).map(
    lambda data: os.fsdecode(data.replace(b"\0", b"").replace(b"=", b"") or b"A")
)
ENVIRONMENTS = st.none() | st.dictionaries(VARIABLE_NAMES, VARIABLES, max_size=6)
APPS = st.builds(
    SavedApp, ARGUMENTS, st.lists(ARGUMENTS, max_size=6).map(tuple), SCALED, ENVIRONMENTS
)


@given(st.dictionaries(NAMES, APPS, max_size=4))
def test_saved_apps_read_back_unchanged(apps: dict[str, SavedApp]) -> None:
    assert load(dump(apps)) == apps


@pytest.mark.parametrize(
    "word",
    [
        r"a\x41b",
        "\x1b[31m",
        "\x7f",
        "\xa0",
        "\x00\x01\x1f",
        "two\nlines\r",
        "\u2028\u2029\u202e",
        "\udcff/\udc80",
        "quotes \" and ' and \\",
        "",
        "\U0001f40d",
    ],
)
def test_texts_that_were_once_corrupted_read_back_unchanged(word: str) -> None:
    apps = {"web": SavedApp(f"/srv/{word}", ("--name", word))}
    assert load(dump(apps)) == apps
    dump(apps).encode()  # it is a text file


def test_the_file_is_readable() -> None:
    app = SavedApp("/srv/web", ("-w", "2"), None, {"PATH": "/bin", "LANG": "C=1"})
    assert dump({"web.1": app}) == (
        'v = 2\n\n[apps."web.1"]\nhere = "/srv/web"\narguments = [\n    "-w",\n    "2",\n]\n'
        'environment = [\n    "LANG=C=1",\n    "PATH=/bin",\n]\n'
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "apps = 3",
        "[apps]\nweb = 3",
        "[apps.web]\nhere = '/srv'",
        "[apps.web]\nhere = 3\narguments = []",
        "[apps.web]\nhere = '/srv'\narguments = 'x'",
        "[apps.web]\nhere = '/srv'\narguments = [1]",
        "[apps.web]\nhere = { bytes = 'xyz' }\narguments = []",
        "[apps.web]\nhere = { bits = '00' }\narguments = []",
        "[apps.web]\nhere = { bytes = 7 }\narguments = []",
        "[apps.web]\nhere = '/srv'\narguments = []\nenvironment = {}",
        "[apps.web]\nhere = '/srv'\narguments = []\nenvironment = ['=x']",
        "[apps.web]\nhere = '/srv'\narguments = []\nenvironment = [\"A=\\u0000\"]",
        "no toml",
    ],
)
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a list of saved apps"):
        load(text)


def test_a_file_from_before_the_version_is_read() -> None:
    apps = {"web": SavedApp("/srv/web", ("-w", "2"))}
    assert load(dump(apps).removeprefix(f"v = {VERSION}\n")) == apps


def test_a_file_of_a_later_version_is_refused() -> None:
    with pytest.raises(LaterVersionError, match=f"version {VERSION + 1} .* knows {VERSION}"):
        load(dump({}).replace(f"v = {VERSION}", f"v = {VERSION + 1}"))
