"""Node apps as their frameworks' documentation has them, which answer client_load.py.

``0001`` in a source is the version in the answers. Each app listens on ``PORT``, or on 3000.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from tests.live.client_load import client_load
from tests.live.harness import PATIENCE, command
from tests.live.programs import running_program
from tests.live.reloads import reload

EXPRESS = """\
const express = require('express');
const app = express();
const body = `0001 ${process.pid} `.repeat(64);
app.get('/', (req, res) => res.type('text').send(body));
app.get('/slow', (req, res) => setTimeout(() => res.type('text').send(body), 300));
app.listen(process.env.PORT || 3000);
"""

FASTIFY = """\
const fastify = require('fastify')();
const body = `0001 ${process.pid} `.repeat(64);
fastify.get('/', async () => body);
fastify.listen({ port: Number(process.env.PORT) || 3000 });
"""


def write_app(folder: Path, source: str, version: int, name: str = "server.js") -> None:
    """Write an app with this version into a folder."""
    (folder / name).write_text(source.replace("0001", f"{version:04d}"))


def lose_nothing(
    folder: Path, program: Sequence[str], source: str, reloads: int, file: str = "server.js"
) -> None:
    """Serve an app with four workers; reload it and scale it from 2 to 4 and back under load.

    ``source``: the app, which is written into ``file`` with a new version before each reload;
    empty: the folder has it. Clients keep their connections, or have a new one for each request.
    Nothing may be lost, and npm may complain about nothing.
    """

    def write_version(version: int) -> None:
        if source:
            write_app(folder, source, version, file)

    name = f"node-{os.getpid()}"
    options = ("-b", "127.0.0.1:0", "-n", name, "--surge", "4")
    write_version(1)
    with (
        running_program(folder, program, *options, workers=4) as server,
        client_load(server.port, keep=16, fresh=16) as clients,
    ):
        clients.run_phase("quiet", 300)
        for n in range(2, reloads + 2):
            write_version(n)
            clients.begin_phase(f"reload {n}")
            reload(server, n)
            clients.run_phase(f"reloaded {n}", 50)
        for count in (2, 4, 2):
            clients.begin_phase(f"scale to {count}")
            done = command("scale", name, str(count), cwd=folder, patience=2 * PATIENCE)
            assert done.stdout == f"{name}: {count} workers\n", done
        clients.run_phase("scaled", 50)
        report = clients.stop()
        # How long a request takes is not asserted: a framework compiles for seconds at its start.
        assert not report.failures, report
        for n in range(2, reloads + 2 if source else 2):
            assert list(report.phase(f"reloaded {n}").versions) == [f"{n:04d}"]
        assert server.count("gone: (?!reload|scale)") == 0, server.log
        assert server.stop() == 0
        assert server.count("npm (error|ERR)") == 0, server.log
