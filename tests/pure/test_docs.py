"""Documents name only what exists: files, names, options, verbs, topics, exit codes, links."""

import re
from functools import cache

import pytest

from prefork.cli.manual.manual_index import find_entries
from prefork.cli.manual.manual_pages import COMING_FROM
from prefork.cli.registry.client import Client
from prefork.cli.view.app_columns import STATE_STYLES
from prefork.config.flags import EXIT_CODES
from prefork.config.foreign.foreign_verbs import FOREIGN_VERBS
from prefork.config.options import OPTIONS
from prefork.config.sources import RESERVED
from prefork.errors import UsageError
from prefork.wire.fields import STATES
from prefork.wire.verb_table import commands
from tests.pure.documents import DOCS, PAGES, ROOT, code_blocks, code_spans, prefork_lines

FOR_MAINTAINERS = ("CONTRIBUTING.md", "architecture.md")
LONGEST = {"README.md": 150, "CONTRIBUTING.md": 250}

pages = pytest.mark.parametrize("name", PAGES)

OURS = ("prefork", "tests", "scripts", "conf", ".ci")
"""The folders of the project whose files a document may name."""

FILE = re.compile(r"[\w./-]+\.(py|pyx|md|cjs|cfg|service|socket|svg|png)")

FILES_OF_USERS = {
    "hello.py",
    "app.py",
    "server.js",
    "manage.py",
    "gunicorn.conf.py",
    "settings.py",
    "wsgi.py",
}
"""Names of files in examples."""

VARIABLES = {f"PREFORK_{name}" for name in ("NAME", "PICTURES")} | RESERVED.keys()
"""PREFORK_* variables that are no options."""


def source(name: str) -> str:
    return PAGES[name].read_text()


def fail_with(complaints: list[str]) -> None:
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


@pytest.mark.parametrize(("name", "most"), LONGEST.items())
def test_documents_are_short(name: str, most: int) -> None:
    assert len(source(name).splitlines()) <= most


@pages
def test_verbs_and_topics_exist(name: str) -> None:
    complaints = []
    for line in prefork_lines(source(name)):
        words = line.partition("|")[0].split()[1:]
        if not line.startswith("prefork ") or not words or not re.fullmatch("[a-z]+", words[0]):
            continue
        taken = words[0] in FOREIGN_VERBS and FOREIGN_VERBS[words[0]].verb
        if words[0] not in commands() and not taken:
            complaints.append(f"{name}: there is no verb {words[0]} in {line}")
        elif words[0] == "help" and len(words) > 1 and re.fullmatch("[-a-z]+", words[1]):
            try:
                find_entries(words[1])
            except UsageError as error:
                complaints.append(f"{name}: {error}")
    fail_with(complaints)


PEERS = ("gunicorn", "uvicorn", "hypercorn", "granian")
APP = re.compile(r"[a-z_.]+:[\w()]+|[a-z_]+\.wsgi")


@pytest.mark.parametrize("peer", PEERS)
def test_lines_beside_those_of_a_peer_name_the_same_app(peer: str) -> None:
    blocks = code_blocks(source(f"{COMING_FROM}{peer}.md"))
    pairs = [line.split(f" # {peer} ") for _, text in blocks for line in text.splitlines()]
    pairs = [pair for pair in pairs if len(pair) == 2]
    assert pairs
    fail_with(
        [
            f"{ours.strip()} does not name {app}"
            for ours, theirs in pairs
            if APP.fullmatch(app := theirs.split()[-1]) and app not in ours.split()
        ]
    )


@pages
def test_variables_exist(name: str) -> None:
    known = VARIABLES | {option.variable for option in OPTIONS.values()}
    fail_with(
        [
            f"{name}: {variable}"
            for span in code_spans(source(name))
            if not span.startswith("X_")
            for variable in re.findall(r"(?<!X_)\bPREFORK_[A-Z_]+\b", span)
            if variable not in known
        ]
    )


@pages
def test_files_exist(name: str) -> None:
    places = (ROOT, ROOT / "prefork", ROOT / "conf", DOCS)
    complaints = []
    for span in code_spans(source(name)):
        for word in span.split():
            is_ours = word.partition("/")[0] in OURS and "/" in word
            is_file = is_ours or FILE.fullmatch(word)
            if not is_file or word.startswith(("/", "mysite/")) or word in FILES_OF_USERS:
                continue
            if "NAME" not in word and not any(
                list(place.glob(word.rstrip("/,"))) for place in places
            ):
                complaints.append(f"{name}: {word}")
    fail_with(complaints)


@pages
def test_links_lead_to_files_and_headings(name: str) -> None:
    complaints = []
    for target in re.findall(r"\]\(([^)\s]+)\)", source(name)):
        path, _, anchor = target.partition("#")
        if re.match(r"https?:|/", target) or "%" in target or '"' in target:
            continue
        file = PAGES[name].parent / path if path else PAGES[name]
        if not file.exists():
            complaints.append(f"{name}: {target}")
        elif anchor and anchor not in {anchor_of(line) for line in file.read_text().splitlines()}:
            complaints.append(f"{name}: no heading {target}")
    fail_with(complaints)


def anchor_of(line: str) -> str:
    """Return the anchor of a heading, as GitHub makes it."""
    if not line.startswith("#"):
        return ""
    return re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")


def test_all_exit_codes_are_explained() -> None:
    text = source("troubleshooting.md")
    missing = [code for code in EXIT_CODES if code and f"exit code {code}" not in text]
    assert not missing


def test_all_states_of_an_app_are_explained() -> None:
    listed = (Client.__doc__ or "").partition("state      ")[2].partition("answers")[0]
    known = {word for word in re.findall(r"[a-z]+", listed) if word in STATE_STYLES}
    known -= {"killed"}  # in "the master was killed"
    assert known == set(re.findall(r"^\| `(\w+)` \|", states_of_the_manual(), re.MULTILINE))
    assert set(filter(None, STATES)) <= known


def states_of_the_manual() -> str:
    return source("manager.md").partition("\n| state | meaning |\n")[2].partition("\n\n")[0]


@cache
def defined_names() -> frozenset[str]:
    """Return all words of the code."""
    words: set[str] = set()
    for folder in ("prefork", "tests", "scripts"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".pyx", ".cjs", ".js", ".html"):
                words |= set(re.findall(r"[A-Za-z_]\w*", path.read_text()))
                words.add(path.stem)
            elif path.is_dir():
                words.add(path.name)
    return frozenset(words)


@pytest.mark.parametrize("name", FOR_MAINTAINERS)
def test_names_of_the_code_exist(name: str) -> None:
    fail_with(
        [
            f"{name}: {part} in {span}"
            for span in code_spans(source(name))
            if re.fullmatch(r"[A-Za-z_][\w.]*(\(.*\))?", span) and not FILE.fullmatch(span)
            for part in re.findall(r"[A-Za-z_]\w*", span.partition("(")[0])
            if part not in defined_names()
        ]
    )


FOREIGN_NAMES = {
    *("postrotate", "terminationGracePeriodSeconds", "histogram_quantile", "dmesg", "preStop"),
    *("fullchain", "upstream", "keepalive_timeout", "proxy_read_timeout"),
    *("STATIC_ROOT", "ALLOWED_HOSTS", "LOGGING", "DEBUG", "BASE_DIR"),
    *("noeviction", "appendonly", "save"),
    *("SECURE_PROXY_SSL_HEADER", "DJANGO_SETTINGS_MODULE", "inotify", "max_user_watches", "_5XX"),
}
"""Names of other programs in examples, and the second half of a pair of ours."""


@pages
def test_names_are_words_of_the_source(name: str) -> None:
    """A name that the source does not have is wrong, or one of another program."""
    if name.startswith(COMING_FROM):
        return
    fail_with(
        [
            f"{name}: {part} in {span}"
            for span in code_spans(source(name))
            if re.fullmatch(r"[A-Za-z_][\w.-]*(\(.*\))?", span) and not FILE.fullmatch(span)
            for part in re.findall(r"[A-Za-z_]\w*", span.partition("(")[0])
            if part not in defined_names() | FOREIGN_NAMES and "PREFORK_" not in part
        ]
    )


def test_figures_of_the_readme_are_those_of_the_benchmarks() -> None:
    table = source("README.md").partition("## Measured\n")[2].partition("What they do better")[0]
    measured = set(re.findall(r"[\d.]+", source("benchmarks.md")))
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    figures = [
        figure
        for row in rows
        for cell in row.split("|")[2:]
        for figure in re.findall(r"[\d.]+", cell)
    ]
    assert len(figures) > 10
    assert [figure for figure in figures if figure not in measured] == []


BANNED = re.compile(r"\b(nobody|somebody|whoever|anybody|everybody)\b", re.IGNORECASE)


@pages
def test_sentences_have_subjects(name: str) -> None:
    text = re.sub(r"^```.*?^```$", "", source(name), flags=re.MULTILINE | re.DOTALL)
    assert [found[0] for found in BANNED.finditer(text)] == []


@pages
def test_english_quotes_no_address_of_this_machine(name: str) -> None:
    assert not re.search(r"/(root|tmp/h\d+|work)/", source(name))
