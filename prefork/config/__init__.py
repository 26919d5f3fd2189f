"""The settings: each option is declared once, all else is generated. PURE.

addresses.py  what can be listened on
kinds.py      kinds of value: durations, sizes, addresses, …
options.py    the declarations; Config
sources.py    file, environment and flags merged, and the complaints
flags.py      the command line
render.py     sample file, README table, settings in force
"""

from prefork.config.options import OPTIONS, Config
from prefork.config.sources import Layer, Resolved, resolve

__all__ = ["OPTIONS", "Config", "Layer", "Resolved", "resolve"]
