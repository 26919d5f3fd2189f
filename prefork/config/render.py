"""Format options as text: the sample file, and the settings in force. PURE.

Design
------
- **--print-config writes a masked value as a comment** (``env``, a ``store`` with a password), so
  that its output can be saved as a file without setting the value to ``***``.
"""

import textwrap
from typing import Any

import toml

from prefork.config.options import OPTIONS, by_group
from prefork.config.settings_diff import MASKED
from prefork.config.sources import Resolved
from prefork.config.toml_text import toml_string

_encoder = toml.TomlEncoder()
_encoder.dump_funcs[str] = toml_string
_encode = _encoder.dump_value

_SAMPLE_HEAD = """\
# prefork.toml: every option with its default. Use it with: prefork -c prefork.toml
# Uncomment the options that you change. Flags and PREFORK_* variables override this file.
"""


def sample_file() -> str:
    """Return conf/prefork.toml: each option with its help text and default, commented out."""
    lines = [_SAMPLE_HEAD]
    for group, options in by_group():
        lines.append(f"\n# {group}\n")
        for option in options:
            lines += textwrap.wrap(option.text, 98, initial_indent="# ", subsequent_indent="# ")
            shown = option.show_default()
            if option.name == "app":
                shown = "myapp:main"
            if option.name == "command":
                shown = ["node", "server.js"]
            if isinstance(shown, dict):
                lines.append('# env = { DATABASE_URL = "postgres://localhost/app" }\n')
            else:
                lines.append(f"# {option.key} = {_format_toml(shown)}\n")
    return "\n".join(lines).rstrip() + "\n"


def format_settings(resolved: Resolved) -> str:
    """Return all settings as TOML, each with a comment that names its source.

    Passwords and the values of environment variables are masked, because the output is copied
    to logs and bug reports.
    """
    lines = []
    for name, option in OPTIONS.items():
        given = getattr(resolved.config, name)
        value = option.value_type.format_shown(given)
        mark = "" if value == option.value_type.format(given) else "# "
        if name == "env" and value:
            value, mark = dict.fromkeys(value, MASKED), "# "
        lines.append(f"{mark}{option.key} = {_format_toml(value)}  # {resolved.sources[name]}")
    return "\n".join(lines) + "\n"


def _format_toml(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{key} = {_encode(text)}" for key, text in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(str(_encode(item)) for item in value) + "]"
    return str(_encode(value))
