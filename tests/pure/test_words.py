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


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_and_comments_have_subjects(folder: str) -> None:
    fail_with(
        [
            f"{path}:{line}: {found[0].strip()!r} in {text[:70]!r}"
            for path, source, tree in sources(folder)
            if path.name != Path(__file__).name
            for line, text in documentation(source, tree)
            for found in [BANNED.search(text)]
            if found
        ]
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
            for name in [getattr(node, "name", None) or getattr(node, "id", None)]
            if isinstance(name, str) and NAMES.search(name)
        ]
    )


def test_no_class_name_stands_twice() -> None:
    """In ``wire`` and ``unix`` one concept may have two classes: its bytes, and its descriptor."""
    rooms: dict[str, list[str]] = defaultdict(list)
    for path, _, tree in sources("prefork"):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                rooms[node.name].append(path.parts[1])
    fail_with(
        [
            f"class {name} stands in {', '.join(found)}"
            for name, found in rooms.items()
            if len(found) > 1 and sorted(found) != ["unix", "wire"]
        ]
    )


def test_no_module_name_stands_twice() -> None:
    rooms: dict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name not in ("__init__.py", "__main__.py"):
            rooms[path.stem].append(path.relative_to(PACKAGE).parts[0])
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
    """What two of them need stands in a module of its own."""
    fail_with(
        [
            f"{path}:{node.lineno} imports {node.module}"
            for path, _, tree in sources("tests")
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module
            if node.module.startswith("tests.") and node.module.split(".")[-1].startswith("test_")
        ]
    )
