"""``prefork completion``: scripts for bash, zsh and fish, made from the declarations of the verbs.

The scripts read the names of apps from the registry when they are needed: it is a folder.
"""

import argparse
import signal
from dataclasses import dataclass, field

from prefork.cli.manual.manual_pages import read_pages
from prefork.cli.registry.client import Client
from prefork.cli.verbs.verb_parser import describe, list_choices
from prefork.config.flags import build_parser as serve_parser
from prefork.wire.verb import Argument, Completes, Verb
from prefork.wire.verb_table import commands

SHELLS = ("bash", "zsh", "fish")
LIST_APPS_SH = '$(ls -1 "${PREFORK_HOME:-$HOME/.prefork}" 2>/dev/null | grep -v "[.]toml$")'
LIST_APPS_FISH = (
    "(begin; set -q PREFORK_HOME; and ls -1 $PREFORK_HOME; or ls -1 ~/.prefork; end 2>/dev/null"
    " | string match -v '*.toml')"
)


@dataclass
class VerbCompletions:
    """The words that may follow a verb.

    ``flags``: each flag with its values; None: it takes a value that is not known here; empty: it
    takes none. ``takes_apps``, ``takes_files``: such names may follow; ``values``: other words that
    may follow.
    """

    flags: dict[str, list[str] | None] = field(default_factory=dict)
    takes_apps: bool = False
    takes_files: bool = False
    values: list[str] = field(default_factory=list)
    description: str = ""


def print_completion(_client: Client, options: argparse.Namespace) -> int:
    """Print the completion script of a shell. Return the exit code."""
    print(completion_script(options.shell), end="")
    return 0


def completion_script(shell: str) -> str:
    """Return the script that a shell evaluates."""
    verbs = {word: _completions(verb) for word, verb in commands().items()}
    if shell == "fish":
        return _fish(verbs)
    bash = _bash(verbs)
    if shell == "zsh":
        return "autoload -U +X bashcompinit && bashcompinit\n" + bash
    return bash


def _completions(verb: Verb) -> VerbCompletions:
    found = VerbCompletions({"--help": []}, description=describe(verb))
    for argument in verb.arguments:
        if argument.flags:
            values = list_choices(argument)
            known = values if argument.is_switch or values else None
            found.flags |= {flag: known for flag in argument.flags if flag.startswith("--")}
        else:
            _add_words(found, argument)
    if verb.takes_serving_options:
        found.flags |= _serving_flags()
    return found


def _add_words(found: VerbCompletions, argument: Argument) -> None:
    """Add the words that an argument without a flag takes."""
    found.takes_apps |= Completes.APPS in argument.completes
    found.takes_files |= Completes.FILES in argument.completes
    found.values += list_choices(argument)
    if Completes.TOPICS in argument.completes:
        found.values += [*read_pages(), *commands()]
    if Completes.SIGNALS in argument.completes:
        found.values += [each.name.removeprefix("SIG") for each in signal.Signals]


def _serving_flags() -> dict[str, list[str] | None]:
    """Return the flags of serving, as VerbCompletions has those of a verb."""
    flags: dict[str, list[str] | None] = {}
    # argparse has no public way to list what a parser accepts.
    for action in serve_parser()._actions:
        for name in action.option_strings:
            if name.startswith("--") and action.help != argparse.SUPPRESS:
                flags[name] = [] if action.nargs == 0 else None
    return flags


def _bash(verbs: dict[str, VerbCompletions]) -> str:
    cases = []
    for verb, words in verbs.items():
        names = " ".join([*(["all", LIST_APPS_SH] if words.takes_apps else []), *words.values])
        cases.append(f'    {verb}) words="{" ".join(words.flags)}"; names="{names}" ;;')
    values = {
        f"{verb}:{flag}": given
        for verb, words in verbs.items()
        for flag, given in words.flags.items()
        if given
    }
    chosen = "\n".join(f'    {where}) words="{" ".join(v)}" ;;' for where, v in values.items())
    lines = "\n".join(cases)
    return f"""\
_prefork() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" words="" names=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="{" ".join(verbs)} {" ".join(_serving_flags())}"
  else
    case "${{COMP_WORDS[1]}}" in
{lines}
    esac
    case "$word" in -*) ;; *) words="$names" ;; esac
    case "${{COMP_WORDS[1]}}:${{COMP_WORDS[COMP_CWORD-1]}}" in
{chosen}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _prefork prefork
"""


def _fish(verbs: dict[str, VerbCompletions]) -> str:
    lines = [
        f"complete -c prefork -n __fish_use_subcommand -l {flag[2:]}" for flag in _serving_flags()
    ]
    for verb, words in verbs.items():
        description = words.description.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"complete -c prefork -n __fish_use_subcommand -a {verb} -d '{description}'")
        seen = f"complete -c prefork -n '__fish_seen_subcommand_from {verb}'"
        if not words.takes_files:
            lines.append(f"{seen} -f")
        for flag, values in words.flags.items():
            how = "" if values == [] else " -r" if values is None else f" -xa '{' '.join(values)}'"
            lines.append(f"{seen} -l {flag[2:]}{how}")
        if words.takes_apps:
            lines.append(f'{seen} -a "{LIST_APPS_FISH.replace("$", chr(92) + "$")}"')
        if words.values:
            lines.append(f"{seen} -a '{' '.join(words.values)}'")
    return "\n".join(lines) + "\n"
