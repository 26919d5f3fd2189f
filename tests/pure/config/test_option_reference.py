"""The settings page: a paragraph for each option, made from its declaration."""

import pytest

from prefork.config.option_details import DETAILS
from prefork.config.option_reference import describe_option, settings_reference
from prefork.config.options import OPTIONS, POSITIONAL, Option, by_group

options = pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)


def test_each_option_has_its_sentences_and_nothing_else_has() -> None:
    assert list(DETAILS) == list(OPTIONS), "a name is missing, surplus, or out of order"


@options
def test_the_sentences_are_sentences(option: Option) -> None:
    assert DETAILS[option.name].endswith((".", "`."))
    assert option.text.replace("*", "\\*")[1:] in describe_option(option)


@options
def test_a_section_names_flag_key_variable_and_default(option: Option) -> None:
    heading, _, text = describe_option(option).partition("\n")
    if option.name not in POSITIONAL:
        assert f"{option.flag} " in f"{heading.strip('#`')} "
    assert f"In a file: `{option.key}`." in text
    assert f"`{option.variable}`." in text
    assert ("Needs a restart." in text) is option.restart


def test_defaults_are_written_as_on_the_command_line() -> None:
    assert "Default: `127.0.0.1:8000`." in describe_option(OPTIONS["bind"])
    assert "Default: `false`." in describe_option(OPTIONS["factory"])
    assert "Default: none." in describe_option(OPTIONS["chdir"])
    assert "Default: none." in describe_option(OPTIONS["env"])
    assert "Default: `127.0.0.0/8 ::1/128 unix`." in describe_option(OPTIONS["forwarded_allow"])


def test_the_program_and_the_app_have_no_flag() -> None:
    assert describe_option(OPTIONS["app"]).startswith("## `MODULE:CALLABLE`\n")
    assert describe_option(OPTIONS["command"]).startswith("## `-- PROGRAM ARGUMENTS`\n")


def test_a_value_at_the_start_of_a_text_keeps_its_case() -> None:
    assert "\nauto: a Node program" in describe_option(OPTIONS["node_shim"])


def test_the_names_of_other_servers_are_told() -> None:
    text = describe_option(OPTIONS["kill_timeout"])
    assert (
        "Elsewhere: gunicorn `--graceful-timeout`; uvicorn `--timeout-graceful-shutdown`;" in text
    )
    assert "PM2 `--kill-timeout`" in text
    assert "supervisor `stopwaitsecs`." in text
    assert "Elsewhere" not in describe_option(OPTIONS["accept_guard"])
    (gunicorn, *_) = describe_option(OPTIONS["bind"]).partition("Elsewhere: ")[2].split("; ")
    assert gunicorn == "gunicorn `--bind`"


def test_values_are_not_told_twice() -> None:
    assert "Value:" not in describe_option(OPTIONS["bind"])
    assert "Value: a whole number from 1 up." in describe_option(OPTIONS["backlog"])


def test_the_page_has_the_groups_and_their_options_in_order() -> None:
    headings = [line for line in settings_reference().splitlines() if line.startswith("##")]
    expected = []
    for group, members in by_group():
        first_lines = [describe_option(option).partition("\n")[0] for option in members]
        expected += [f"## {group}", *(f"#{line}" for line in first_lines)]
    assert headings == expected
