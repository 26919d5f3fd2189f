"""Modules that are imported only where they may be needed, and the answer where one is missing.

A master may live for months, while its Python environment is upgraded or moved: what it or its
workers have not imported by then may be of another version, or not be there. So all that the
settings in force may ever need is imported before the fork (``import_serving`` in boot.py). What
could not be imported then costs only those that ask for it.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from prefork.errors import INCOMPLETE_ENVIRONMENT

if TYPE_CHECKING:
    from prefork.worker.asgi.asgi_http import AsgiHandler, HttpCall


def negotiation(log: logging.Logger) -> "Callable[[AsgiHandler, HttpCall], Any]":
    """What judges requests for a WebSocket. Where ``websockets`` is missing they get a 500, and the
    log says why."""
    try:
        from prefork.worker.asgi.asgi_websocket import negotiate  # noqa: PLC0415 - it knows asgi_http.py
    except ImportError as error:
        log.error("WebSockets get a 500: %s; %s", error, INCOMPLETE_ENVIRONMENT)
        return _refuse
    return negotiate


def _refuse(handler: "AsgiHandler", http: "HttpCall") -> None:
    handler.log.error(
        "no WebSocket for %s: %s", http.exchange.request.describe(), INCOMPLETE_ENVIRONMENT
    )
    http.exchange.send_error(500)
