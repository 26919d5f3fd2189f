"""The environment variables of other servers, which prefork does not read. PURE.

GUNICORN_CMD_ARGS      flags of gunicorn
UVICORN_*, GRANIAN_*   the value of a flag of uvicorn or granian, as in UVICORN_PORT

Design
------
- **They are named and not taken.** Two servers may share an environment, and prefork's variables
  are ``PREFORK_*``. To drop one without a word would cost the operator hours, so the log, ``start``
  and ``--check`` name it, together with ours.
"""

from collections.abc import Iterable, Mapping

from prefork.config.foreign.foreign_table import find_flag
from prefork.config.foreign.foreign_word import PeerName
from prefork.config.options import OPTIONS

GUNICORN_FLAGS = "GUNICORN_CMD_ARGS"
PREFIXES = {"UVICORN_": PeerName.UVICORN, "GRANIAN_": PeerName.GRANIAN}


def describe_foreign_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a line that names the variables of other servers, and ours; none: there are none."""
    shown = [each for name in sorted(filter(environ.get, environ)) for each in _describe(name)]
    if not shown:
        return []
    return [
        f"variables of other servers are not read: {', '.join(shown)}; `prefork help settings` has "
        "those that are"
    ]


def _describe(variable: str) -> Iterable[str]:
    """Yield the variable with what to set instead; nothing: no other server reads it."""
    if variable == GUNICORN_FLAGS:
        yield f"{variable} (write its flags on the command line)"
    for prefix, peer in PREFIXES.items():
        flag = "--" + variable.removeprefix(prefix).lower().replace("_", "-")
        found = find_flag(flag, peer) if variable.startswith(prefix) else []
        for word in found[:1]:
            ours = OPTIONS[word.option].variable if word.option in OPTIONS else word.how.value
            yield f"{variable} ({ours})"
