"""Import the app that ``MODULE:CALLABLE`` names, and say clearly what is wrong when that fails.

The traceback in the error is the app's own: frames of prefork and of the import machinery are cut.

Design
------
- **No bytecode is kept of source files younger than two seconds.** Bytecode is matched to its
  source by size and by modification time in whole seconds (PEP 3147). Two versions written within a
  second with the same size look alike, so the first one's bytecode would reach the next generation:
  a reload that serves old code.
- **What the master has cached about folders is left out, not freed** (``_masters_finders``). Each
  finder holds the names of all files of its folder. To free them would write to every page that
  holds one, and the kernel would copy it: 1.4 MB in each worker.
"""

import ast
import difflib
import importlib
import importlib.util
import os
import sys
import time
import traceback
from collections.abc import Callable
from importlib import machinery
from types import ModuleType
from typing import Any

from prefork.errors import AppError

DEFAULT_NAMES = ("app", "application", "main")
"""Names that are tried when the target names no callable."""

MIN_SOURCE_AGE = 2.0
"""Seconds for which a source file is too young for its bytecode to be kept."""

_EXTENSION_SOURCES = "prefork/_speed/"
"""How the paths of frames of the extensions begin: relative to the project."""

_masters_finders: list[object] = []
"""Keeps what is no longer used alive (see Design above)."""


class _Loader(machinery.SourceFileLoader):
    """A source loader that keeps no bytecode of a young file."""

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        """Write bytecode, unless the source is young; called by the import machinery."""
        source = self.get_filename()
        try:
            is_young = time.time() - os.stat(source).st_mtime < MIN_SOURCE_AGE
        except OSError:
            is_young = True
        if not is_young:
            super().set_data(path, data, _mode=_mode)


def prepare_imports(folders: list[str]) -> None:
    """Put ``folders`` first on sys.path, and forget what the master has cached about files."""
    for folder in reversed(folders):
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.insert(0, folder)
    finder = machinery.FileFinder.path_hook(
        (machinery.ExtensionFileLoader, machinery.EXTENSION_SUFFIXES),
        (_Loader, machinery.SOURCE_SUFFIXES),
        (machinery.SourcelessFileLoader, machinery.BYTECODE_SUFFIXES),
    )
    # After the hook of zipimport, before the standard one for files, which takes every folder.
    sys.path_hooks.insert(-1, finder)
    _masters_finders.extend(sys.path_importer_cache.values())
    sys.path_importer_cache.clear()
    importlib.invalidate_caches()


def import_app(target: str, factory: bool) -> Callable[..., Any]:
    """Return the callable that ``target`` names. Raises AppError.

    ``target``: ``MODULE``, ``MODULE:NAME``, ``MODULE:NAME.NAME`` or ``MODULE:NAME(literals)``.
    ``factory``: the named object is called without arguments and returns the app.
    """
    module_name, _, expression = target.partition(":")
    module = import_named_module(module_name, target)
    found = _find_callable(module, expression, target)
    arguments, keywords = _call_arguments(expression, target)
    if factory or arguments is not None:
        found = _call_factory(found, arguments or [], keywords, target)
    if not callable(found):
        raise AppError(f"{target}: is a {type(found).__name__}, which cannot be called")
    return found  # type: ignore[no-any-return]


def format_app_traceback(error: BaseException) -> str:
    """Return the traceback as text, from the first frame that belongs to the app."""
    frames = error.__traceback__
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
    while frames is not None:
        file = frames.tb_frame.f_code.co_filename
        machinery = (package, _EXTENSION_SOURCES, "<frozen importlib")
        is_machinery = file.startswith(machinery) or file == importlib.__file__
        if not is_machinery:
            break
        frames = frames.tb_next
    shown = traceback.TracebackException(type(error), error, frames)
    # An event that the compiled part gave to the app may stand between two frames of the app.
    shown.stack[:] = [
        frame for frame in shown.stack if not frame.filename.startswith(_EXTENSION_SOURCES)
    ]
    return "".join(shown.format())


def import_named_module(name: str, target: str) -> ModuleType:
    """Import a module of the app. ``target``: how messages begin. Raises AppError with the reason
    and a hint."""
    if not name or name.endswith(".py") or "/" in name:
        hint = name.removesuffix(".py").strip("./").replace("/", ".") or "myapp"
        raise AppError(f"{target}: name a module, not a file: write {hint}:app")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            text = _describe_dotted_name(target)
            text = text or describe_missing_module(target, error.name, os.getcwd())
            raise AppError(text) from None
        raise AppError(f"{target}: importing {name} failed", format_app_traceback(error)) from error
    except BaseException as error:
        raise AppError(f"{target}: importing {name} failed", format_app_traceback(error)) from error


def _describe_dotted_name(target: str) -> str:
    """Return what to type for an app whose module ends with a dot in the place of the colon.

    Django writes so: ``WSGI_APPLICATION = "mysite.wsgi.application"``. Returns an empty text where
    the last part is in no module.
    """
    dotted = target.removesuffix(":").partition("(")[0]
    module, _, name = dotted.rpartition(".")
    if ":" in dotted or not hasattr(sys.modules.get(module), name):
        return ""
    rest = target.removesuffix(":").removeprefix(f"{module}.")
    return f"{target}: {name} is no module, but in the module {module}: write {module}:{rest}"


def describe_missing_module(target: str, name: str, folder: str) -> str:
    """Return that there is no module ``name``, with what helps."""
    return (
        f"{target}: there is no module {name!r} in {folder} or on the Python path; check the name, "
        "or set --chdir or --pythonpath"
    )


def _find_callable(module: ModuleType, expression: str, target: str) -> Any:
    """Return the object that the expression names in the module. Raises AppError."""
    path = expression.partition("(")[0]
    if not path:
        for name in DEFAULT_NAMES:
            if hasattr(module, name):
                return getattr(module, name)
        raise AppError(
            f"{target}: {module.__name__} has none of {', '.join(DEFAULT_NAMES)}; "
            f"name the callable: {module.__name__}:NAME"
        )
    found: Any = module
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            near = difflib.get_close_matches(part, dir(found), n=1)
            near += [name for name in DEFAULT_NAMES if found is module and hasattr(module, name)]
            hint = f"; did you mean {near[0]}?" if near else ""
            raise AppError(f"{target}: {module.__name__} has no {part!r}{hint}") from None
    return found


def _call_arguments(expression: str, target: str) -> tuple[list[Any] | None, dict[str, Any]]:
    """Return the literal arguments of ``make_app("x", debug=True)``; None when it is no call."""
    if "(" not in expression:
        return None, {}
    try:
        call = ast.parse(expression, mode="eval").body
        if not isinstance(call, ast.Call):
            raise ValueError
        arguments = [ast.literal_eval(argument) for argument in call.args]
        return arguments, {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    except (SyntaxError, ValueError):
        raise AppError(
            f"{target}: a factory is called with literal arguments only, as in app:make_app('x')"
        ) from None


def _call_factory(factory: Any, arguments: list[Any], keywords: dict[str, Any], target: str) -> Any:
    """Call the factory. Raises AppError with the app's traceback."""
    if not callable(factory):
        raise AppError(f"{target}: is a {type(factory).__name__}, which cannot be called")
    try:
        return factory(*arguments, **keywords)
    except BaseException as error:
        raise AppError(f"{target}: the factory failed", format_app_traceback(error)) from error
