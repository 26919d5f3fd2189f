"""The parser of words that flags and verbs have in common; it knows no option by itself. PURE."""

import argparse
from typing import NoReturn

from prefork.errors import UsageError


class Parser(argparse.ArgumentParser):
    """argparse that raises UsageError instead of printing usage and leaving."""

    def error(self, message: str) -> NoReturn:
        """What argparse calls when the words make no sense."""
        raise UsageError(f"command line: {message}; see prefork --help")
