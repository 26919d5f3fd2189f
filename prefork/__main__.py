"""``python -m prefork`` is ``prefork``."""

import sys

from prefork.cli.command import main

if __name__ == "__main__":
    sys.exit(main())
