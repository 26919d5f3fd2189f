"""The argument parser that the options of serving and the verbs have in common. PURE."""

import argparse
from typing import NoReturn

from prefork.errors import UsageError


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises UsageError instead of printing the usage and exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError; argparse calls this for a wrong command line."""
        raise UsageError(f"command line: {message}; see prefork --help")
