"""Starts bjoern, which has no command of its own.

Run as `python bjoern_server.py PORT APP`; SIGTERM ends it.
"""

from __future__ import annotations

import sys

import bjoern
import wsgi_apps

if __name__ == "__main__":
    bjoern.run(getattr(wsgi_apps, sys.argv[2]), "127.0.0.1", int(sys.argv[1]))
