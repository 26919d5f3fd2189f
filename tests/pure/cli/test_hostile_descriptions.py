"""Any description of an app that another user wrote can be listed and shown."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from prefork.cli.registry.process_usage import UsageSampler
from prefork.cli.view.app_columns import STATE_STYLES
from prefork.cli.view.app_table import render_app_list
from prefork.cli.view.console import PrintableConsole
from prefork.cli.view.details import render_app
from prefork.cli.view.sort_order import SORT_KEYS, sort_apps
from prefork.wire.app_description import fit_description
from prefork.wire.fields import VALUES

KEYS = (
    *(value.key for value in VALUES),
    *[
        "name",
        "namespace",
        "state",
        "status",
        "version",
        "app",
        "here",
        "file",
        "log",
        "output",
        "failure",
        "build",
        "pid",
    ],
    *[
        "target",
        "ready",
        "generation",
        "restarts",
        "started",
        "arguments",
        "listening",
        "store",
        "leader",
        "lease",
    ],
    *[
        "next_restart",
        "autoscale",
        "settings",
        "figures",
        "workers",
        "slot",
        "since",
        "says",
        "node",
        "worn",
        "at",
        "cron",
    ],
    *["min", "max", "last", "veto", "before", "why", "token"],
)
OTHER = {"name": "other", "state": "running", "figures": {"requests": 1}}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(KEYS), JSON), st.sampled_from(("", *STATE_STYLES)))
def test_any_description_can_be_listed_and_shown(app: dict[str, Any], state: str) -> None:
    known = {"name": "web", "pid": None, "state": state}
    (measured,) = UsageSampler().sample([fit_description(app) | known])
    for sort in SORT_KEYS:
        sort_apps([measured, OTHER], sort)
    console = PrintableConsole(width=200, quiet=True)
    console.print(render_app_list([measured, OTHER], 200))
    console.print(render_app(measured, 200))
