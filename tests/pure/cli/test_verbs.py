"""Verbs: everything about one follows from its declaration."""

import ast
import inspect
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from prefork.cli.command import main
from prefork.cli.manual.short_help import verbs_help
from prefork.cli.verbs.completion import completion_script
from prefork.cli.verbs.verb_parser import build_parser, list_choices
from prefork.cli.verbs.verb_reference import reference_table
from prefork.config.parser import parse_verb
from prefork.errors import UsageError
from prefork.wire.control import decode_request, encode_request
from prefork.wire.verb import PageAccess, Role, Verb, resolve
from prefork.wire.verb_table import VERBS, commands, requests, requests_of_page
from tests.toy_verb import GREET

ROOT = Path(__file__).parents[3]
COMMANDS = [verb for verb in VERBS.values() if verb.is_command]


@pytest.fixture
def toy_verb(monkeypatch: pytest.MonkeyPatch) -> Verb:
    """Add the declaration of a verb to the table."""
    monkeypatch.setitem(VERBS, GREET.name, GREET)
    return GREET


# A declared verb is everywhere.


def words_in_bash(script: str) -> list[str]:
    """Return the verbs that a bash script completes, as it lists them before the serving flags."""
    (line,) = re.findall(r'words="([a-z][^"]*)"\n  else', script)
    return [word for word in line.split() if not word.startswith("-")]


def words_in_fish(script: str) -> list[str]:
    return re.findall(r"-n __fish_use_subcommand -a (\S+) ", script)


def words_in_manual() -> list[str]:
    """Return the verbs in the first column of the table of verbs."""
    _, _, table = (
        (ROOT / "prefork" / "docs" / "manager.md").read_text().partition("<!-- verbs -->\n")
    )
    _title, _line, *rows = table.partition("<!-- /verbs -->\n")[0].splitlines()
    return [word for row in rows for word in re.findall(r"`([a-z]+)", row.split(" | ")[0])]


def test_help_completion_and_manual_have_exactly_the_declared_verbs() -> None:
    declared = [word for verb in COMMANDS for word in verb.words]
    assert re.findall(r"^  (\w+)  ", verbs_help(), re.MULTILINE) == declared
    assert words_in_bash(completion_script("bash")) == declared
    assert words_in_bash(completion_script("zsh")) == declared
    assert words_in_fish(completion_script("fish")) == declared
    assert words_in_manual() == declared


def test_the_table_in_the_manual_is_made_from_the_declarations() -> None:
    page = (ROOT / "prefork" / "docs" / "manager.md").read_text()
    assert f"<!-- verbs -->\n{reference_table()}<!-- /verbs -->\n" in page, "run scripts/docs"


@pytest.mark.parametrize("verb", COMMANDS, ids=lambda verb: verb.name)
def test_help_completion_and_manual_have_exactly_the_declared_flags(verb: Verb) -> None:
    flags = {flag for each in verb.arguments for flag in each.flags if flag.startswith("--")}
    help_text = build_parser(verb).format_help()
    assert set(re.findall(r"^  (?:-\w(?: \w+)?, )?(--[a-z-]+)", help_text, re.MULTILINE)) == {
        *flags, "--help",
    }  # fmt: skip
    (row,) = re.findall(rf"^\| `{verb.name}\b.*", reference_table(), re.MULTILINE)
    assert set(re.findall(r"--[a-z-]+", row.split(" | ")[2])) == flags
    (words,) = re.findall(
        rf'^    {verb.name}\) words="([^"]*)"', completion_script("bash"), re.MULTILINE
    )
    offered = set(words.split())
    assert offered >= flags
    assert verb.takes_serving_options or offered == {*flags, "--help"}


@pytest.mark.parametrize("text", ["0", "-1", "1e9", "nan", "soon"])
def test_a_timeout_is_a_number_of_seconds(text: str) -> None:
    parser = build_parser(VERBS["stop"])
    assert parser.parse_args(["web", "--timeout", "0.5"]).timeout == 0.5
    with pytest.raises(UsageError, match=f"--timeout: {text} is not a number of seconds"):
        parser.parse_args(["web", f"--timeout={text}"])


@pytest.mark.parametrize("flag", ["--lines", "--slot"])
@pytest.mark.parametrize("text", ["-5", "many"])
def test_lines_and_slots_are_not_negative(flag: str, text: str) -> None:
    parser = build_parser(VERBS["logs"])
    assert parser.parse_args(["web", "--lines", "0"]).lines == 0
    with pytest.raises(UsageError, match=f"{flag}: {text} is not a number of 0 or more"):
        parser.parse_args(["web", f"{flag}={text}"])


# A declaration is complete.


def test_no_word_means_two_verbs() -> None:
    counts = Counter(word for verb in VERBS.values() for word in verb.words)
    assert not [word for word, count in counts.items() if count > 1]


def parameters(function: Callable[..., object]) -> int:
    return len(inspect.signature(function).parameters)


@pytest.mark.parametrize("verb", VERBS.values(), ids=lambda verb: verb.name)
def test_each_named_function_exists_and_takes_what_it_is_given(verb: Verb) -> None:
    for reference in filter(None, (verb.run, verb.action, verb.printer)):
        assert parameters(resolve(reference)) == 2, reference
    for argument in verb.arguments:
        assert bool(list_choices(argument)) == bool(argument.choices)
    assert verb.is_command or verb.is_request
    assert verb.is_request or not verb.fields or verb.run, "fields that are never sent"


def test_only_verbs_that_change_nothing_and_tell_no_secret_are_for_the_group() -> None:
    for_group = {name for name, verb in requests().items() if verb.role is Role.GROUP}
    assert for_group == {"ping", "show", "why", "wait", "events"}


def test_the_status_server_may_change_the_app_only_with_a_token() -> None:
    assert set(requests_of_page(has_token=False)) == {"why"}
    assert set(requests_of_page(has_token=True)) == {"why", "reload", "scale"}


REQUESTING = {"ask", "ask_app", "ask_each", "ask_and_print", "encode_request", "build_parser"}
"""Functions that get a verb, beside those whose parameter is annotated as a Verb."""


def words_in_place_of_verbs(path: Path) -> Iterator[str]:
    """Yield the places of a file that name a verb by a word, not by its declaration."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            words = node.args if name in REQUESTING else []
        elif isinstance(node, ast.Subscript):
            words = [node.slice] if getattr(node.value, "id", "") == "VERBS" else []
        else:
            continue
        for word in words:
            if isinstance(word, ast.Constant) and word.value in VERBS:
                yield f"{path.relative_to(ROOT)}:{node.lineno}: {word.value}"


def test_code_that_means_a_verb_imports_its_declaration() -> None:
    files = (ROOT / "prefork").rglob("*.py")
    assert [place for path in files for place in words_in_place_of_verbs(path)] == []


# A new verb.


def test_a_new_verb_may_be_for_the_page(toy_verb: Verb) -> None:
    assert toy_verb.page is PageAccess.WITH_TOKEN
    assert toy_verb.name in requests_of_page(has_token=True)
    assert toy_verb.name not in requests_of_page(has_token=False)


def test_a_new_verb_is_parsed_as_declared(toy_verb: Verb) -> None:
    words = ["guest", "web", "api", "-l", "--tone", "formal"]
    options = build_parser(commands()["hail"]).parse_args(words)
    assert vars(options) == {
        "guest": "guest", "targets": ["web", "api"], "loud": True, "tone": "formal",
    }  # fmt: skip
    with pytest.raises(UsageError, match="invalid choice: 'rude'"):
        build_parser(toy_verb).parse_args(["guest", "web", "--tone", "rude"])


def test_a_new_verb_is_in_every_help(toy_verb: Verb, capfd: pytest.CaptureFixture[str]) -> None:
    assert "\n  greet        greet apps in the name of a guest\n" in verbs_help()
    assert main(["help", "hail"]) == 0
    printed = capfd.readouterr().out
    assert printed.startswith("usage: prefork hail [-h] [-l] [--tone TONE] GUEST APP [APP ...]\n")
    assert "\n  --tone TONE  one of warm, formal\n" in printed
    row = (
        "| `greet GUEST APP…` or `hail` | Greet apps in the name of a guest. The greeting is one "
        "line. | `-l` `--loud`, `--tone TONE` |\n"
    )
    assert row in reference_table()


def test_a_new_verb_is_completed_as_declared(toy_verb: Verb) -> None:
    bash = completion_script("bash")
    assert {"greet", "hail"} <= set(words_in_bash(bash))
    assert '    greet) words="--help --loud --tone"; names="all $(ls' in bash
    assert '    greet:--tone) words="warm formal" ;;' in bash
    assert "from greet' -l tone -xa 'warm formal'\n" in completion_script("fish")


def test_the_request_of_a_new_verb_has_the_declared_fields(toy_verb: Verb) -> None:
    request = decode_request(encode_request("greet", guest="Ada", loud=True))
    assert request.verb is toy_verb
    assert request.arguments == {"guest": "Ada", "loud": True}
    with pytest.raises(UsageError, match="greet needs guest: the name of the guest"):
        decode_request(encode_request("greet"))
    with pytest.raises(UsageError, match="greet has no argument 'tone'"):
        decode_request(json.dumps({"verb": "greet", "arguments": {"tone": "warm"}}).encode())


@pytest.mark.parametrize(
    ("verb", "words", "found"),
    [
        ("stop", "a --quick b", ["a", "b"]),
        ("logs", "a -n 2 b", ["a", "b"]),
        ("store", "get --namespace x key", ["key"]),
    ],
)
def test_a_flag_may_stand_between_words(verb: str, words: str, found: list[str]) -> None:
    given = ["web", *words.split()] if verb == "store" else words.split()
    options, _ = parse_verb(build_parser(VERBS[verb]), given, verb)
    assert getattr(options, "words" if verb == "store" else "targets") == found


def test_a_wrong_command_line_names_the_help_of_its_verb() -> None:
    with pytest.raises(UsageError, match="see prefork flush --help"):
        parse_verb(build_parser(VERBS["flush"]), [], "flush")


@pytest.mark.parametrize(
    ("verb", "text"),
    [
        ("flush", "APP is missing: names, namespaces, all, or /regular expressions/; see"),
        ("scale", "APP is missing; N is missing: a number, or \\+N or -N; see"),
        ("store", "APP is missing; see"),
        ("completion", "shell is missing; see"),
    ],
)
def test_a_word_that_is_missing_is_named_with_what_it_is(verb: str, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        parse_verb(build_parser(VERBS[verb]), [], verb)
