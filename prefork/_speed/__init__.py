"""The compiled part of prefork (Cython): optional, small, and never the only place of a rule.

Without it prefork does the same in Python: ``IS_COMPILED`` is False where it was not built, and
where ``PREFORK_PURE=1`` is set. This is the only place that decides between the two builds.

access_lines.pyx       formats lines of the access log for plain requests
asgi_calls.pyx         calls an ASGI app for plain requests
build.py               builds the extensions, or leaves them out
epoll_transport.pyx    transports for plain TCP and unix sockets
head_reader.pyx        reads requests that are plain and whole
response_composer.pyx  composes the bytes of usual responses
head_reader.pxd        what the other extensions use of head_reader.pyx
response_composer.pxd  the same for response_composer.pyx
wsgi_calls.pyx         calls a WSGI app for plain requests

Design
------
- **What is left in Python is not compiled by mypyc.** For requests that never repeat it takes 0.5
  of 6.5 µs (WSGI) and 0.8 of 8.5 (ASGI, with the start of the task), so compiled it would save less
  than a tenth, if it cost nothing at all. It would cost the frames that the stack report looks for.
"""

import os

IS_COMPILED = False
"""The extensions below are there, and used."""

if os.environ.get("PREFORK_PURE", "0") in ("", "0"):
    try:
        from prefork._speed.access_lines import KINDS as KINDS
        from prefork._speed.access_lines import PlainLines as PlainLines
        from prefork._speed.asgi_calls import AsgiCalls as AsgiCalls
        from prefork._speed.asgi_calls import find_running_call as find_running_call
        from prefork._speed.epoll_transport import Poller as Poller
        from prefork._speed.head_reader import HeadReader as HeadReader
        from prefork._speed.head_reader import PlainHead as PlainHead
        from prefork._speed.response_composer import compose_bytes as compose_bytes
        from prefork._speed.response_composer import compose_text as compose_text
        from prefork._speed.wsgi_calls import WsgiCalls as WsgiCalls

        IS_COMPILED = True
    except ImportError:
        pass

BUILD = "compiled" if IS_COMPILED else "pure Python"
"""The build that runs, as the log and ``prefork report`` name it."""
