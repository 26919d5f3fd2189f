"""``prefork [OPTIONS] MODULE:CALLABLE``, without a verb: serve, or what is asked for instead."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from prefork.cli.serve.settings_loader import Settings, start_folder
from prefork.cli.verbs.verb_table import managing
from prefork.config.flags import parser
from prefork.config.render import settings as show_settings
from prefork.config.target import require_target
from prefork.version import __version__


def serve_or_tell(arguments: Sequence[str], given: Mapping[str, Any]) -> int:
    """Do what the words say; the exit code. ``given``: options of a Python caller.

    Raises PreforkError.
    """
    settings = Settings(arguments, os.environ, given)
    words = settings.words
    if getattr(words, "help", False):
        print(parser(managing()).format_help(), end="")
        return 0
    if getattr(words, "version", False):
        print(f"prefork {__version__}")
        return 0
    resolved = settings.read()
    if getattr(words, "print_config", False):
        print(show_settings(resolved), end="")
        return 0
    require_target(resolved.config)
    if getattr(words, "check", False):
        from prefork.cli.serve.check_app import check_app  # noqa: PLC0415 - serving does not need it

        print(f"ok: {check_app(resolved.config, start_folder())}")
        return 0
    from prefork.cli.serve.run_master import serve  # noqa: PLC0415 - nothing else here needs a master

    return serve(settings, resolved.config)
