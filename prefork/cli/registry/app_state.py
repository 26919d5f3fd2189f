"""The description of an app, as ``Client.apps`` returns it, and whether its master runs.

A module of its own, because the client and the modules that measure or draw apps need it.
"""

from collections.abc import Mapping
from typing import Any

App = Mapping[str, Any]
"""The description of one app; its keys are those in the docstring of ``prefork.Client``."""


def is_running(app: App) -> bool:
    """Return whether the master of the described app runs."""
    return app.get("state") not in ("dead", "failed", "stopped")
