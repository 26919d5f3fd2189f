"""Sources of small apps that tests write into their own folder, where a reload finds them."""

from pathlib import Path

from tests.live.load import BODY_WORDS

WSGI = f"""\
import os
{{start}}
BODY = f"{{version:04d}} {{{{os.getpid()}}}} ".encode() * {BODY_WORDS}
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [BODY]
"""

ASGI = f"""\
import os
{{start}}
BODY = f"{{version:04d}} {{{{os.getpid()}}}} ".encode() * {BODY_WORDS}
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    headers = [(b"content-type", b"text/plain")]
    await send({{{{"type": "http.response.start", "status": 200, "headers": headers}}}})
    await send({{{{"type": "http.response.body", "body": BODY}}}})
"""


def write_version(folder: Path, version: int, interface: str = "wsgi", start: str = "") -> None:
    """``app.py`` that answers with its version and its pid. ``start``: code at module level."""
    source = {"wsgi": WSGI, "asgi": ASGI}[interface]
    (folder / "app.py").write_text(source.format(version=version, start=start))
