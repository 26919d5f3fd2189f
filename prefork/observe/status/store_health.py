"""Tell whether the store can be used, for ``/readyz`` with ``--store-required``.

    state      event                                          next state
    unknown    /readyz is asked                               checking
    checking   the check has ended                            available, or unavailable: why
    checking   ``SILENT_AFTER`` seconds have passed           unavailable: no answer
    both       /readyz is asked, and the last check is older  checking; the last verdict counts
               than ``MAX_AGE``

Design
------
- **The status server checks, when it is asked.** The master never looks at the store: it cannot
  hang with it, nor be harmed by a damaged file or a hostile server. A check is what a worker does:
  it opens the store as the user of the workers and writes there. Where no client asks, the store is
  not opened. Rejected: a check by a worker, because all may be busy, and by a process of its own,
  which would run for a question that most health checks ask every ten seconds.
- **The price is that the status server opens the store,** which a client that takes it over could
  then read. So it does that only with ``--store-required``.
- **A thread checks, one at a time and at most once a second.** The event loop answers meanwhile. A
  response waits up to ``PATIENCE`` seconds for a check that is due, since health checks wait for a
  second (``timeoutSeconds`` of Kubernetes). The thread is not joined at the end, since it may wait
  for a file system that hangs. A check costs a file of 64 KB for the embedded store, which is
  written and removed, and a SET for a server.
"""

import asyncio
import logging
from _thread import start_new_thread
from collections.abc import Callable
from time import monotonic

from prefork.errors import PreforkError
from prefork.printable import printable_line

MAX_AGE = 1.0
"""Seconds for which a verdict is used without another check."""
PATIENCE = 0.7
"""Seconds for which a response waits for a check."""
SILENT_AFTER = 5.0
"""Seconds after which a check that has not ended counts as failed."""
MAX_REASON = 500
"""Characters of a reason."""

NO_ANSWER_YET = "the first check has not ended yet"


class StoreHealth:
    """The last verdict on the store. ``check``: raises PreforkError if the store cannot be used;
    it may block."""

    def __init__(
        self,
        check: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
        log: logging.Logger,
        patience: float = PATIENCE,
        silent_after: float = SILENT_AFTER,
    ) -> None:
        self._patience = patience
        self._silent_after = silent_after
        self._check = check
        self._loop = loop
        self._log = log
        self._reason: str | None = NO_ANSWER_YET
        self._checked_at = float("-inf")
        self._began_at: float | None = None
        self._ended = asyncio.Event()

    def problem(self) -> str | None:
        """Return why the store cannot be used; None: it can."""
        if self._began_at is not None:
            silence = monotonic() - self._began_at
            if silence >= self._silent_after:
                return f"it has not answered for {silence:.0f} s"
        return self._reason

    @property
    def is_checking(self) -> bool:
        """Return whether a check runs."""
        return self._began_at is not None

    async def refresh(self) -> None:
        """Check the store if that is due, and wait for the result, but not for long."""
        if self._began_at is None and monotonic() - self._checked_at > MAX_AGE:
            self._begin()
        if self._began_at is not None:
            try:
                async with asyncio.timeout(self._patience):
                    await self._ended.wait()
            except TimeoutError:
                pass  # the last verdict counts

    def _begin(self) -> None:
        self._ended.clear()
        self._began_at = monotonic()
        try:
            start_new_thread(self._run, ())
        except RuntimeError as error:  # the limit of processes is reached
            self._note(f"it cannot be checked: {error}")

    def _run(self) -> None:
        """Check the store, in a thread."""
        reason = None
        try:
            self._check()
        except PreforkError as error:
            reason = printable_line(str(error))[:MAX_REASON]
        except Exception as error:
            reason = printable_line(f"{type(error).__name__}: {error}")[:MAX_REASON]
        try:
            self._loop.call_soon_threadsafe(self._note, reason)
        except RuntimeError:
            pass  # the loop is closed: the process ends

    def _note(self, reason: str | None) -> None:
        """Note the result of a check, and log a change."""
        was_fine = self._reason in (None, NO_ANSWER_YET)
        if reason is not None and was_fine:
            self._log.warning("the store is unavailable, and /readyz says 503: %s", reason)
        elif reason is None and not was_fine:
            self._log.info("the store is available again")
        self._reason = reason
        self._checked_at, self._began_at = monotonic(), None
        self._ended.set()
