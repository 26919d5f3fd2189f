"""The compiled part of prefork (Cython): optional, small, and never the only place of a rule.

Without it prefork does the same in Python: ``IS_COMPILED`` is False where it was not built, and
where ``PREFORK_PURE=1`` is set. This is the only place that decides between the two builds.

build.py               builds the extensions, or leaves them out
epoll_transport.pyx    transports for plain TCP and unix sockets
head_reader.pyx        reads requests that are plain and whole
response_composer.pyx  composes the bytes of usual responses
"""

import os

IS_COMPILED = False
"""The extensions below are there, and used."""

if os.environ.get("PREFORK_PURE", "0") in ("", "0"):
    try:
        from prefork._speed.epoll_transport import Poller as Poller
        from prefork._speed.head_reader import HeadReader as HeadReader
        from prefork._speed.head_reader import PlainHead as PlainHead
        from prefork._speed.response_composer import compose_bytes as compose_bytes
        from prefork._speed.response_composer import compose_text as compose_text

        IS_COMPILED = True
    except ImportError:
        pass

BUILD = "compiled" if IS_COMPILED else "pure Python"
"""The build that runs, as the log and ``prefork report`` name it."""
