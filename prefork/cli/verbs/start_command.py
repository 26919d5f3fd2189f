"""``prefork start``: find out which of its three forms is meant, and carry it out.

Design
------
- **``start`` of a target has no** ``--timeout`` **of its own:** there it is the option of serving,
  and ``--boot-timeout`` bounds the start. With a file, ``--timeout`` is how long each app is waited
  for.
"""

import os

from prefork.cli.registry.client import Client
from prefork.cli.serve.settings_loader import SettingsLoader
from prefork.cli.verbs import start_file
from prefork.cli.verbs.launch import StartFailedError, WaitOptions, start_again, start_new
from prefork.cli.verbs.start_target import (
    join_watch_paths,
    positional_words,
    refuse_command_line,
    script_arguments,
    script_targets,
)
from prefork.cli.verbs.verb_parser import build_parser
from prefork.cli.view.progress import for_each_app
from prefork.errors import UsageError
from prefork.unix.registry_entry import RegistryEntry
from prefork.wire.verb_table import START

PRINTING = {"--check", "--print-config", "--version", "--help-all"}
"""Flags of serving that print something and serve nothing."""

COMMON_SWITCHES = {
    *(flag for each in START.arguments if each.is_switch and not each.group for flag in each.flags),
    "-a",
}
"""The flags without a value that all forms of ``start`` have. ``-a`` is PM2's ``--update-env``."""


def start(client: Client, arguments: list[str]) -> int:
    """Start an app, the apps of a file, or apps of the list. Return the exit code.

    ``start FILE`` starts or reloads the apps of a file until they are as the file says;
    ``start TARGET`` starts a new app and accepts every option of serving; ``start NAME`` starts an
    app of the list again. Raises PreforkError.
    """
    if arguments in (["-h"], ["--help"]):
        print(build_parser(START).format_help(), end="")
        return 0
    if not arguments:
        raise UsageError("start needs a target, a name or a file; see prefork start --help")
    try:
        return _start(client, arguments)
    except StartFailedError as error:
        return error.exit_code  # the master has printed its error already


def _start(client: Client, arguments: list[str]) -> int:
    own, program = arguments, []
    if "--" in arguments:  # the words after it are the command of a program
        at = arguments.index("--")
        own, program = arguments[:at], arguments[at:]
    own = join_watch_paths(own)
    attach, wait_options = "--attach" in own, WaitOptions("--no-wait" not in own)
    update_env = "--update-env" in own or "-a" in own
    code = 0
    if any(start_file.names_apps_file(word) for word in positional_words(own)):
        _refuse_printing(own)
        code, apps = start_file.start_file(client, arguments)
    else:
        own = [word for word in own if word not in COMMON_SWITCHES]
        if not program:
            refuse_command_line(own, lambda: {entry.name for entry in client.find("all")})
        if not program and _are_app_names(client, own):
            apps = client.find(*own)
            code = for_each_app(
                client, own, lambda entry: _start_stopped(client, entry, wait_options, update_env)
            )
        else:
            lines = _command_lines(own, program)
            if PRINTING & {*own}:
                return _print_only(lines)
            if "--no-daemon" in own:
                return _serve_in_foreground(lines)
            apps = [start_new(client, line, wait_options) for line in lines]
    if attach and code == 0 and apps:
        from prefork.cli.verbs.logs import follow_apps  # noqa: PLC0415 - only --attach needs it

        follow_apps([RegistryEntry(app.path) for app in apps])
    return code


def _refuse_printing(own: list[str]) -> None:
    """Raise UsageError for a flag that prints instead of starting the apps of a file."""
    file = next(filter(start_file.names_apps_file, positional_words(own)))
    for flag, instead in (
        ("--check", f"prefork check {file}"),
        ("--print-config", f"prefork --print-config -c {file} --section NAME"),
    ):
        if flag in own:
            raise UsageError(f"command line: start FILE has no flag {flag}: type `{instead}`")


def _print_only(lines: list[list[str]]) -> int:
    """Print what ``--check`` and the like ask for, and start nothing. Return the exit code."""
    from prefork.cli.manual.short_help import whole_help  # noqa: PLC0415 - seldom needed
    from prefork.cli.serve.serve_command import serve_or_print  # noqa: PLC0415 - as above

    codes = [serve_or_print(line, {}, lambda _: print(whole_help(), end="")) for line in lines]
    return next(filter(None, codes), 0)


def _command_lines(own: list[str], program: list[str]) -> list[list[str]]:
    """Return the command line of serving for each target. Raises UsageError."""
    scripts = script_targets(own, program)
    return [script_arguments(each, own, program) for each in scripts] or [own + program]


def _serve_in_foreground(lines: list[list[str]]) -> int:
    """Serve a target here, as ``pm2 start --no-daemon`` does. Raises PreforkError."""
    if len(lines) > 1:
        raise UsageError("--no-daemon is for one target; start FILE.toml --attach follows several")
    from prefork.cli.serve.run_master import serve  # noqa: PLC0415 - seldom needed

    settings = SettingsLoader(lines[0], os.environ)
    return serve(settings, settings.read_checked().config)


def _are_app_names(client: Client, words: list[str]) -> bool:
    """Return whether all words are names of apps in the list, rather than one new target.

    A single word may also be a module, so it is a name only if the list has it. Several words can
    only be names.
    """
    if not words or any(word.startswith("-") or ":" in word for word in words):
        return False
    known = {entry.name for entry in client.find("all")}
    known |= {str(entry.state.get("namespace") or "") for entry in client.find("all")}
    return len(words) > 1 or words[0] in known or words[0] == "all" or words[0].startswith("/")


def _start_stopped(
    client: Client, entry: RegistryEntry, wait_options: WaitOptions, update_env: bool
) -> int:
    try:
        start_again(client, entry, wait_options, update_env=update_env)
    except StartFailedError as error:
        return error.exit_code
    return 0
