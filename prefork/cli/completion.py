"""``prefork completion``: the scripts of three shells, made from the parser of the verbs.

Names of apps are asked of the registry when they are needed; it is files, so that is quick.
"""

import argparse

from prefork.config.flags import parser as serving

SHELLS = ("bash", "zsh", "fish")
APPS = '$(ls -1 "${PREFORK_HOME:-$HOME/.prefork}" 2>/dev/null | grep -v "[.]toml$")'


def script(shell: str, verbs: argparse.ArgumentParser) -> str:
    """What a shell is to evaluate."""
    flags = {name: _flags(verb) for name, verb in _verbs(verbs).items()}
    flags["start"] = _flags(serving()) + ["--attach", "--no-wait", "--only", "--dry-run", "--prune"]
    if shell == "fish":
        return _fish(verbs, flags)
    bash = _bash(flags)
    if shell == "zsh":
        return "autoload -U +X bashcompinit && bashcompinit\n" + bash
    return bash


def _verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    return [
        name
        for action in parser._actions
        if action.help != argparse.SUPPRESS
        for name in action.option_strings
        if name.startswith("--")
    ]


def _bash(flags: dict[str, list[str]]) -> str:
    cases = "\n".join(f'    {verb}) words="{" ".join(own)}" ;;' for verb, own in flags.items())
    return f"""\
_prefork() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="{" ".join(flags)} {" ".join(_flags(serving()))}"
  else
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
    case "$word" in -*) ;; *) words="all {APPS}" ;; esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _prefork prefork
"""


def _fish(verbs: argparse.ArgumentParser, flags: dict[str, list[str]]) -> str:
    lines = []
    for verb, parser in _verbs(verbs).items():
        text = (parser.description or "").replace("'", "\\'")
        lines.append(f"complete -c prefork -n __fish_use_subcommand -a {verb} -d '{text}'")
        seen = f"-n '__fish_seen_subcommand_from {verb}'"
        lines += [f"complete -c prefork {seen} -l {flag[2:]}" for flag in flags[verb]]
        if any(action.dest in ("targets", "target") for action in parser._actions):
            apps = "(ls $PREFORK_HOME ~/.prefork 2>/dev/null)"
            lines.append(f"complete -c prefork {seen} -a '{apps}'")
    return "\n".join(lines) + "\n"
