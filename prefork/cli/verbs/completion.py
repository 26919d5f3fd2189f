"""``prefork completion``: scripts for bash, zsh and fish, made from the parser of the verbs.

The scripts read the names of apps from the registry when they are needed: it is a folder.
"""

import argparse
import signal
from dataclasses import dataclass, field

from prefork.config.flags import build_parser as serve_parser

SHELLS = ("bash", "zsh", "fish")
LIST_APPS_SH = '$(ls -1 "${PREFORK_HOME:-$HOME/.prefork}" 2>/dev/null | grep -v "[.]toml$")'
LIST_APPS_FISH = (
    "(begin; set -q PREFORK_HOME; and ls -1 $PREFORK_HOME; or ls -1 ~/.prefork; end 2>/dev/null"
    " | string match -v '*.toml')"
)
START_FLAGS = ("--attach", "--no-wait", "--only", "--dry-run", "--prune")
VERBS_WITH_FILES = ("start", "check")
"""Verbs that also take files."""


@dataclass
class VerbCompletions:
    """The words that may follow a verb.

    ``flags``: each flag with its values; None: it takes a value that is not known here; empty: it
    takes none. ``takes_apps``: names of apps may follow; ``values``: other words that may follow.
    """

    flags: dict[str, list[str] | None] = field(default_factory=dict)
    takes_apps: bool = False
    values: list[str] = field(default_factory=list)
    description: str = ""


def completion_script(shell: str, parser: argparse.ArgumentParser) -> str:
    """Return the script that a shell evaluates. ``parser``: that of all verbs."""
    verbs = {name: _completions(verb) for name, verb in _verb_parsers(parser).items()}
    verbs["start"].flags |= _completions(serve_parser()).flags | {flag: [] for flag in START_FLAGS}
    verbs["start"].takes_apps = True
    if shell == "fish":
        return _fish(verbs)
    bash = _bash(verbs)
    if shell == "zsh":
        return "autoload -U +X bashcompinit && bashcompinit\n" + bash
    return bash


def _verb_parsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    # argparse has no public way to list what a parser accepts.
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _completions(parser: argparse.ArgumentParser) -> VerbCompletions:
    found = VerbCompletions(description=parser.description or "")
    for action in parser._actions:
        values = [str(choice) for choice in action.choices or ()]
        for name in action.option_strings:
            if name.startswith("--") and action.help != argparse.SUPPRESS:
                found.flags[name] = values if action.nargs == 0 or values else None
        if not action.option_strings:
            found.takes_apps = found.takes_apps or action.dest in ("targets", "target")
            found.values += values
            if action.dest == "signal":
                found.values += [each.name.removeprefix("SIG") for each in signal.Signals]
    return found


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
    words="{" ".join(verbs)} {" ".join(_completions(serve_parser()).flags)}"
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
        f"complete -c prefork -n __fish_use_subcommand -l {flag[2:]}"
        for flag in _completions(serve_parser()).flags
    ]
    for verb, words in verbs.items():
        description = words.description.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"complete -c prefork -n __fish_use_subcommand -a {verb} -d '{description}'")
        seen = f"complete -c prefork -n '__fish_seen_subcommand_from {verb}'"
        if verb not in VERBS_WITH_FILES:
            lines.append(f"{seen} -f")
        for flag, values in words.flags.items():
            how = "" if values == [] else " -r" if values is None else f" -xa '{' '.join(values)}'"
            lines.append(f"{seen} -l {flag[2:]}{how}")
        if words.takes_apps:
            lines.append(f'{seen} -a "{LIST_APPS_FISH.replace("$", chr(92) + "$")}"')
        if words.values:
            lines.append(f"{seen} -a '{' '.join(words.values)}'")
    return "\n".join(lines) + "\n"
