"""Source code of small apps that tests write into a folder of their own, where a reload finds it.

``GET /`` is answered with the app's version and the worker's pid, over and over, as the clients of
``client_load.py`` expect it. ``GET /name`` is answered by the module's function of that name, which
a test adds: that is how an app comes to hang, to exit, or to block in a Gate.
"""

from pathlib import Path

from tests.live.client_load import BODY_WORDS

_COMMON = f"""\
import os
{{code}}
BODY = f"{{version:04d}} {{{{os.getpid()}}}} ".encode() * {BODY_WORDS}
"""

_WSGI = """
def app(environ, start_response):
    name = environ["PATH_INFO"][1:]
    body = globals()[name]() if name else BODY
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
"""

_ASGI = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    name = scope["path"][1:]
    body = await globals()[name]() if name else BODY
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""

HOLD = """
def hold():
    open("gate").read()
    return b"held"
"""
"""``GET /hold`` blocks in the Gate called ``gate``."""

ENVIRONMENT = """
import json
def environment():
    return json.dumps(dict(os.environ)).encode()
"""
"""``GET /environment`` returns the variables of the worker."""

ASYNC_HOLD = """
import asyncio
async def hold():
    await asyncio.to_thread(lambda: open("gate").read())
    return b"held"
"""


def write_version(folder: Path, version: int, interface: str = "wsgi", code: str = "") -> None:
    """Write an ``app.py`` that answers with its version and its pid. ``code``: more source for the
    module."""
    end = {"wsgi": _WSGI, "asgi": _ASGI}[interface]
    (folder / "app.py").write_text(_COMMON.format(version=version, code=code) + end)
