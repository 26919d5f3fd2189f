"""The language of the source: sentences with a subject, one name for one thing."""

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "prefork"
FOLDERS = ("prefork", "tests", "scripts")

BANNED = re.compile(
    r"\b(nobody|somebody|whoever|anybody|everybody)\b|(?:^|[.:;] )(?:Who|What is) ", re.IGNORECASE
)
"""Words that hide the subject of a sentence: the worker, the client, the operator."""

CLAUSE = re.compile(r"(What|Whether) ")
"""A docstring or a comment that begins so has a clause as its subject."""

NAMES = re.compile(r"(^|_)(nobody|somebody|whoever|anybody|everybody)(_|$)", re.IGNORECASE)

USERS = {"nobody"}
"""A string of exactly this is the name of the user that owns nothing (passwd(5))."""

LONGEST_FUNCTION = 40
"""Lines of code: without docstring, comments and blank lines."""


def sources(*folders: str) -> Iterator[tuple[Path, str, ast.Module]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text()
            yield path.relative_to(ROOT), text, ast.parse(text)


def documentation(text: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Comments, and strings that stand as statements: docstrings of all kinds."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str() as string)):
                yield node.lineno, " ".join(string.split())


def messages(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """All other strings: log messages, errors, texts of options."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str() as string) if string not in USERS:
                yield node.lineno, string


def fail_with(complaints: list[str]) -> None:
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


def other_files() -> dict[str, Path]:
    """Return the files in other languages than Python, and the documents."""
    found = [
        path
        for each in ("*.pyx", "*.pxd", "*.pyi", "*.cjs", "*.js", "*.html", "*.css")
        for path in PACKAGE.rglob(each)
    ]
    found += [path for path in (ROOT / "scripts").iterdir() if path.is_file()]
    found += [*(ROOT / "conf").iterdir(), *(PACKAGE / "docs").glob("*.md"), *ROOT.glob("*.md")]
    found = [path for path in found if path.suffix != ".py"]
    return {str(path.relative_to(ROOT)): path for path in sorted(found)}


OTHER_FILES = other_files()

COMMENT = re.compile(r"(?:#|//|/?\*\*?|\"\"\") ?(?P<text>\S.*)")


def paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file without the marks of comments, each with the lines that follow it.

    A sentence may begin in any line and go on in the next one.
    """
    lines = [line.strip() for line in text.splitlines()]
    bare = [found["text"] if (found := COMMENT.match(line)) else line for line in lines]
    for number, line in enumerate(bare, 1):
        yield number, f"{line} {bare[number] if number < len(bare) else ''}"


def opening_comments(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that begin a comment: the line before is none."""
    is_inside = False
    for number, line in enumerate(text.splitlines(), 1):
        found = COMMENT.match(line.strip())
        if found and not is_inside:
            yield number, found["text"]
        is_inside = found is not None


@pytest.mark.parametrize("name", OTHER_FILES)
def test_other_files_have_subjects(name: str) -> None:
    text = OTHER_FILES[name].read_text()
    # In code, a string or a name may be one of these words.
    found = [(n, hit[0]) for n, line in paragraphs(text) for hit in [BANNED.search(line)] if hit]
    if not name.endswith(".md") and not name.endswith("prefork.toml"):
        found += [(n, line) for n, line in opening_comments(text) if CLAUSE.match(line)]
    fail_with([f"{name}:{number}: {words.strip()!r}" for number, words in found])


@pytest.mark.parametrize(
    "text",
    [
        "# Whoever is left is killed.",
        "// It waits.\n// Who has one, waits.",
        "/* What happens at the stop signal. */",
        "# What happens at\n# the stop signal",
        "The client waits; what is\nleft is closed.",
        '    """What a row means."""',
        '    """Whether a row counts."""',
    ],
)
def test_a_sentence_without_a_subject_is_seen(text: str) -> None:
    banned = [line for _, line in paragraphs(text) if BANNED.search(line)]
    assert banned + [line for _, line in opening_comments(text) if CLAUSE.match(line)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_and_comments_have_subjects(folder: str) -> None:
    fail_with(
        [
            f"{path}:{line}: {found[0].strip()!r} in {text[:70]!r}"
            for path, source, tree in sources(folder)
            if path.name != Path(__file__).name
            for line, text in documentation(source, tree)
            for found in [BANNED.search(text) or CLAUSE.match(text)]
            if found and not is_continuation(source, line)
        ]
    )


def is_continuation(source: str, number: int) -> bool:
    """Return whether a line goes on with the comment of the line before."""
    before = source.splitlines()[number - 2].lstrip() if number > 1 else ""
    line = source.splitlines()[number - 1].lstrip()
    return (
        before.startswith("#")
        and line.startswith("#")
        and CLAUSE.match(line.lstrip("# ")) is not None
    )


def test_messages_have_subjects() -> None:
    fail_with(
        [
            f"{path}:{line}: {found[0].strip()!r} in {text[:70]!r}"
            for path, _, tree in sources("prefork")
            for line, text in messages(tree)
            for found in [BANNED.search(text)]
            if found
        ]
    )


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_have_subjects(folder: str) -> None:
    fail_with(
        [
            f"{path}:{node.lineno}: {name}"
            for path, _, tree in sources(folder)
            for node in ast.walk(tree)
            for name in names_of(node)
            if NAMES.search(name)
        ]
    )


def names_of(node: ast.AST) -> list[str]:
    """Return the names in a node: of functions, arguments, attributes, variables."""
    found = [getattr(node, field, None) for field in ("name", "id", "arg", "attr")]
    return [name for name in found if isinstance(name, str)]


def test_names_of_arguments_are_read() -> None:
    names = [
        n
        for node in ast.walk(ast.parse("def f(nobody): g(x.anybody, whoever=1)"))
        for n in names_of(node)
    ]
    assert {"nobody", "anybody", "whoever"} <= {name for name in names if NAMES.search(name)}


def test_no_class_name_stands_twice() -> None:
    """In ``wire`` and ``unix`` one concept may have two classes: its bytes, and its descriptor.

    An adapter has the class name that its framework uses.
    """
    rooms: dict[str, list[str]] = defaultdict(list)
    for path, _, tree in sources("prefork"):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and path.parts[1] != "adapters":
                rooms[node.name].append(path.parts[1])
    fail_with(
        [
            f"class {name} stands in {', '.join(found)}"
            for name, found in rooms.items()
            if len(found) > 1 and sorted(found) != ["unix", "wire"]
        ]
    )


def test_no_module_name_stands_twice() -> None:
    """An adapter has the module name of its framework."""
    rooms: dict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0]
        if path.name not in ("__init__.py", "__main__.py") and room != "adapters":
            rooms[path.stem].append(room)
    fail_with(
        [
            f"module {name} stands in {', '.join(found)}"
            for name, found in rooms.items()
            if len(found) > 1 and sorted(found) != ["unix", "wire"]
        ]
    )


def test_each_package_names_all_its_files() -> None:
    complaints = []
    for index in sorted(PACKAGE.rglob("__init__.py")):
        if index.parent == PACKAGE:
            continue
        listed = set(re.findall(r"^ *(\w+)(?:\.py|/)\s", ast_docstring(index), re.MULTILINE))
        there = {path.stem for path in index.parent.glob("*.py")} - {"__init__"}
        there |= {path.parent.name for path in index.parent.glob("*/__init__.py")}
        folder = index.parent.relative_to(PACKAGE)
        complaints += [
            f"{folder}/__init__.py does not list {name}" for name in sorted(there - listed)
        ]
        complaints += [
            f"{folder}/__init__.py lists {name}, which is not there"
            for name in sorted(listed - there)
        ]
    fail_with(complaints)


def ast_docstring(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text())) or "") + "\n"


def test_no_function_is_too_long() -> None:
    fail_with(
        [
            f"{path}:{node.lineno}: {node.name} has {length} lines, {LONGEST_FUNCTION} fit"
            for path, source, tree in sources("prefork")
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for length in [function_length(node, source)]
            if length > LONGEST_FUNCTION
        ]
    )


def function_length(node: ast.FunctionDef | ast.AsyncFunctionDef, source: str) -> int:
    body = node.body[1:] if ast.get_docstring(node) else node.body
    if not body or body[-1].end_lineno is None:
        return 0
    lines = source.splitlines()[body[0].lineno - 1 : body[-1].end_lineno]
    return sum(1 for line in lines if line.strip() and not line.lstrip().startswith("#"))


def test_test_modules_do_not_import_from_each_other() -> None:
    """Code that two of them need stands in a module of its own."""
    fail_with(
        [
            f"{path}:{node.lineno} imports {node.module}"
            for path, _, tree in sources("tests")
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module
            if node.module.startswith("tests.") and node.module.split(".")[-1].startswith("test_")
        ]
    )
