"""``prefork completion``: the scripts of three shells, made from the parser of the verbs.

Names of apps are asked of the registry when they are needed; it is files, so that is quick.
"""

import argparse
import signal
from dataclasses import dataclass, field

from prefork.config.flags import build_parser as serving

SHELLS = ("bash", "zsh", "fish")
APPS = '$(ls -1 "${PREFORK_HOME:-$HOME/.prefork}" 2>/dev/null | grep -v "[.]toml$")'
FISH_APPS = (
    "(begin; set -q PREFORK_HOME; and ls -1 $PREFORK_HOME; or ls -1 ~/.prefork; end 2>/dev/null"
    " | string match -v '*.toml')"
)
START = ("--attach", "--no-wait", "--only", "--dry-run", "--prune")
FILES = ("start", "check")
"""Verbs that take files as well."""


@dataclass
class VerbCompletions:
    """What may follow a verb. ``flags``: each with its values, None: it takes some that nobody
    knows before, empty: it takes none. ``apps``: names of apps; ``others``: what else."""

    flags: dict[str, list[str] | None] = field(default_factory=dict)
    apps: bool = False
    others: list[str] = field(default_factory=list)
    text: str = ""


def completion_script(shell: str, verbs: argparse.ArgumentParser) -> str:
    """What a shell is to evaluate."""
    known = {name: _words(verb) for name, verb in _verbs(verbs).items()}
    known["start"].flags |= _words(serving()).flags | {flag: [] for flag in START}
    known["start"].apps = True
    if shell == "fish":
        return _fish(known)
    bash = _bash(known)
    if shell == "zsh":
        return "autoload -U +X bashcompinit && bashcompinit\n" + bash
    return bash


def _verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _words(parser: argparse.ArgumentParser) -> VerbCompletions:
    found = VerbCompletions(text=parser.description or "")
    for action in parser._actions:
        values = [str(choice) for choice in action.choices or ()]
        for name in action.option_strings:
            if name.startswith("--") and action.help != argparse.SUPPRESS:
                found.flags[name] = values if action.nargs == 0 or values else None
        if not action.option_strings:
            found.apps = found.apps or action.dest in ("targets", "target")
            found.others += values
            if action.dest == "signal":
                found.others += [each.name.removeprefix("SIG") for each in signal.Signals]
    return found


def _bash(known: dict[str, VerbCompletions]) -> str:
    cases = []
    for verb, words in known.items():
        names = " ".join([*(["all", APPS] if words.apps else []), *words.others])
        cases.append(f'    {verb}) words="{" ".join(words.flags)}"; names="{names}" ;;')
    values = {
        f"{verb}:{flag}": given
        for verb, words in known.items()
        for flag, given in words.flags.items()
        if given
    }
    chosen = "\n".join(f'    {where}) words="{" ".join(v)}" ;;' for where, v in values.items())
    lines = "\n".join(cases)
    return f"""\
_prefork() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" words="" names=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="{" ".join(known)} {" ".join(_words(serving()).flags)}"
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


def _fish(known: dict[str, VerbCompletions]) -> str:
    lines = [
        f"complete -c prefork -n __fish_use_subcommand -l {flag[2:]}"
        for flag in _words(serving()).flags
    ]
    for verb, words in known.items():
        text = words.text.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"complete -c prefork -n __fish_use_subcommand -a {verb} -d '{text}'")
        seen = f"complete -c prefork -n '__fish_seen_subcommand_from {verb}'"
        if verb not in FILES:
            lines.append(f"{seen} -f")
        for flag, values in words.flags.items():
            how = "" if values == [] else " -r" if values is None else f" -xa '{' '.join(values)}'"
            lines.append(f"{seen} -l {flag[2:]}{how}")
        if words.apps:
            lines.append(f'{seen} -a "{FISH_APPS.replace("$", chr(92) + "$")}"')
        if words.others:
            lines.append(f"{seen} -a '{' '.join(words.others)}'")
    return "\n".join(lines) + "\n"
