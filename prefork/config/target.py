"""The target: the app, by its name, or the program, by its command, that is served. PURE."""

import posixpath
import re
from collections.abc import Sequence
from itertools import pairwise

from prefork.config.foreign.file_names import SCRIPTS, explain_file
from prefork.config.options import Config
from prefork.errors import UsageError


def require_target(config: Config) -> None:
    """Raise UsageError unless the settings have one target, and only options that apply to it."""
    if hint := explain_file(config.app):
        raise UsageError(hint)
    if config.command:
        _check_program(config)
    elif not config.app:
        raise UsageError(
            "no app: write prefork MODULE:CALLABLE, as in prefork myapp:main, "
            "or prefork -- PROGRAM ARGUMENTS"
        )
    elif config.ready.mode not in ("auto", "manual"):
        raise UsageError(
            "ready: notify, connect and a time are for programs; an app says itself that it is "
            "ready, so use auto, or manual for main(listener)"
        )


def _check_program(config: Config) -> None:
    """Raise UsageError for options that do not apply to a program."""
    if config.app:
        raise UsageError(
            f"app = {config.app} and a command, {config.command[0]}: one of them is to be served; "
            "leave out the other"
        )
    if config.tls_cert or config.proxy_protocol:
        raise UsageError(
            "a program takes its connections itself, so tls-cert and proxy-protocol mean nothing "
            "to it; leave them out"
        )
    if config.hooks or config.log_config:
        raise UsageError(
            "hooks and log-config are for Python apps: a program is no process that prefork could "
            "call functions in; leave them out"
        )
    if config.ready.mode == "manual" and (not config.bind or config.node_shim == "off"):
        raise UsageError(
            "ready: manual is for main(listener), and for a Node program with bind and node-shim "
            "auto; another program says READY=1, by notify"
        )
    # The master looks up in /proc which process listens. A shared socket listens from the start,
    # so the look-up would not show whether the program accepts connections.
    if config.ready.mode == "connect" and config.bind:
        raise UsageError(
            "ready: connect proves nothing with bind, because the shared socket listens before "
            "the program does; use notify or a time, or let the program listen by itself"
        )


def describe_target(config: Config) -> str:
    """Return the app, or the words of the command, as a text for messages."""
    return config.app or " ".join(config.command)


def resolve_name(config: Config) -> str:
    """Return the name of the app: --name, else one that is derived from the target.

    This is the module of an app; of a command, the script that an interpreter runs, also behind
    flags of the interpreter, else the program, without its folder and suffix.
    """
    if config.name or not config.command:
        return config.name or config.app.partition(":")[0]
    program, *rest = config.command
    script = rest[0] if rest and not rest[0].startswith("-") else ""
    program_name = script if "." in script or "/" in script else _find_script(program, rest)
    return posixpath.splitext(posixpath.basename(program_name.rstrip("/")))[0] or "program"


_INTERPRETERS = re.compile(
    r"node(js)?|python[\d.]*|ruby|php|perl|bun|deno|tsx|ts-node|(ba|da|z)?sh"
)
_FILE_FLAGS = ("-r", "--require", "--import", "--loader", "--experimental-loader", "--env-file")
"""Flags of node whose value is a file, and not the script that is run."""


def _find_script(program: str, rest: Sequence[str]) -> str:
    """Return the script that an interpreter runs, behind flags of the interpreter; else itself."""
    if _INTERPRETERS.fullmatch(posixpath.basename(program)):
        for before, word in pairwise(("", *rest)):
            is_script = word.endswith(SCRIPTS) and not word.startswith("-")
            if is_script and before not in _FILE_FLAGS:
                return word
    return program
