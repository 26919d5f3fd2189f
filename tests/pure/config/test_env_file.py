"""Files of environment variables: python-dotenv's syntax, what wins, and errors with their line."""

import io
import sys

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from prefork.config.env_file import parse_env_file
from prefork.errors import UsageError

PATH = "/srv/app/.env"


def parse(text: str, **environ: str) -> dict[str, str]:
    return parse_env_file(text, PATH, environ)


def test_the_syntax_is_that_of_python_dotenv() -> None:
    text = (
        "# a comment\n\nexport A=1\nB = two words  # no comment inside\n"
        "C='single $A'\nD=\"line one\nline two\\t\"\nE=${A}-${MISSING:-none}\nF\nG=\n"
    )
    assert parse(text) == {
        "A": "1",
        "B": "two words",
        "C": "single $A",
        "D": "line one\nline two\t",
        "E": "1-none",
        "G": "",
    }


def test_the_environment_wins_inside_of_a_value() -> None:
    assert parse("A=1\nB=${A}", A="2") == {"A": "1", "B": "2"}


@pytest.mark.parametrize(
    ("text", "line"),
    [("A=1\nB='open\n", 2), ("\n\n  \nA='x' y\n", 4), ("=x", 1)],
    ids=["open_quote", "text_after_a_quote", "no_name"],
)
def test_a_line_that_means_nothing_is_an_error_with_its_number(text: str, line: int) -> None:
    with pytest.raises(UsageError, match=rf"^{PATH}, line {line}: no KEY=VALUE"):
        parse(text)


@pytest.mark.parametrize("text", ["A='x\0y'", "'=A'=1"], ids=["nul", "equals_in_a_name"])
def test_a_variable_that_no_process_can_have_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match=f"^{PATH}: no process can have the variable"):
        parse(text)


def test_a_variable_that_is_read_before_the_file_is_an_error() -> None:
    with pytest.raises(UsageError, match="PREFORK_ENV_FILE has no effect there; use env-file"):
        parse("PREFORK_ENV_FILE=other")


def test_an_error_says_how_to_install_python_dotenv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dotenv.parser", None)
    with pytest.raises(UsageError, match="install it: pip install python-dotenv"):
        parse("A=1")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60))
def test_any_text_is_parsed_as_python_dotenv_does_or_refused(text: str) -> None:
    try:
        found = parse(text)
    except UsageError:
        return
    known = dotenv_values(stream=io.StringIO(text), interpolate=False)
    assert list(found) == [name for name, value in known.items() if value is not None]
