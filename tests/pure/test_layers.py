"""The plan of the house, held by reading the source: imports, purity, sizes, docstrings, names."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "prefork"

LAYERS = (
    {"errors", "version", "printable", "plural"},
    {"pool", "config", "http", "wire"},
    {"unix", "tls"},
    {"worker", "observe"},
    {"master"},
    {"cli"},
    {"prefork", "__main__", "demo"},
)
"""Rooms, low to high; ``prefork`` is the public API in ``__init__.py``."""

EXCEPTIONS = {
    ("demo", "prefork"): "the bundled apps are apps: they use the public API",
    ("tls", "unix"): "certificates and secrets are read as settings are, regular_file.py",
}
"""Siblings that may import each other, (importer, imported), and why."""

PURE = {"pool", "config", "wire"}
IMPURE = {"os", "socket", "signal", "time", "logging", "asyncio", "threading"}

LONGEST = 500
"""Lines in a file; a file that comes near is looked through for a second concept."""

LONGER = {
    "config/options.py": (850, "declarations, one after another: each option stands here once"),
    "pool/pool.py": (600, "one state machine and the one step that reconciles"),
}
"""Files that may be longer: up to where, and why."""

NAMES_WITHOUT_MEANING = {"util", "utils", "helper", "helpers", "common", "manager", "misc"}


@dataclass(frozen=True)
class Module:
    """One source file. ``room``: the package or top module that it belongs to."""

    path: Path
    tree: ast.Module

    @property
    def name(self) -> str:
        return str(self.path.relative_to(PACKAGE))

    @property
    def dotted(self) -> str:
        """``prefork.pool.facts``; a package by its own name."""
        parts = ("prefork", *self.path.relative_to(PACKAGE).with_suffix("").parts)
        return ".".join(parts).removesuffix(".__init__")

    @property
    def room(self) -> str:
        first = self.path.relative_to(PACKAGE).parts[0]
        return "prefork" if first == "__init__.py" else first.removesuffix(".py")

    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and full name of all that is imported, at the top and inside of functions."""
        package = ("prefork", *self.path.relative_to(PACKAGE).parts[:-1])
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node.lineno, alias.name
            elif isinstance(node, ast.ImportFrom):
                above = package[: len(package) + 1 - node.level] if node.level else ()
                base = ".".join([*above, *([node.module] if node.module else [])])
                for alias in node.names:
                    yield node.lineno, f"{base}.{alias.name}"

    def imported_rooms(self) -> Iterator[tuple[int, str]]:
        for line, name in self.imports():
            first, *rest = name.split(".")
            if first == "prefork":
                yield line, rest[0] if rest and rest[0] in LEVEL else "prefork"


MODULES = [Module(path, ast.parse(path.read_bytes())) for path in sorted(PACKAGE.rglob("*.py"))]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}


def fail_with(complaints: list[str]) -> None:
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


def test_every_file_belongs_to_a_layer() -> None:
    fail_with([f"{m.name}: give its room a layer" for m in MODULES if m.room not in LEVEL])
    assert {module.room for module in MODULES} == set(LEVEL), "a layer without files"


def test_nothing_imports_upwards() -> None:
    fail_with(
        [
            f"{module.name}:{line} imports {room}, which is above {module.room}"
            for module in MODULES
            for line, room in module.imported_rooms()
            if LEVEL[room] > LEVEL[module.room]
        ]
    )


def test_no_files_import_each_other() -> None:
    """No cycle of imports at file level; what only a type checker imports counts as well."""
    names = {module.dotted: module for module in MODULES}
    graph = {
        name: {found for _, full in module.imports() if (found := _module_of(full, names)) != name}
        for name, module in names.items()
    }
    order = graphlib.TopologicalSorter(graph)
    try:
        order.prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(filter(None, error.args[1])), pytrace=False)


def _module_of(name: str, names: Collection[str]) -> str | None:
    """The file behind ``prefork.pool.facts.Fact`` or ``prefork.pool.facts``."""
    if name in names and name != "prefork":
        return name
    above = name.rpartition(".")[0]
    return above if above in names else None


def test_siblings_do_not_import_each_other_but_for_the_named_exceptions() -> None:
    found = {
        (module.room, room): f"{module.name}:{line} imports {room}, its sibling"
        for module in MODULES
        for line, room in module.imported_rooms()
        if LEVEL[room] == LEVEL[module.room] and room != module.room
    }
    fail_with([text for pair, text in found.items() if pair not in EXCEPTIONS])
    assert set(EXCEPTIONS) <= set(found), "an exception that nobody needs any more"


def test_the_pure_packages_touch_neither_kernel_nor_clock() -> None:
    fail_with(
        [
            f"{module.name}:{line} imports {name}, but {module.room} is pure"
            for module in MODULES
            if module.room in PURE
            for line, name in module.imports()
            if name.split(".")[0] in IMPURE
        ]
    )


def test_what_few_need_is_imported_late() -> None:
    """``websockets`` takes longer to import than all the rest of a worker's boot."""
    serving = "import sys, prefork.worker.http_worker; sys.exit('websockets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", serving], check=False).returncode == 0


def imported_of(heavy: set[str], modules: str) -> str:
    code = f"import sys, {modules}; print({heavy} & {{*sys.modules}} or 'nothing')"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_verb_that_asks_a_master_starts_with_little() -> None:
    """``prefork stop`` is over sooner than any of these is imported."""
    heavy = {"asyncio", "psutil", "rich", "ssl", "uvloop", "prefork.config.options"}
    assert imported_of(heavy, "prefork.cli.verbs.change, prefork.cli.command") == "nothing"


def test_a_master_of_programs_imports_nothing_of_what_serves_apps() -> None:
    heavy = {"asyncio", "httptools", "psutil", "ssl", "toml", "uvloop", "prefork.http.exchange"}
    assert (
        imported_of(heavy, "prefork.cli.verbs.start_command, prefork.cli.serve.run_master")
        == "nothing"
    )


def test_no_file_is_too_long() -> None:
    lengths = {module.name: len(module.path.read_text().splitlines()) for module in MODULES}
    limits = {name: LONGER.get(name, (LONGEST, ""))[0] for name in lengths}
    fail_with([f"{f} has {n} lines, {limits[f]} fit" for f, n in lengths.items() if n > limits[f]])
    fail_with(
        [f"{name} needs no exception any more" for name in LONGER if lengths[name] <= LONGEST]
    )


def _undocumented(module: Module) -> Iterator[str]:
    """Public names at the top of a module, and in its public classes."""
    todo: list[tuple[str, ast.AST]] = [(module.name, module.tree)]
    while todo:
        name, node = todo.pop()
        if not ast.get_docstring(node):  # type: ignore[arg-type]
            yield name
        if isinstance(node, ast.Module | ast.ClassDef):
            todo += [
                (f"{module.name}:{inner.lineno} {inner.name}", inner)
                for inner in node.body
                if isinstance(inner, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and not inner.name.startswith("_")
            ]


def test_every_module_and_public_name_has_a_docstring() -> None:
    fail_with([f"{name} has no docstring" for m in MODULES for name in _undocumented(m)])


def test_every_module_is_named_for_what_it_does() -> None:
    fail_with(
        [
            f"{module.name}: {word} says nothing"
            for module in MODULES
            for part in module.path.relative_to(PACKAGE).with_suffix("").parts
            for word in NAMES_WITHOUT_MEANING.intersection(part.split("_"))
        ]
    )
