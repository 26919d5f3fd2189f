"""The period of a worker's clock.

A module of its own, because the master uses the period as well and imports no serving code.
"""

TICK_PERIOD = 0.25
"""Seconds between two ticks of the worker's clock."""
