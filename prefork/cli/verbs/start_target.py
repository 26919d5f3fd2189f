"""The target of ``prefork start``: which words are targets, and scripts as commands.

Design
------
- **``start server.js`` and ``start npm -- start`` mean what they mean in PM2:** the words behind
  ``--`` are the arguments of a target that is no MODULE:CALLABLE. Without a target they are the
  program and its arguments, as in serving.
- **A target with spaces is a command line,** as in ``start "npm run dev"``, and a shell runs it
  where it needs one. Words that are no single target get the line to type (command_lines.py).
- **A Python file that defines an app and is no program is refused,** with the two command lines
  that it may mean. As a script it would end at once.
"""

import shlex
import shutil
from collections.abc import Callable, Collection, Sequence

from prefork.cli.serve.settings_loader import start_folder
from prefork.cli.verbs.script_runner import find_app_in_script, script_command
from prefork.config.flags import own_flags
from prefork.config.foreign.command_lines import (
    explain_command_line,
    is_known_program,
    server_words,
    split_line,
)
from prefork.config.foreign.file_names import explain_gunicorn_file, is_gunicorn_file, is_script
from prefork.errors import UsageError
from prefork.wire.verb_table import START

INTERPRETER, ARGUMENTS = "--interpreter", ("--node-args", "--interpreter-args")
"""Flags of PM2 that say what runs a script."""


def positional_words(words: Sequence[str]) -> list[str]:
    """Return the words that are neither flags nor values of flags."""
    return [words[at] for at in _positions(words)]


def _positions(words: Sequence[str]) -> list[int]:
    own = own_flags()
    own |= {flag: not each.is_switch for each in START.arguments for flag in each.flags}
    found, is_value = [], False
    for at, word in enumerate(words):
        if is_value:
            is_value = False
        elif word.startswith("-") and word != "-":
            is_value = "=" not in word and _takes_value(word, own)
        else:
            found.append(at)
    return found


def _takes_value(flag: str, own: dict[str, bool]) -> bool:
    if flag in own:
        return own[flag]
    if not flag.startswith("--") and len(flag) > 2:
        return False  # its value is in the same word
    # Only flags of other managers need the table.
    from prefork.config.foreign.foreign_table import find_flag  # noqa: PLC0415

    return any(word.takes for word in find_flag(flag, verb="start"))


def script_targets(own: Sequence[str], program: Sequence[str]) -> list[str]:
    """Return the targets that are scripts or programs.

    ``own``: the words of ``start``; ``program``: ``--`` and the words behind it, if there are any.
    """
    targets = positional_words(own)
    if program and len(targets) == 1 and ":" not in targets[0]:
        return targets
    return targets if targets and all(is_script(each) or _is_line(each) for each in targets) else []


def _is_line(target: str) -> bool:
    """Return whether a target is a command line in one word; an app may have spaces in a call."""
    first, space, _ = target.strip().partition(" ")
    return bool(space) and ":" not in first


def join_watch_paths(words: Sequence[str]) -> list[str]:
    """Return the words of ``start`` with PM2's ``--watch PATH`` as ``--watch --watch-path=PATH``.

    The word behind ``--watch`` is a path if it cannot be the only target: another one is before it,
    or another one follows and this one is neither a script nor an app.
    """
    joined, at = list(words), 0
    positions = _positions(words)
    for at in positions:
        is_last = at == positions[-1]
        is_target = at == positions[0] and (is_last or is_script(words[at]) or ":" in words[at])
        if at and words[at - 1] == "--watch" and not is_target:
            joined[at] = f"--watch-path={words[at]}"
    return joined


def refuse_command_line(own: Sequence[str], list_names: Callable[[], Collection[str]]) -> None:
    """Raise UsageError for the words of a program and its arguments, with what to type.

    ``list_names`` returns the names of apps in the list.
    """
    positions = _positions(own)
    if not positions:
        return
    at = positions[0]
    word = own[at]
    if at + 1 == len(own) or ":" in word or is_script(word):
        return
    is_other = len(positions) > 1 and shutil.which(word) is not None
    if (is_known_program(word) or is_other) and word not in list_names():
        before = " ".join(["prefork start", *([shlex.join(own[:at])] if at else [])])
        raise UsageError(explain_command_line(own[at:], before))


def script_arguments(script: str, own: Sequence[str], program: Sequence[str]) -> list[str]:
    """Return the command line of serving for one of the ``script_targets``. Raises UsageError."""
    targets = set(_positions(own))
    flags = [word for at, word in enumerate(own) if at not in targets]
    interpreter, flags = _take_value(flags, INTERPRETER)
    options: list[str] = []
    for flag in ARGUMENTS:
        value, flags = _take_value(flags, flag)
        options += value.split()
    folder = start_folder()
    if _is_line(script):
        return [*flags, "--", *_split_target(script, folder), *program[1:]]
    if not interpreter and script.endswith(".py"):
        _refuse_app(script, folder)
    *runner, script = script_command(script, folder, interpreter)
    return [*flags, "--", *runner, *options, script, *program[1:]]


def _split_target(line: str, folder: str) -> list[str]:
    """Return the words of a target that is a command line. Raises UsageError."""
    try:
        words = split_line(line)
    except ValueError as error:
        raise UsageError(f"{line}: {str(error).lower()}") from None
    if server_words(words):
        raise UsageError(explain_command_line(words, "prefork start"))
    script_command(words[0], folder)  # it raises if there is no such program
    return words


def _take_value(words: Sequence[str], flag: str) -> tuple[str, list[str]]:
    """Return the value of a flag, and the words without it; empty: it is not there."""
    for at, word in enumerate(words):
        if word == flag and at + 1 < len(words):
            return words[at + 1], [*words[:at], *words[at + 2 :]]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2], [*words[:at], *words[at + 1 :]]
    return "", list(words)


def _refuse_app(script: str, folder: str) -> None:
    """Raise UsageError for a Python file that defines an app, or settings, and is no program."""
    if is_gunicorn_file(script):
        raise UsageError(explain_gunicorn_file(script))
    name = find_app_in_script(f"{folder}/{script}")
    if name:
        module = script.removeprefix("./").removesuffix(".py").replace("/", ".")
        raise UsageError(
            f"{script} defines {name} and runs nothing by itself: prefork start {module}:{name} "
            f"serves it, and prefork start -- python3 {script} runs the file as a program"
        )
