"""The tables of the settings page for what is no option, made from the declarations."""

from prefork.cli.manual.manual_index import as_sentence, command_flags
from prefork.config.sources import RESERVED


def flags_table() -> str:
    """Return the flags of the command that are no options, in Markdown."""
    lines = ["| flag | what it does |", "|---|---|"]
    for flags, action in command_flags():
        *short, name = flags
        shown = [*short, f"{name} {action.metavar or ''}".rstrip()]
        lines.append(f"| {' '.join(f'`{each}`' for each in shown)} | {as_sentence(action.help)} |")
    return "\n".join(lines) + "\n"


def variables_table() -> str:
    """Return the variables of prefork that are no options, in Markdown."""
    lines = ["| variable | what it is for |", "|---|---|"]
    lines += [f"| `{name}` | {as_sentence(text)} |" for name, text in RESERVED.items()]
    return "\n".join(lines) + "\n"
