"""A store of ``starsessions``, for sessions of Starlette and FastAPI."""

from starsessions.stores.base import SessionStore

from prefork.adapters.store_access import fit_key, fit_ttl, open_namespace

BROWSER_SESSION = 14 * 24 * 3600
"""Seconds that a session without a lifetime is kept: until the browser is closed, or this time."""


class Store(SessionStore):
    """Sessions that all workers share."""

    def __init__(self, namespace: str = "starsessions") -> None:
        self._namespace = namespace

    async def read(self, session_id: str, lifetime: int) -> bytes:
        """Return the data of a session; empty: there is none."""
        return await open_namespace(self._namespace).aget(fit_key(session_id)) or b""

    async def write(self, session_id: str, data: bytes, lifetime: int, ttl: int) -> str:
        """Write the data of a session, which is kept for ``ttl`` seconds; return its id."""
        kept = fit_ttl(ttl if ttl > 0 else BROWSER_SESSION)
        await open_namespace(self._namespace).aset(fit_key(session_id), data, kept)
        return session_id

    async def remove(self, session_id: str) -> None:
        """Remove a session."""
        await open_namespace(self._namespace).adelete(fit_key(session_id))
