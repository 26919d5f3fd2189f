"""The architecture, checked by reading the source: imports, purity, sizes, docstrings, names."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from prefork.wire.verb_table import VERBS

PACKAGE = Path(__file__).parents[2] / "prefork"

LAYERS = (
    {"errors", "version", "printable", "plural", "json_records", "_speed"},
    {"pool", "config", "http", "wire"},
    {"unix", "tls", "node"},
    {"worker", "observe", "store"},
    {"master", "adapters"},
    {"cli"},
    {"prefork", "__main__", "demo"},
)
"""Packages and top modules of each layer, from low to high.

``prefork`` is the public API in ``__init__.py``.
"""

EXCEPTIONS = {
    ("demo", "prefork"): "the bundled apps are apps: they use the public API",
    ("tls", "unix"): "certificates and secrets are read like settings files, by regular_file.py",
}
"""Imports between packages of one layer that are allowed: (importer, imported), and the reason."""

PURE = {"pool", "config", "wire"}
IMPURE = {"os", "socket", "signal", "time", "logging", "asyncio", "threading"}

LONGEST = 500
"""The most lines in a file. A longer one often has two concepts, which belong in two files."""

LONGER = {
    "config/options.py": (1000, "declarations, one after another: each option stands here once"),
}
"""Files that may be longer: the most lines, and the reason."""

HTTP1 = "prefork.http.http1"

NAMES_WITHOUT_MEANING = {"util", "utils", "helper", "helpers", "common", "manager", "misc"}


@dataclass(frozen=True)
class Module:
    """A source file. ``room`` is the package or top module that it belongs to."""

    path: Path
    tree: ast.Module

    @property
    def name(self) -> str:
        return str(self.path.relative_to(PACKAGE))

    @property
    def dotted(self) -> str:
        """The name in imports, such as ``prefork.pool.facts``; ``prefork.pool`` for its index."""
        parts = ("prefork", *self.path.relative_to(PACKAGE).with_suffix("").parts)
        return ".".join(parts).removesuffix(".__init__")

    @property
    def room(self) -> str:
        first = self.path.relative_to(PACKAGE).parts[0]
        return "prefork" if first == "__init__.py" else first.removesuffix(".py")

    def imports(self) -> Iterator[tuple[int, str]]:
        """Yield line and full name of each import, at the top of the file and inside functions.

        The name of a module as a text is an import as well: ``import_module`` gets it. The name of
        a logger is none.
        """
        loggers = {argument for node in ast.walk(self.tree) for argument in _logger_names(node)}
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
            elif isinstance(node, ast.Constant) and node.value in DOTTED and node not in loggers:
                yield node.lineno, str(node.value)

    def imported_rooms(self) -> Iterator[tuple[int, str]]:
        for line, name in self.imports():
            first, *rest = name.split(".")
            if first == "prefork":
                yield line, rest[0] if rest and rest[0] in LEVEL else "prefork"


def _logger_names(node: ast.AST) -> list[ast.expr]:
    is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return node.args if is_call and node.func.attr == "getLogger" else []  # type: ignore[attr-defined]


DOTTED = frozenset(Module(path, ast.Module([], [])).dotted for path in PACKAGE.rglob("*.py")) - {
    "prefork"
}
MODULES = [Module(path, ast.parse(path.read_bytes())) for path in sorted(PACKAGE.rglob("*.py"))]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}


def fail_with(complaints: list[str]) -> None:
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


def test_every_file_belongs_to_a_layer() -> None:
    fail_with([f"{m.name}: {m.room} has no layer" for m in MODULES if m.room not in LEVEL])
    assert {module.room for module in MODULES} == set(LEVEL), "a package without files"


def test_no_file_imports_a_higher_layer() -> None:
    fail_with(
        [
            f"{module.name}:{line} imports {room}, which is in a higher layer than {module.room}"
            for module in MODULES
            for line, room in module.imported_rooms()
            if LEVEL[room] > LEVEL[module.room]
        ]
    )


def test_there_is_no_import_cycle() -> None:
    """Imports under ``TYPE_CHECKING`` count as well."""
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


def test_an_import_by_the_text_of_a_name_is_seen() -> None:
    source = """
for name in ("prefork.worker.boot",):
    import_module(name)
import_module("prefork.master.master")
logging.getLogger("prefork.store")
"""
    module = Module(PACKAGE / "pool" / "pool.py", ast.parse(source))
    assert list(module.imported_rooms()) == [(2, "worker"), (4, "master")]


def _module_of(name: str, names: Collection[str]) -> str | None:
    """Return the module of ``prefork.pool.facts.Fact`` or ``prefork.pool.facts``."""
    if name in names and name != "prefork":
        return name
    above = name.rpartition(".")[0]
    return above if above in names else None


def test_packages_of_one_layer_do_not_import_each_other_except_for_the_named_exceptions() -> None:
    found = {
        (module.room, room): f"{module.name}:{line} imports {room}, which is in the same layer"
        for module in MODULES
        for line, room in module.imported_rooms()
        if LEVEL[room] == LEVEL[module.room] and room != module.room
    }
    fail_with([text for pair, text in found.items() if pair not in EXCEPTIONS])
    assert set(EXCEPTIONS) <= set(found), "an exception that is no longer needed"


def test_pure_packages_use_neither_the_kernel_nor_a_clock() -> None:
    fail_with(
        [
            f"{module.name}:{line} imports {name}, but {module.room} is pure"
            for module in MODULES
            if module.room in PURE
            for line, name in module.imports()
            if name.split(".")[0] in IMPURE
        ]
    )


def test_only_the_table_of_protocols_knows_a_protocol() -> None:
    """A protocol is a package in ``http`` and an entry of the table, which names it as text."""
    fail_with(
        [
            f"{module.name}:{line} imports {name}"
            for module in MODULES
            if not module.dotted.startswith(HTTP1)
            for line, name in module.imports()
            if name.startswith(HTTP1)
        ]
    )


def _foreign_phases(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield each assignment to the phase of an object other than ``self``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            owner = ast.unparse(node.value)
            if node.attr == "phase" and owner != "self":
                yield node.lineno, owner


def test_no_warning_is_filtered() -> None:
    """A filter holds for all threads of an app, and its cause would stay."""
    fail_with(
        [
            f"{module.name}:{line} imports {name}"
            for module in MODULES
            for line, name in module.imports()
            if name.partition(".")[0] == "warnings"
        ]
    )


def test_an_object_sets_its_phase_itself() -> None:
    """A deadline, timers and counters belong to a phase, and only its owner knows which."""
    fail_with(
        [
            f"{module.name}:{line} sets the phase of {owner}"
            for module in MODULES
            for line, owner in _foreign_phases(module.tree)
        ]
    )


def test_no_module_imports_an_adapter() -> None:
    """Only an app imports the adapter of its framework, which is no dependency."""
    fail_with(
        [
            f"{module.name}:{line} imports {room}"
            for module in MODULES
            for line, room in module.imported_rooms()
            if room == "adapters" and module.room != room
        ]
    )


def test_a_worker_without_websockets_does_not_import_them() -> None:
    """Importing ``websockets`` takes longer than the whole remaining start of a worker."""
    serving = "prefork.worker.wsgi.wsgi_service, prefork.worker.asgi.asgi_service"
    assert imported_of({"websockets"}, serving) == "nothing"


def imported_of(heavy: set[str], modules: str) -> str:
    """Import ``modules`` in a new process, and return those of ``heavy`` that it then has."""
    code = f"import sys, {modules}; print({heavy} & {{*sys.modules}} or 'nothing')"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_verb_that_only_sends_a_request_to_a_master_imports_no_heavy_module() -> None:
    """``prefork stop`` takes less time than the import of any of these."""
    heavy = {"asyncio", "psutil", "rich", "ssl", "uvloop", "prefork.config.options"}
    heavy.add("prefork.master")
    printers = {verb.printer.partition(":")[0] for verb in VERBS.values() if verb.printer}
    modules = ", ".join(["prefork.cli.verbs.change", "prefork.cli.command", *printers])
    assert imported_of(heavy, modules) == "nothing"


def test_a_master_of_programs_imports_no_module_that_serves_apps() -> None:
    heavy = {"asyncio", "httptools", "psutil", "ssl", "toml", "uvloop", "prefork.http.exchange"}
    assert (
        imported_of(heavy, "prefork.cli.verbs.start_command, prefork.cli.serve.run_master")
        == "nothing"
    )


def test_no_file_is_too_long() -> None:
    lengths = {module.name: len(module.path.read_text().splitlines()) for module in MODULES}
    limits = {name: LONGER.get(name, (LONGEST, ""))[0] for name in lengths}
    too_long = [(name, length) for name, length in lengths.items() if length > limits[name]]
    fail_with(
        [f"{name} has {length} lines, the limit is {limits[name]}" for name, length in too_long]
    )
    fail_with([f"{name} needs no exception" for name in LONGER if lengths[name] <= LONGEST])


def _undocumented(module: Module) -> Iterator[str]:
    """Yield the public functions, classes and methods of a module that have no docstring."""
    unvisited: list[tuple[str, ast.AST]] = [(module.name, module.tree)]
    while unvisited:
        name, node = unvisited.pop()
        if not ast.get_docstring(node):  # type: ignore[arg-type]
            yield name
        if isinstance(node, ast.Module | ast.ClassDef):
            unvisited += [
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
            f"{module.name}: {word} does not say what it does"
            for module in MODULES
            for part in module.path.relative_to(PACKAGE).with_suffix("").parts
            for word in NAMES_WITHOUT_MEANING.intersection(part.split("_"))
        ]
    )
