"""How often a worker looks around; the master counts on it, also without all that serves."""

TICK_PERIOD = 0.25
"""Seconds between two ticks."""
