"""The documents of the project, and what in a text of theirs does not exist.

Each function ``unknown_...`` yields what a text names and the project does not have.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from prefork.cli.manual.manual_index import command_flags
from prefork.cli.manual.manual_pages import COMING_FROM
from prefork.cli.verbs.start_target import ARGUMENTS, INTERPRETER
from prefork.config.flags import EXIT_CODES
from prefork.config.foreign.foreign_table import WORDS, find_flag, find_key
from prefork.config.foreign.foreign_verbs import FOREIGN_VERBS
from prefork.config.foreign.foreign_word import How
from prefork.config.options import OPTIONS
from prefork.wire.verb import Verb
from prefork.wire.verb_table import commands

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "prefork" / "docs"
PAGES = {path.name: path for path in sorted([*DOCS.glob("*.md"), *ROOT.glob("[RC][EO]*.md")])}

FOREIGN_FLAGS = {"--now", "--user", "--loads", "--publish", "--rounds"}
"""Flags of other programs in examples, and of the project's own scripts."""

FOREIGN_KEYS = {
    *("mode", "status", "key"),  # of a bind, of systemctl, and of nginx's map
    *("DEBUG", "STATIC_ROOT", "restart", "orders"),  # of Django, and of our own code
}
"""Names before an equals sign in examples that are no settings of prefork."""

FOREIGN_WORDS = {"maxmemory-policy", "send-proxy-v2", "kube-probe", "redis-server"}
"""Words with a dash of Redis, HAProxy and Kubernetes."""

PATHS_OF_USERS = {"/root", "/home", "/run", "/shop", "/slow", "/report", "/healthz"}
"""Folders of a machine, and paths of an app in examples."""

CODES_OF_PROGRAMS = {"3", "137"}
"""Exit codes of a program in an example."""


def code_spans(text: str) -> Iterator[str]:
    """Yield the texts in backticks, without those in blocks of code."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(
        r"<!-- (benchmark|fair|manage|metrics) -->.*?<!-- /\1 -->", "", text, flags=re.DOTALL
    )
    for span in re.findall(r"`([^`]+)`", text):
        yield " ".join(span.split())


def code_blocks(text: str) -> Iterator[tuple[str, str]]:
    """Yield the words behind the opening line of each block of code, and its text."""
    yield from re.findall(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def prefork_lines(text: str) -> Iterator[str]:
    """Yield the commands of prefork in spans and blocks, without comments."""
    for span in code_spans(text):
        if span.startswith(("prefork ", "-")):
            yield span
    for info, block in code_blocks(text):
        if info.split()[:1] in (["sh"], ["ini"], ["dockerfile"], ["console"]):
            for line in block.splitlines():
                command = line.partition("  #")[0].replace("&&", "\n")
                yield from re.findall(r"prefork (?=[a-z-]).*", command)


@cache
def all_flags() -> frozenset[str]:
    """Return all flags that prefork takes, in any command."""
    flags = {option.flag for option in OPTIONS.values()}
    flags |= {f"--no-{option.key}" for option in OPTIONS.values()}
    flags |= {flag for names, _ in command_flags() for flag in names}
    for verb in commands().values():
        flags |= {flag for argument in verb.arguments for flag in argument.flags}
    flags |= {option.short for option in OPTIONS.values() if option.short}
    taken = {flag for word in WORDS if word.how in (How.TAKEN, How.IGNORED) for flag in word.flags}
    return frozenset(flags | taken | {INTERPRETER, *ARGUMENTS} | FOREIGN_FLAGS)


def find_verb(line: str) -> Verb | None:
    """Return the verb of a command, or of a span such as ``list --json``; None: it has none."""
    words = line.removeprefix("prefork ").split()
    word = words[0] if words else ""
    foreign = FOREIGN_VERBS.get(word) if line.startswith("prefork ") else None
    return commands().get(foreign.verb if foreign and foreign.verb else word)


def flags_of(line: str) -> list[str]:
    """Return the flags in a command, without those of a program behind ``--`` or a pipe."""
    ours = re.split(r" -- | \\?\| |; |\$\(", line)[0]
    return re.findall(r"(?<![\w-])(--[a-z][a-z0-9_-]+|-[A-Za-z])(?![\w-])", ours)


def unknown_flags(text: str, name: str) -> Iterator[str]:
    """Yield flags that their command does not take: a verb has its own."""
    spans = [span for span in code_spans(text) if " -" in span and "prefork " not in span]
    for line in [*prefork_lines(text), *filter(find_verb, spans)]:
        verb = find_verb(line)
        known: frozenset[str] | set[str] = all_flags() | {"-h"}
        if verb is not None and verb.name != "help" and not verb.takes_serving_options:
            known = {flag for argument in verb.arguments for flag in argument.flags} | {"--help"}
        for flag in flags_of(line):
            is_foreign = line.startswith("-") and (find_flag(flag) or name.startswith(COMING_FROM))
            if flag not in known and not is_foreign:
                yield f"{flag} in {line}"


def unknown_script_flags(text: str, _name: str) -> Iterator[str]:
    """Yield flags that stand nowhere in the script that gets them, nor in what it runs."""
    blocks = [line for _, block in code_blocks(text) for line in block.splitlines()]
    for line in [*code_spans(text), *blocks]:
        script, _, rest = line.partition("  #")[0].removeprefix("scripts/").partition(" ")
        if not line.startswith("scripts/") or not (ROOT / "scripts" / script).is_file():
            continue
        sources = [ROOT / "scripts" / script]
        sources += (ROOT / "scripts" / "benchmarks").rglob("*.py") if script == "bench" else []
        sources += (ROOT / "tests" / "fuzz").rglob("*.py") if script == "fuzz" else []
        known = "\n".join(path.read_text() for path in sources)
        for flag in re.findall(r"(?<!\S)--[a-z][\w-]*", rest):
            if flag != "--help" and not re.search(rf"{flag}(?![\w-])", known):
                yield f"{flag} in {line}"


@cache
def all_source() -> str:
    """Return the text of the package."""
    found = (ROOT / "prefork").rglob("*")
    endings = (".py", ".pyx", ".cjs", ".js", ".html")
    return "\n".join(path.read_text() for path in found if path.suffix in endings)


def unknown_keys(text: str, name: str) -> Iterator[str]:
    """Yield keys of no setting: before an equals sign, or words with a dash.

    Keys of systemd have capitals, as in ``KillMode=``.
    """
    keys = {option.key for option in OPTIONS.values()} | {"app", "command", "after", "name"}
    for span in code_spans(text):
        if found := re.match(r"([A-Za-z][\w-]*) ?= ?(?!=)", span):
            key = found[1]
            is_of_systemd = re.fullmatch(r"[A-Z]\w*[a-z]\w*", key) and " = " not in span
            is_variable = re.fullmatch(r"[A-Z_]+", key) and " = " not in span
            is_foreign = name.startswith(COMING_FROM) and find_key(key)
            known = keys | FOREIGN_KEYS
            if not (is_of_systemd or is_variable or is_foreign) and key not in known:
                yield f"{key} in {span}"
        elif re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)+", span):
            known = keys | FOREIGN_WORDS | {page.removesuffix(".md") for page in PAGES}
            if span not in known and not re.search(rf"(?<![\w-]){span}(?![\w-])", all_source()):
                yield span


def unknown_paths(text: str, _name: str) -> Iterator[str]:
    """Yield paths that the status server does not have."""
    routes = (ROOT / "prefork" / "observe" / "status" / "routes.py").read_text()
    for span in code_spans(text):
        found = re.findall(r"\b(?:GET|POST|PUT|HEAD|DELETE) (/[\w./-]*)", span)
        found += re.findall(r"^/[a-z]+(?:\.json)?$", span)
        for path in found:
            is_verb = path[1:] in commands() and span.startswith("POST ")
            if not is_verb and f'"{path}"' not in routes and path not in PATHS_OF_USERS | {"/"}:
                yield f"{path} in {span}"


def unknown_exit_codes(text: str, _name: str) -> Iterator[str]:
    """Yield exit codes that the command does not have."""
    known = {str(code) for code in EXIT_CODES} | CODES_OF_PROGRAMS
    number = r"`?\d{1,3}`?"
    pattern = (
        rf"\bexit(?:s|ed)?(?: with)?(?: codes?| status)?:? ((?:{number}(?:, | and | or |/)?)+)"
    )
    for found in re.finditer(pattern, " ".join(text.split())):
        for code in re.findall(r"\d+", found[1]):
            if code not in known:
                yield f"{code} in {found[0]!r}"


CHECKS: dict[str, Callable[[str, str], Iterator[str]]] = {
    "flags": unknown_flags,
    "scripts": unknown_script_flags,
    "keys": unknown_keys,
    "paths": unknown_paths,
    "exit codes": unknown_exit_codes,
}
