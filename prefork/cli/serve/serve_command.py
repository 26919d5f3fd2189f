"""``prefork [OPTIONS] MODULE:CALLABLE``: serve an app, or do what a flag asks for instead."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from prefork.cli.serve.settings_loader import SettingsLoader, start_folder
from prefork.config.flags import build_parser
from prefork.config.render import format_settings as show_settings
from prefork.config.target import require_target
from prefork.version import __version__


def serve_or_print(
    arguments: Sequence[str], python_options: Mapping[str, Any], verbs_help: str
) -> int:
    """Carry out a command line without a verb and return the exit code.

    ``--help``, ``--version`` and ``--print-config`` print, ``--check`` loads the app in a child
    process; without them the app is served until its master ends. ``python_options``: the options
    that a caller of ``prefork.run`` gave, by name; ``verbs_help``: the list of the verbs for
    ``--help``. Raises PreforkError.
    """
    settings = SettingsLoader(arguments, os.environ, python_options)
    flags = settings.command_flags
    if getattr(flags, "help", False):
        print(build_parser(verbs_help).format_help(), end="")
        return 0
    if getattr(flags, "version", False):
        print(f"prefork {__version__}")
        return 0
    resolved = settings.read()
    if getattr(flags, "print_config", False):
        print(show_settings(resolved), end="")
        return 0
    require_target(resolved.config)
    if getattr(flags, "check", False):
        # Serving does not need it.
        from prefork.cli.serve.check_app import check_app  # noqa: PLC0415

        print(f"ok: {check_app(resolved.config, start_folder())}")
        return 0
    # Nothing else here needs a master.
    from prefork.cli.serve.run_master import serve  # noqa: PLC0415

    return serve(settings, resolved.config)
