"""The command that runs a script: ``prefork start server.js``.

Design
------
- **A Python script is run by the Python that runs prefork,** so that it finds what is installed
  beside prefork, also where the virtual environment is not activated.
- **TypeScript needs a program that runs it:** tsx or ts-node of the project, then bun, then those
  of PATH. PM2 has bun alone.
"""

import ast
import os
import posixpath
import re
import shutil
import sys

from prefork.config.foreign.file_names import INTERPRETERS, PYTHON, TYPESCRIPT
from prefork.errors import UsageError
from prefork.unix.regular_file import read_regular

_LARGEST_SCRIPT = 4 * 2**20
"""Bytes of a script that are searched for an app."""


def script_command(script: str, folder: str, interpreter: str = "") -> list[str]:
    """Return the words that run a script in ``folder``. Raises UsageError.

    ``interpreter``: the program that runs it; empty: its name or its mode decides.
    """
    path = os.path.join(folder, script)
    suffix = posixpath.splitext(script)[1]
    if interpreter and interpreter != "none":
        return [_require_program(interpreter, script), script]
    if not os.path.exists(path):
        if "/" not in script and shutil.which(script):
            return [script]
        raise UsageError(f"there is no file {script} in {folder}, and no program of this name")
    if suffix in TYPESCRIPT:
        return [_typescript_runner(script, folder), script]
    if suffix in PYTHON:
        return [sys.executable, script]
    # A file that can be executed says in its first line what runs it.
    is_executable = os.access(path, os.X_OK) and not os.path.isdir(path)
    if is_executable and INTERPRETERS.get(suffix) != "node":
        return [script if "/" in script else f"./{script}"]
    if suffix in INTERPRETERS:
        return [_require_program(INTERPRETERS[suffix], script), script]
    raise UsageError(f"{script} cannot be executed; chmod +x it, or name what runs it: -- PROGRAM")


def is_run_by_node(path: str) -> bool:
    """Return whether the first line of a file says that node runs it."""
    try:
        first = read_regular(path, _LARGEST_SCRIPT).partition(b"\n")[0]
    except OSError:
        return False  # it is a program in PATH
    return re.fullmatch(rb"#!\s*(\S*/env\s+)?(\S*/)?node\s*", first) is not None


def _require_program(program: str, script: str) -> str:
    if shutil.which(program) is None:
        raise UsageError(f"{script}: there is no {program} in PATH, which runs it")
    return program


def _typescript_runner(script: str, folder: str) -> str:
    for program in ("tsx", "ts-node"):
        local = os.path.join(folder, "node_modules", ".bin", program)
        if os.access(local, os.X_OK):
            return local
    for program in ("bun", "tsx", "ts-node"):
        if shutil.which(program):
            return program
    raise UsageError(
        f"{script}: no program here runs TypeScript: npm install tsx, or build it and start the "
        ".js file"
    )


def find_app_in_script(path: str) -> str:
    """Return the name of an app that a Python file defines and does not run; empty: there is none.

    A file with ``if __name__ == "__main__"`` is a program, whatever else is in it.
    """
    try:
        tree = ast.parse(read_regular(path, _LARGEST_SCRIPT))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return ""  # Python says when it runs the file what is wrong with it
    names: list[str] = []
    for node in tree.body:
        match node:
            case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
                return ""
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.append(name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names.append(name)
    return next((name for name in ("app", "application") if name in names), "")
