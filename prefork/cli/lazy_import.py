"""Modules of the command that are imported when one of their functions is called."""

from collections.abc import Callable
from importlib import import_module
from typing import Any


class LazyModule:
    """Stands for ``prefork.cli.NAME`` in the table of verbs; each attribute is a function of it.

    One verb needs tables or the whole master, the next one nothing but a socket, and serving none
    of them.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            return getattr(import_module(f"prefork.cli.{self._name}"), name)(*arguments)

        return call
