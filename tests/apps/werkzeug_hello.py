"""werkzeug's own decorator, which makes a WSGI app of a function of a request."""

from werkzeug.wrappers import Request, Response


@Request.application
def app(_request: Request) -> Response:
    return Response("werkzeug")
