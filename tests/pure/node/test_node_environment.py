"""The variables by which Node loads the shim."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.config import Config
from prefork.config.addresses import TcpAddress
from prefork.config.ready_condition import ReadyCondition
from prefork.node.node_environment import (
    SETTINGS_VARIABLE,
    SHIM,
    SharedSocket,
    node_variables,
    require_option,
)
from tests.live.programs import needs_node

BOUND = (TcpAddress("127.0.0.1", 3000),)
SOCKET = SharedSocket(41, host="127.0.0.1", port=3000)


def variables(environ: dict[str, str], **settings: Any) -> dict[str, str]:
    return node_variables(environ, Config(bind=BOUND, **settings), [SOCKET], 42, 43, 44)


def test_the_shim_learns_the_sockets_and_the_times_of_a_drain() -> None:
    found = variables({}, kill_timeout=7.0, stop_signal="SIGINT", backlog=99)
    assert found["NODE_OPTIONS"] == require_option(SHIM)
    settings = json.loads(found[SETTINGS_VARIABLE])
    assert settings["sockets"] == [{"inode": 41, "host": "127.0.0.1", "port": 3000, "path": ""}]
    assert (settings["notify"], settings["figures"], settings["claims"]) == (42, 43, 44)
    assert not settings["manual"]
    assert (settings["killTimeout"], settings["stopSignal"], settings["backlog"]) == (
        7.0,
        "SIGINT",
        99,
    )


def test_manual_is_passed_on() -> None:
    found = variables({}, ready=ReadyCondition("manual"))
    assert json.loads(found[SETTINGS_VARIABLE])["manual"] is True


def test_the_options_of_the_operator_come_first() -> None:
    found = variables({"NODE_OPTIONS": "--require ./.pnp.cjs"})
    assert found["NODE_OPTIONS"] == f"--require ./.pnp.cjs {require_option(SHIM)}"


def test_nothing_is_set_without_a_socket_or_with_the_shim_off() -> None:
    assert node_variables({}, Config(bind=()), [], 42, 43, 44) == {}
    assert variables({}, node_shim="off") == {}


@given(st.text(st.characters(exclude_characters="\0")))
def test_any_path_survives_the_quotes_of_node_options(path: str) -> None:
    """Node's own reader: outside of quotes a space separates, within them a backslash escapes."""
    option, words, is_quoted, escaped = require_option(path), [""], False, False
    for character in option:
        if escaped:
            words[-1], escaped = words[-1] + character, False
        elif character == "\\" and is_quoted:
            escaped = True
        elif character == '"':
            is_quoted = not is_quoted
        elif character == " " and not is_quoted:
            words.append("")
        else:
            words[-1] += character
    assert words == [f"--require={path}"]


@needs_node
@pytest.mark.parametrize("name", ["a b", 'quo"te', "back\\slash", "ümlaut"])
def test_node_loads_a_file_of_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.cjs").write_text("console.log('loaded')")
    environ = {"NODE_OPTIONS": require_option(str(tmp_path / f"{name}.cjs")), "PATH": "/usr/bin"}
    done = subprocess.run(
        ["node", "-e", ""], env=environ, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == ("loaded\n", "")
