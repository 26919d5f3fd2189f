"""The signal that makes a worker write its stacks without its interpreter; see watchdog.py."""

import signal

DUMP_SIGNAL = signal.SIGUSR2
"""Makes faulthandler write the stacks of all threads to stderr, even while the interpreter is
stuck."""
