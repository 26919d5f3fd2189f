"""Keep the values of secret environment variables after their removal from the environment.

Design
------
- **The values stay in memory,** of the master and of the workers that it forks, for the next reload
  and for --tls-watch, which read the password of a key again. /proc/PID/environ is overwritten.
  Two places remain: the environment of the process that started prefork, and memory that the same
  user can read.
"""

import os

_values: dict[str, bytes] = {}


def keep_secret(name: str, value: bytes) -> None:
    """Keep the value of a variable for the rest of this process's life."""
    _values[name] = value


def secret_value(name: str) -> bytes | None:
    """Return the value of a variable, also after its removal; None: it was never set."""
    return _values.get(name, os.environb.get(name.encode()))
