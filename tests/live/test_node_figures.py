"""The figures of a Node server: what the shim reports agrees with what its clients did."""

import os
from pathlib import Path
from typing import Any

from prefork import Client
from tests.live.harness import HOME, Server, wait_for
from tests.live.programs import needs_node, running_program
from tests.live.raw_client import get, tcp

pytestmark = needs_node

APP = """\
const fs = require('node:fs');
const answer = (request, response) => {
  const [, status] = request.url.split('/');
  if (status === 'held') {
    const timer = setInterval(() => {
      if (fs.existsSync('go')) { clearInterval(timer); response.end('late'); }
    }, 10);
  } else if (status === 'slow') setTimeout(() => response.end('slow'), 300);
  else { response.statusCode = Number(status); response.end(); }
};
require('node:http').createServer(answer).listen(process.env.PORT);
"""


def figures(name: str) -> dict[str, Any]:
    (app,) = [app for app in Client(Path(HOME)).apps() if app["name"] == name]
    return dict(app["figures"])


def test_counts_are_those_of_the_clients(tmp_path: Path) -> None:
    """They are cumulative, so each is exact a second after the last request."""
    name = f"figures-{os.getpid()}"
    (tmp_path / "server.js").write_text(APP)
    options = ("-b", "127.0.0.1:0", "-n", name)
    program = ["node", "server.js"]
    with running_program(tmp_path, program, *options, workers=2) as server, tcp(server) as held:
        for status, count in ((200, 40), (404, 7), (503, 3)):
            ask(server, f"/{status}", count)
        ask(server, "/slow", 50)
        held.send(get("/held"))
        wait_for(lambda: figures(name)["in_flight"] == 1, "the request in flight")
        wait_for(lambda: figures(name)["requests"] == 100, "all requests")
        found = figures(name)
        assert found["answered"] == {"1xx": 0, "2xx": 90, "3xx": 0, "4xx": 7, "5xx": 3}
        assert found["p50"] < 0.3 * 9 / 8
        assert found["p99"] > 0.3 * 8 / 9
        (tmp_path / "go").touch()
        assert held.answer().body == b"late"
        wait_for(lambda: figures(name)["requests"] == 101, "the last request")
        assert figures(name)["in_flight"] == 0


def ask(server: Server, target: str, count: int) -> None:
    """Send requests, ten at a time on ten connections."""
    wires = [tcp(server) for _ in range(10)]
    try:
        for start in range(0, count, len(wires)):
            busy = wires[: count - start]
            for wire in busy:
                wire.send(get(target))
            for wire in busy:
                wire.answer()
    finally:
        for wire in wires:
            wire.socket.close()
