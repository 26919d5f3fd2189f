"""The settings: each option is declared once, all else is generated. PURE.

addresses.py  what can be listened on
value_types.py      kinds of value: durations, sizes, addresses, …
options.py    the declarations; Config
sources.py    file, environment and flags merged, and the complaints
parser.py     the parser of words, without any option
flags.py      the command line
render.py     sample file, README table, settings in force
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefork.config.options import OPTIONS, Config
    from prefork.config.sources import Layer, Resolved, resolve

__all__ = ["OPTIONS", "Config", "Layer", "Resolved", "resolve"]

_DECLARED_IN = {"OPTIONS": "options", "Config": "options"}
_DECLARED_IN |= {"Layer": "sources", "Resolved": "sources", "resolve": "sources"}


def __getattr__(name: str) -> Any:
    """Imported when somebody asks (PEP 562): the declarations take longer than all the rest of a
    verb that only puts a question to a master."""
    if name not in _DECLARED_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_DECLARED_IN[name]}"), name)
