"""Starts fastwsgi with a body limit above the largest upload; its own command has no such option.

Run as `python fastwsgi_server.py PORT APP`; SIGTERM ends it.
"""

from __future__ import annotations

import signal
import sys

import fastwsgi
import wsgi_apps

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    fastwsgi.server.max_content_length = 64 * 1024 * 1024
    fastwsgi.run(getattr(wsgi_apps, sys.argv[2]), "127.0.0.1", int(sys.argv[1]), loglevel=0)
