"""Secrets from variables that the master took out of its environment: a reload reads them again.

They are in memory only: of the master, and of the workers that it forks, which read the password of
a key again when its file changes (--tls-watch).
"""

import os

_values: dict[str, bytes] = {}


def keep_secret(name: str, value: bytes) -> None:
    """Remember what the variable had, for the rest of this process's life."""
    _values[name] = value


def secret_value(name: str) -> bytes | None:
    """What the variable has, or had before it was taken out; None: there is none."""
    return _values.get(name, os.environb.get(name.encode()))
