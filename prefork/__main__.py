"""Run the command line as a module: ``python -m prefork`` does what ``prefork`` does."""

import sys

from prefork.cli.command import main

if __name__ == "__main__":
    sys.exit(main())
