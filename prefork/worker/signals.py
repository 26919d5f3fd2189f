"""The signals by which a master asks a worker that hangs what it is at; see watchdog.py."""

import signal

ASK_SIGNAL = signal.SIGRTMIN + 6
DUMP_SIGNAL = signal.SIGUSR2
"""Writes the stacks of all threads to stderr, even while the interpreter is stuck."""
