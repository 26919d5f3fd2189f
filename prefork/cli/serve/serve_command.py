"""``prefork [OPTIONS] MODULE:CALLABLE``: serve an app, or do what a flag asks for instead."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prefork.cli.output.standard_output import print_error, print_errors_as_json
from prefork.cli.serve.settings_loader import SettingsLoader, start_folder
from prefork.config.render import format_settings as show_settings
from prefork.version import __version__


def serve_or_print(
    arguments: Sequence[str], python_options: Mapping[str, Any], print_help: Callable[[bool], None]
) -> int:
    """Carry out a command line without a verb and return the exit code.

    ``--help``, ``--version`` and ``--print-config`` print, ``--check`` loads the app in a child
    process; without them the app is served until its master ends. ``python_options``: the options
    that a caller of ``prefork.run`` gave, by name; ``print_help`` prints the help, its argument
    says whether all of it. Raises PreforkError.
    """
    settings = SettingsLoader(arguments, os.environ, python_options)
    flags = settings.command_flags
    if getattr(flags, "help", False) or getattr(flags, "help_all", False):
        print_help(getattr(flags, "help_all", False))
        return 0
    if getattr(flags, "version", False):
        print(f"prefork {__version__}")
        return 0
    serves = not (getattr(flags, "print_config", False) or getattr(flags, "check", False))
    if serves and settings.asks_for_json:
        print_errors_as_json()
    for note in () if serves else settings.notes:
        print_error(note)
    if getattr(flags, "print_config", False):
        print(show_settings(settings.read()), end="")
        return 0
    resolved = settings.read_checked()
    if getattr(flags, "check", False):
        # Serving does not need it.
        from prefork.cli.serve.check_app import check_app  # noqa: PLC0415

        print(f"ok: {check_app(resolved.config, start_folder())}")
        return 0
    if resolved.config.log_format == "json" and not resolved.config.daemon:
        print_errors_as_json()
    # Nothing else here needs a master.
    from prefork.cli.serve.run_master import serve  # noqa: PLC0415

    return serve(settings, resolved.config)
