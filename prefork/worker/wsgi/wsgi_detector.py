"""Detect WSGI apps: two required arguments, ``app(environ, start_response)``."""

from prefork.worker.callable_shape import CallableShape
from prefork.worker.interface import Detector, Fit

KNOWN_WSGI = {
    ("webob.dec", "wsgify.__call__"),
    ("werkzeug.wrappers.request", "Request.application.<locals>.application"),
    ("wsgiref.validate", "validator.<locals>.lint_app"),
}
"""WSGI callables whose arguments do not tell: the module and the qualified name of their code."""


class WsgiDetector(Detector):
    """Detects WSGI apps (PEP 3333)."""

    arguments = "WSGI takes two"

    @staticmethod
    def match(shape: CallableShape) -> Fit | None:
        """Return why a callable that takes two arguments fits."""
        return Fit(str(shape)) if shape.required == 2 and not shape.is_async else None

    @staticmethod
    def names_match(outer: CallableShape, inner: CallableShape) -> bool:
        """Return whether one of the two arguments is called environ or start_response, or a part of
        these names."""
        if inner.required != 2 or outer.is_async:
            return False
        environ, start_response, *_ = (name.lower() for name in inner.names)
        return "env" in environ or "start" in start_response

    @staticmethod
    def recognize(shape: CallableShape) -> Fit | None:
        """Return why one of the callables in KNOWN_WSGI fits."""
        known = (shape.module, shape.qualified_name) in KNOWN_WSGI
        return Fit(f"{shape.module} makes it") if known else None
