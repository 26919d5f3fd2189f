"""TLS clients, raw like those of raw_client.py: an end without close_notify is noticed."""

import json
import re
import socket
import ssl
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.certificates import Keyring
from tests.live.harness import PATIENCE, Server
from tests.live.raw_client import CutOffError, RawConnection, get, tcp
from tests.live.web_apps import serving_app


def serving_tls(
    kind: str, folder: Path, keys: Keyring, *arguments: str
) -> AbstractContextManager[Server]:
    """Serve the app of this kind, with TLS on the first port and without on the second."""
    return serving_app(
        kind,
        folder,
        *("-b", "http://127.0.0.1:0", "--log-level", "debug"),
        *("--tls-cert", keys.site.pair, "--tls-cert", str(keys.wild.both)),
        *("--tls-client", "optional", "--tls-ca", str(keys.ca.file)),
        *arguments,
    )


def connect_tls(
    server: Server, context: ssl.SSLContext, name: str | None = "site.test", buffer: int = 0
) -> RawConnection:
    """Connect and do the TLS handshake."""
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    wire = tcp(server, buffer)
    try:
        wire.socket = context.wrap_socket(
            wire.socket, server_hostname=name, suppress_ragged_eofs=False
        )
    except BaseException:
        wire.socket.close()
        raise
    return wire


def connect_plain(server: Server) -> RawConnection:
    """Connect to the port without TLS."""
    port = int(server.wait_log(r"listening on .* 127.0.0.1:(\d+)")[1])
    return RawConnection(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))


def is_refused(server: Server, context: ssl.SSLContext) -> bool:
    """Return whether the server refuses the client. A TLS 1.3 client may learn it only when it
    reads."""
    try:
        with connect_tls(server, context) as wire:
            wire.send(get("/hello")).answer()
    except (OSError, CutOffError):
        return True
    return False


def read_dump(wire: RawConnection) -> dict[str, Any]:
    """Return what the app was told of the request."""
    report: dict[str, Any] = json.loads(wire.send(get("/dump")).answer().body)
    return report


def has_clean_log(server: Server) -> bool:
    """Return whether the output has log lines only, and no traceback."""
    return not re.search("Traceback|Exception ignored|eof_received", server.log)
