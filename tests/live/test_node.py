"""Unmodified Node servers with packages of the npm registry: they share the socket (node/shim.cjs).

Express and Fastify listen on a port, as their documentation has it.
"""

from pathlib import Path

import pytest

from tests.live.node_apps import EXPRESS, FASTIFY, lose_nothing
from tests.live.node_packages import install_packages, write_package
from tests.live.programs import needs_node

pytestmark = needs_node


@pytest.fixture(scope="module")
def packages() -> Path:
    return install_packages("express@5", "fastify@5", "ws@8")


def test_express_loses_no_request(tmp_path: Path, packages: Path) -> None:
    write_package(tmp_path, packages)
    lose_nothing(tmp_path, ["node", "server.js"], EXPRESS, reloads=10)


def test_fastify_under_npm_and_a_shell_loses_no_request(tmp_path: Path, packages: Path) -> None:
    """The shell is no bystander: it goes on after the server, so it does not become the server."""
    write_package(tmp_path, packages, start="node server.js; true")
    lose_nothing(tmp_path, ["npm", "start"], FASTIFY, reloads=10)
