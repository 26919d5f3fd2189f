"""The settings: each option is declared once, and everything else is derived from that. PURE.

access_format.py        the format of the access log
access_skip.py          requests that the access log leaves out
addresses.py            addresses to listen on
apps_file.py            a file that declares several apps
certificate_options.py  certificate files, and the source of their password
cron.py                 cron expressions, and when the next one is due
drain_times.py          when a worker that drains ends the calls of an ASGI app
env_file.py             a file of environment variables
flags.py                the command line
foreign/                words of other servers and managers, and what they are here
forwarded_trust.py      the facts of Forwarded headers that are trusted
interfaces.py           the table of app interfaces
kept_environment.py     the environment that an app keeps
networks.py             networks of peers and proxies
option_details.py       when to change each option, for the manual
option_reference.py     a paragraph about each option, for the manual
options.py              the declarations of all options; Config
parser.py               the argument parser that flags and verbs have in common
platform_variables.py   PORT, WEB_CONCURRENCY and FORWARDED_ALLOW_IPS
problems.py             all that is wrong with settings, in one error
ready_condition.py      when a worker counts as ready
render.py               the sample file, and the settings in force
settings_diff.py        the differences between two sets of settings
sources.py              merges file, environment and flags into one Config
store_kind.py           the place of the store that all workers share
target.py               the app or the program that is served
toml_text.py            strings in TOML
value_types.py          types of values: durations, sizes, lists, …
watch_filter.py         changed files that do not trigger a reload

Design
------
- **The names of this package are imported on demand (PEP 562).** A verb imports only what it needs:
  `stop`, `reload` and `scale` send one request to a socket, which takes 50 ms of CPU, of which 20
  are Python's own start. Importing the declarations takes longer than the rest of such a verb.
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
    """Import a name of ``__all__`` when it is first used."""
    if name not in _DECLARED_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_DECLARED_IN[name]}"), name)
