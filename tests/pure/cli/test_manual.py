"""The manual: its pages, what a word of ``prefork help`` means, both helps and the man page."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from prefork.cli.command import main
from prefork.cli.manual.help_verb import list_topics
from prefork.cli.manual.man_page import man_page
from prefork.cli.manual.manual_index import command_flags, find_entries
from prefork.cli.manual.manual_pages import FOLDER, ORDER, ManualPage, read_pages
from prefork.cli.manual.markdown_view import render_markdown
from prefork.cli.manual.settings_tables import flags_table, variables_table
from prefork.cli.manual.short_help import (
    DAILY_OPTIONS,
    DAILY_VERBS,
    SCREEN_WIDTH,
    short_help,
    whole_help,
)
from prefork.config.options import OPTIONS, POSITIONAL
from prefork.config.sources import RESERVED
from prefork.errors import UsageError
from prefork.wire.verb_table import VERBS, commands
from tests.toy_verb import GREET

ROOT = Path(__file__).parents[3]
PAGES = read_pages()
LONGEST_SUMMARY = 54
"""Characters that a line of 80 has beside the longest name of a topic."""


# Pages.


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_a_title_and_a_sentence_that_sums_it_up(name: str) -> None:
    page = PAGES[name]
    assert page.source.startswith("# ")
    assert page.source.endswith("\n")
    assert page.summary.endswith(".")
    assert len(page.summary) <= LONGEST_SUMMARY, page.summary


def test_all_pages_are_listed_once() -> None:
    assert set(PAGES) == {path.stem for path in FOLDER.glob("*.md")}
    assert list(PAGES)[: len(ORDER)] == list(ORDER)
    for name, page in PAGES.items():
        assert len(re.findall(rf"^  {name} +{re.escape(page.summary)}$", list_topics(), re.M)) == 1


@pytest.mark.parametrize("name", PAGES)
def test_a_page_on_the_terminal_has_no_comments_pictures_or_links_to_files(name: str) -> None:
    code = re.compile(r"^```.*?^```$|`[^`]+`", re.MULTILINE | re.DOTALL)
    text = code.sub("", PAGES[name].text)
    assert "<!--" not in text
    assert not re.search(r"^(!\[|<img)", text, re.M)
    assert not re.search(r"\]\((?!https?://)", text)


# Words.


def meanings(words: str) -> list[tuple[str, str]]:
    return [(entry.words, entry.kind) for entry in find_entries(words)]


@pytest.mark.parametrize("option", [o for o in OPTIONS.values() if o.name not in POSITIONAL])
def test_each_spelling_of_an_option_means_it(option) -> None:
    for word in (option.flag, option.variable, option.short, f"--no-{option.key}"):
        assert not word or meanings(word) == [(option.flag, "option")]
    for word in (option.key, option.name):
        assert (option.flag, "option") in meanings(word)


def test_each_flag_that_is_no_option_has_its_help() -> None:
    flags = {flag for names, _ in command_flags() for flag in names}
    assert flags >= {"-c", "--config", "--check", "--print-config", "-h", "--help", "--help-all"}
    assert "--managed" not in flags
    for flag in flags:
        assert [kind for _, kind in meanings(flag)] == ["option"]


@pytest.mark.parametrize("word", commands())
def test_each_verb_has_its_help(word: str) -> None:
    (entry,) = [entry for entry in find_entries(word) if entry.kind == "verb"]
    assert entry.text.startswith(f"usage: prefork {word}")


@pytest.mark.parametrize("name", PAGES)
def test_each_topic_is_the_first_meaning_of_its_name(name: str) -> None:
    assert meanings(name)[0] == (name, "topic")
    assert meanings(name.replace("-", " ").upper())[0] == (name, "topic")


def test_a_word_may_have_several_meanings() -> None:
    assert meanings("status")[:2] == [("status", "topic"), ("--status", "option")]
    assert meanings("env") == [("env", "verb"), ("--env", "option")]
    assert meanings("--env") == meanings("-e") == [("--env", "option")]


def test_the_name_of_another_server_is_enough() -> None:
    assert meanings("gunicorn") == [("coming-from-gunicorn", "topic")]


def test_a_word_of_another_server_is_translated() -> None:
    entry, option = find_entries("graceful_timeout")
    assert entry.text.startswith("gunicorn's and hypercorn's graceful_timeout is --kill-timeout")
    assert max(map(len, entry.text.splitlines())) <= 90
    assert (option.words, option.kind) == ("--kill-timeout", "option")
    assert [entry.kind for entry in find_entries("--uds")] == ["word of another server", "option"]
    assert [entry.kind for entry in find_entries("--timeout")] == ["option"]


def test_a_section_is_found_by_its_heading() -> None:
    (entry,) = find_entries("behind a proxy")
    assert entry.text.startswith("## Behind a proxy\n")
    assert (entry.words, entry.kind) == ("deployment", "topic with the section Behind a proxy")


@pytest.mark.parametrize("words", ["django", "Django projects", "project"])
def test_a_section_is_found_by_words_of_its_heading(words: str) -> None:
    (entry, *_) = find_entries(words)
    assert (entry.words, entry.kind) == ("deployment", "topic with the section A Django project")


@pytest.mark.parametrize(
    "name", ["HUP", "TERM", "INT", "QUIT", "TTIN", "TTOU", "USR1", "WINCH", "USR2"]
)
def test_a_signal_opens_the_page_of_the_signals(name: str) -> None:
    for word in (name, f"SIG{name}", name.lower()):
        assert meanings(word)[0] == ("signals", "topic")


@pytest.mark.parametrize("name", RESERVED)
def test_each_variable_that_is_no_option_has_its_meaning(name: str) -> None:
    (entry,) = find_entries(name)
    assert (entry.words, entry.kind) == (name, "variable")
    assert RESERVED[name][1:] in entry.text


@pytest.mark.parametrize(
    ("words", "page", "title"),
    [
        ("docker", "deployment", "Containers"),
        ("dockerfile", "deployment", "Containers"),
        ("exit code 102", "troubleshooting", "Messages and exit codes"),
        ("HAProxy", "deployment", "The PROXY protocol"),
        ("log rotation", "logging", "Rotation"),
        ("static files", "deployment", "A Django project"),
        ("gevent", "coming-from-gunicorn", "What behaves differently"),
    ],
)
def test_words_without_a_meaning_open_the_best_section(words: str, page: str, title: str) -> None:
    entries = find_entries(words)
    assert (entries[0].words, entries[0].kind) == (page, f"topic with the section {title}")
    pages = [entry.words for entry in entries]
    assert len(pages) == len(set(pages))


def test_only_whole_words_are_found() -> None:
    for words in ("TIN", "ocker", "eventl"):
        with pytest.raises(UsageError):
            find_entries(words)


def test_a_page_without_sections_is_found_by_its_text() -> None:
    assert meanings("gracefully")[0] == ("signals", "topic")


def test_the_plural_of_an_option_means_it() -> None:
    assert meanings("websockets")[0] == ("--websocket", "option")


def test_pages_for_few_readers_come_last() -> None:
    names = [name for name, _ in meanings("redis")]
    assert names[-1] == "benchmarks"


def test_a_section_names_its_page(capfd: pytest.CaptureFixture[str]) -> None:
    assert "\nThe whole page: prefork help deployment\n" in output(capfd, "help", "docker")


def test_a_flag_of_a_verb_shows_the_verb() -> None:
    assert meanings("--master-pid") == [("reload", "verb")]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("relaod", "relaod; did you mean reload"),
        ("--kill-timout", "did you mean --kill-timeout"),
        ("PREFORK_WORKER", "did you mean PREFORK_WORKERS"),
        ("PREFORK_HOM", "did you mean PREFORK_HOME"),
        ("qqqq", "prefork help lists all topics"),
        ("--qqqq", "prefork help lists all topics"),
        ("\x1b[2J", "prefork help lists all topics"),
    ],
)
def test_unknown_words_get_a_hint(words: str, hint: str) -> None:
    with pytest.raises(UsageError, match="there is no topic, verb or option ") as caught:
        find_entries(words)
    assert hint in str(caught.value)


# Printing.


def output(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(words) == 0
    return capfd.readouterr().out


def test_without_a_word_it_lists_the_topics(capfd: pytest.CaptureFixture[str]) -> None:
    assert output(capfd, "help") == output(capfd, "help", "--help") == list_topics()


def test_other_meanings_are_named(capfd: pytest.CaptureFixture[str]) -> None:
    assert output(capfd, "help", "env").endswith("\nSee also: prefork help --env (option)\n")
    assert "See also" not in output(capfd, "help", "--env")


def test_a_pipe_gets_plain_text(capfd: pytest.CaptureFixture[str]) -> None:
    for name in PAGES:
        text = output(capfd, "help", name)
        assert "\x1b" not in text
        assert not [line for line in text.splitlines() if line != line.rstrip()]
        for line in text.splitlines():
            if not line.startswith("    "):  # it is no code
                assert len(line) <= 100
                assert not re.search(r"\]\((https?:|[\w-]+\.md)|^\|.*\|$|\*\*\w", line)


def test_a_link_to_a_topic_becomes_its_command() -> None:
    page = ManualPage("x", "See [logs](logging.md#format) and ([logging](logging.md)), [b](#c).")
    assert page.text == "See logs (`prefork help logging`) and (`prefork help logging`), b."


def test_a_table_without_room_is_a_list() -> None:
    name = "`--a-very-long-flag-of-another-server` `--and-one-more-name-for-it`"
    text = render_markdown(f"| flag | here | remark |\n|---|---|---|\n| {name} | `--x` |  |\n")
    shown = name.replace("`", "")
    assert text == f"\n{shown}\n    here: --x\n"


def test_the_settings_page_names_every_option(capfd: pytest.CaptureFixture[str]) -> None:
    text = output(capfd, "help", "settings")
    for option in OPTIONS.values():
        assert option.variable in text
        assert option.name in POSITIONAL or re.search(rf"{option.flag}\b", text)


def test_the_settings_page_has_every_flag_and_variable_that_is_no_option(
    capfd: pytest.CaptureFixture[str],
) -> None:
    page = PAGES["settings"].source
    assert f"<!-- flags -->\n{flags_table()}<!-- /flags -->" in page, "run scripts/docs"
    assert f"<!-- variables -->\n{variables_table()}<!-- /variables -->" in page, "run scripts/docs"
    text = output(capfd, "help", "settings")
    options = whole_help().partition("\nverbs")[0]
    named = set(re.findall(r"(?<![\w-])--(?!no-)[a-z][a-z-]*[a-z]", options))
    assert {"--check", "--section", "--stage", "--version"} <= named
    assert [flag for flag in named if not re.search(rf"(?<![\w-]){flag}(?![\w-])", text)] == []


MARKDOWN = """\
# Title

A [link](https://example.org/) and `code`.

- one
- two

```sh
prefork --check  # {long}
```

| name | meaning |
|---|---|
| `--{long}` | {words} |
"""


def test_a_name_in_a_table_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    long = "x" * 200
    text = render_markdown(MARKDOWN.format(long=long, words="word " * 100))
    assert f"\n    prefork --check  # {long}\n" in text
    assert f"\n--{long}\n    meaning: word word" in text
    assert text.startswith(
        "Title\n=====\n\nA link (https://example.org/) and code.\n\n • one\n • two\n"
    )


# The help of the command.


def test_the_short_help_is_one_screen() -> None:
    lines = short_help().splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines)) <= SCREEN_WIDTH


def test_the_short_help_has_ten_options_and_all_verbs() -> None:
    text = short_help()
    options, _, verbs = text.partition("\nverbs:\n")
    flags = re.findall(r"^  (?:-\w, |    )--([a-z-]+)", options, re.MULTILINE)
    assert len(flags) == 10
    assert set(flags) == {OPTIONS[name].key for name in DAILY_OPTIONS} | {"config"}
    assert set(re.findall(r"\b[a-z]+\b", verbs)) >= set(commands())
    assert set(DAILY_VERBS) <= set(VERBS)


def test_a_new_verb_is_in_the_short_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VERBS, GREET.name, GREET)
    assert re.search(r"^  also: .*\bgreet hail\b", short_help(), re.M | re.S)


def test_the_whole_help_has_all_options_and_verbs(capfd: pytest.CaptureFixture[str]) -> None:
    text = output(capfd, "--help-all")
    assert text == whole_help()
    assert set(re.findall(r"^  (\w+)  ", text, re.M)) == set(commands())
    for option in OPTIONS.values():
        assert option.name in POSITIONAL or re.search(rf"^  .*{option.flag}\b", text, re.M)


def test_flags_ask_for_both_helps(capfd: pytest.CaptureFixture[str]) -> None:
    assert output(capfd, "--help") == output(capfd, "-w", "2", "-h") == short_help()


# The man page.


def test_the_man_page_is_generated() -> None:
    assert (ROOT / "conf" / "prefork.1").read_text() == man_page(), "run scripts/docs"


def test_the_man_page_has_every_option_and_verb() -> None:
    page = man_page()
    for option in OPTIONS.values():
        flag = option.flag.replace("-", "\\-")
        assert option.name in POSITIONAL or f"\\fB{flag}\\fR" in page
    for verb in {verb.name: verb for verb in commands().values()}.values():
        assert re.search(rf"^\\fB{verb.name}\b", page, re.M)


def test_the_man_page_is_installed_where_man_looks() -> None:
    assert "\nshare/man/man1 = conf/prefork.1\n" in (ROOT / "setup.cfg").read_text()


@pytest.mark.skipif(not shutil.which("groff"), reason="there is no groff here")
def test_roff_understands_the_man_page() -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", str(ROOT / "conf" / "prefork.1")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert "--kill-timeout" in re.sub(".\x08", "", done.stdout)  # a bold letter is printed twice
