"""``prefork start``: find out which of its three forms is meant, and carry it out.

Design
------
- **``start`` of a target has no** ``--timeout`` **of its own:** there it is the option of serving,
  and ``--boot-timeout`` bounds the start. With a file, ``--timeout`` is how long each app is waited
  for.
"""

from prefork.cli.registry.client import Client
from prefork.cli.verbs import start_file
from prefork.cli.verbs.launch import StartFailedError, WaitOptions, start_again, start_new
from prefork.cli.verbs.verb_parser import build_parser
from prefork.cli.view.progress import for_each_app
from prefork.errors import UsageError
from prefork.unix.registry_entry import RegistryEntry
from prefork.wire.verb_table import START

SWITCHES = {flag for each in START.arguments if each.is_switch for flag in each.flags}
"""The flags of ``start`` that take no value."""

COMMON_SWITCHES = {
    flag for each in START.arguments if each.is_switch and not each.group for flag in each.flags
}
"""Those of them that all forms of ``start`` have. The others are for files."""


def start(client: Client, arguments: list[str]) -> int:
    """Start an app, the apps of a file, or apps of the list. Return the exit code.

    ``start FILE.toml`` starts or reloads the apps of a file until they are as the file says;
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
    attach, wait_options = "--attach" in own, WaitOptions("--no-wait" not in own)
    update_env = "--update-env" in own
    code = 0
    if any(start_file.names_apps_file(word) for word in _positional_words(own)):
        code, apps = start_file.start_file(client, arguments)
    else:
        own = [word for word in own if word not in COMMON_SWITCHES]
        if not program and _are_app_names(client, own):
            apps = client.find(*own)
            code = for_each_app(
                client, own, lambda entry: _start_stopped(client, entry, wait_options, update_env)
            )
        else:
            apps = [start_new(client, own + program, wait_options)]
    if attach and code == 0 and apps:
        from prefork.cli.verbs.logs import follow_apps  # noqa: PLC0415 - only --attach needs it

        follow_apps([RegistryEntry(app.path) for app in apps])
    return code


def _positional_words(words: list[str]) -> list[str]:
    """Return the words that are neither options nor values of options.

    A word behind an option is its value, as the file in ``-c FILE.toml``, unless the option is one
    of ``FLAGS_WITHOUT_VALUE``.
    """
    return [
        word
        for before, word in zip(["", *words], words, strict=False)
        if not word.startswith("-") and (not before.startswith("-") or before in SWITCHES)
    ]


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
