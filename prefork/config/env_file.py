"""Parse a file of environment variables, in the syntax of python-dotenv. PURE.

Design
------
- **python-dotenv parses the file,** so that a ``.env`` means here what it means to Flask, Django,
  uvicorn and docker compose: quotes, ``export``, comments, values of several lines, ``${NAME}``.
  Its parser is used instead of ``load_dotenv``, which changes the environment of this process and
  skips a line that it cannot read. Here such a line is an error, because an app without its
  password fails later and elsewhere.
- **A variable that the environment has already stays as it is,** also inside of ``${NAME}``, as
  with ``load_dotenv``: an operator can override one for one start.
"""

import io
from collections.abc import Mapping

from prefork.config.kept_environment import check_variable
from prefork.errors import UsageError

_NOT_HERE = {"PREFORK_ENV_FILE": "env-file", "PREFORK_CONFIG": "-c"}
"""Variables that are read before an env-file is, and the options to use instead."""


def parse_env_file(text: str, path: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a file in their order. A name without ``=`` sets nothing.

    ``environ``: the environment that ``${NAME}`` refers to, which wins over the file itself.
    ``path``: names the file in messages. Raises UsageError.
    """
    try:
        # Few apps have such a file.
        from dotenv.parser import parse_stream  # noqa: PLC0415
        from dotenv.variables import parse_variables  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            f"env-file needs python-dotenv ({error}); install it: pip install python-dotenv"
        ) from error
    found: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            line = binding.original.line + _blank_lines(binding.original.string)
            raise UsageError(f"{path}, line {line}: no KEY=VALUE; quotes may be left open")
        name = binding.key
        if name is None or binding.value is None:
            continue
        known = {**found, **environ}
        value = "".join(atom.resolve(known) for atom in parse_variables(binding.value))
        _check(name, value, path)
        found[name] = value
    return found


def _blank_lines(text: str) -> int:
    """Return how many lines before the statement belong to it for the parser."""
    return text[: len(text) - len(text.lstrip())].count("\n")


def _check(name: str, value: str, path: str) -> None:
    if name in _NOT_HERE:
        raise UsageError(f"{path}: {name} has no effect there; use {_NOT_HERE[name]} instead")
    try:
        check_variable(name, value)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None
