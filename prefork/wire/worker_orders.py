"""The orders of the master to a worker, on its order pipe: one byte each. PURE.

A worker gets its stop by a signal. Orders that come while it waits for the next one are read
together.
"""

REPORT_STACKS = b"?"
"""Log the requests in flight and the stacks of all threads, and send ``stuck``."""

LEAD = b"L"
"""Lead from now on. The fencing token is in the head of the scoreboard: it was written before."""
