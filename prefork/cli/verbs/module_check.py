"""Refuse a start whose module does not exist, before the app has a place in the list.

Design
------
- **Only the first part of the module is looked for,** because Python imports a package to find
  what is in it, and the code of the app runs in its workers alone. A worker finds all other
  mistakes, and those stay in the list with their reason.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from prefork.config import Config
from prefork.errors import AppError, UsageError


def require_module(config: Config, start_dir: str, home: Path) -> None:
    """Raise AppError if Python finds no module of the app, with where an app of this name may be.

    Raises UsageError for an app of the list, which takes no options at its start. ``start_dir``:
    the working directory; ``home``: the folder of the list.
    """
    module = config.app.partition(":")[0]
    name = module.partition(".")[0]
    folder = os.path.join(start_dir, config.chdir)
    folders = [folder, *(os.path.join(start_dir, each) for each in config.pythonpath)]
    if not name or "/" in module or module.endswith(".py") or _is_found(name, folders):
        return
    if not os.path.isdir(folder):
        return  # the master refuses it: it is a wrong setting, and no fault of the app
    # Only this error needs both.
    from prefork.cli.registry.elsewhere import explain_elsewhere  # noqa: PLC0415
    from prefork.worker.importer import describe_missing_module  # noqa: PLC0415

    text = describe_missing_module(config.app, name, os.path.normpath(folder))
    if config.app == name and os.path.isfile(home / name / "state"):
        raise UsageError(
            f"{name} is an app of the list, which `prefork start {name}` starts with the options "
            "that it has; for other options name the target, too: "
            f"`prefork start OPTIONS MODULE:CALLABLE --name {name}`"
        )
    if config.app == name:
        elsewhere = explain_elsewhere(name, home) or "`prefork list` shows all apps"
        text += f". There is no app {name} in {home} either; {elsewhere}"
    raise AppError(text)


def _is_found(name: str, folders: Sequence[str]) -> bool:
    """Return whether Python finds a module in the folders or on its path."""
    before = sys.path
    sys.path = [*folders, *before]
    importlib.invalidate_caches()
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return True  # it is there, and the worker says what is wrong with it
    finally:
        sys.path = before
