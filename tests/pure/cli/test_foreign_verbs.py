"""Verbs of other managers, and their flags on our verbs."""

import importlib.util

import pytest

from prefork.cli.verbs.run_verb import foreign_verb_as_ours
from prefork.cli.verbs.verb_parser import build_parser
from prefork.config.foreign.foreign_verbs import FOREIGN_VERBS
from prefork.config.parser import parse_verb
from prefork.errors import UsageError
from prefork.wire.verb_table import LOGS, RELOAD, RESTART, SAVE, STOP, Verb


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("status", "list"),
        ("ps", "list"),
        ("status web", "show web"),
        ("status --json", "list --json"),
        ("describe web", "show web"),
        ("del web", "delete web"),
        ("dump", "save"),
        ("tail -f web", "logs -f web"),
        ("startOrReload prefork.toml", "start prefork.toml"),
        ("list", "list"),
        ("myapp:main", "myapp:main"),
        ("--version", "--version"),
        ("inspect:main", "inspect:main"),
        ("", ""),
    ],
)
def test_a_verb_of_another_manager_is_taken_for_ours(typed: str, meant: str) -> None:
    assert list(foreign_verb_as_ours(typed.split())) == meant.split()


@pytest.mark.parametrize("word", [word for word, each in FOREIGN_VERBS.items() if not each.verb])
def test_a_verb_that_has_no_equal_is_never_served_as_a_module(word: str) -> None:
    with pytest.raises(UsageError, match=rf"^there is no verb {word}\b") as caught:
        foreign_verb_as_ours([word, "x"])
    assert FOREIGN_VERBS[word].advice in str(caught.value)
    assert (f"{word}:CALLABLE" in str(caught.value)) == (":" not in word)


def test_python_itself_has_modules_of_such_names() -> None:
    assert [
        word for word in FOREIGN_VERBS if word.isidentifier() and importlib.util.find_spec(word)
    ]


@pytest.mark.parametrize(
    ("verb", "words", "notes"),
    [
        (LOGS, "web --lines 5 --err", 0),
        (LOGS, "web --nostream --raw --timestamp", 3),
        (SAVE, "--no-vizion", 1),
    ],
)
def test_flags_of_pm2_on_a_verb_are_taken_or_ignored(verb: Verb, words: str, notes: int) -> None:
    assert len(parse_verb(build_parser(verb), words.split(), verb.name)[1]) == notes


@pytest.mark.parametrize(
    ("verb", "words", "text"),
    [
        (LOGS, "web --highlight x", "PM2's --highlight is --grep PATTERN here"),
        (
            RELOAD,
            "web --update-env",
            "reload has no flag --update-env: PM2's --update-env is a flag of `start` and",
        ),
        (RESTART, "web --watch", "PM2's --watch is prefork restart here"),
        (RESTART, "web --max-memory-restart 1g", "--max-memory is an option of serving, and resta"),
        (RESTART, "web --reuse-port", "gunicorn's --reuse-port is not needed"),
        (RESTART, "web --wrong", "restart has no flag --wrong; see prefork restart --help"),
        (RESTART, "web --qui", "restart has no flag --qui; did you mean --quick?"),
        (RESTART, "web --timeo 3", "restart has no flag --timeo; did you mean --timeout?"),
        (RESTART, "--timeout 3 -Y web", "restart has no flag -Y; see prefork restart --help"),
        (STOP, "web -5 --forc", "stop has no flag --forc; did you mean --force?"),
    ],
)
def test_other_flags_on_a_verb_get_their_answer(verb: Verb, words: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_verb(build_parser(verb), words.split(), verb.name)
    assert text in str(caught.value)


def test_words_behind_two_dashes_are_no_flags() -> None:
    options, _ = parse_verb(build_parser(STOP), ["--timeout", "3", "--", "--forc"], "stop")
    assert options.targets == ["--forc"]


def test_update_env_has_the_short_flag_of_pm2() -> None:
    options, _ = parse_verb(build_parser(RESTART), ["web", "-a"], "restart")
    assert options.update_env
