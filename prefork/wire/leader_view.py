"""The leader of an app, as the rows of the scoreboard tell it. PURE."""

from collections.abc import Iterable, Mapping
from typing import Any

from prefork.wire.fields import LEASE_STATES


def find_leader(rows: Iterable[Mapping[str, Any]], token: int) -> dict[str, Any] | None:
    """Return slot, pid and token of the worker that leads; None: none here does.

    ``token``: of the leader that the master names. A leader by a lease has the token of the lease.
    """
    for row in rows:
        if row["leads"]:
            shown = row["lease_token"] if row["lease"] else token
            return {"slot": row["slot"], "pid": row["pid"], "token": shown}
    return None


def find_lease(rows: Iterable[Mapping[str, Any]]) -> str | None:
    """Return what the worker that the master names knows of the lease: a word of LEASE_STATES;
    None: the workers of this app need none, or the master names none of them."""
    for row in rows:
        if row["named"]:
            state = LEASE_STATES[row["lease"]] if row["lease"] < len(LEASE_STATES) else ""
            is_over = state == "held" and not row["leads"]
            return "waiting" if is_over else state or None
    return None
