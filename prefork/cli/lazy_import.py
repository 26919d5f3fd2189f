"""Modules of the command that are imported when one of their functions is called.

Design
------
- **A verb imports only what it needs.** ``stop``, ``reload`` and ``scale`` put a question to a
  socket: 50 ms of CPU, of which 20 are the start of Python itself. The modules that ``list`` draws
  with, and the declarations of all options, take longer to import than that. For the same reason
  ``prefork.config`` imports its names on demand.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any


class LazyModule:
    """A stand-in for the module ``prefork.cli.NAME`` in the table of the verbs.

    Each attribute is a function that imports the module, calls its function of the same name with
    the given arguments, and returns the result. An unknown name is noticed at the call
    (AttributeError).
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            return getattr(import_module(f"prefork.cli.{self._name}"), name)(*arguments)

        return call
