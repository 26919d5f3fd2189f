"""Why a program failed: the hint names what helps this program."""

import pytest

from prefork.config import Config
from prefork.master.output_excerpt import OutputExcerpt
from prefork.master.program_failure import add_output, describe_obstacle

PYTHON = "OSError: [Errno 98] Address already in use\n"


def node(address: str) -> str:
    return f"Error: listen EADDRINUSE: address already in use {address}\n"


def hint(printed: str, *command: str, **settings: str) -> str:
    """Return the hint below the output of a program without --bind."""
    excerpt = OutputExcerpt()
    excerpt.feed(printed.encode())
    config = Config(command=command, **settings)  # type: ignore[arg-type]
    return add_output("ended", config, [], excerpt).partition("hint: ")[2]


@pytest.mark.parametrize(
    ("address", "flag"),
    [
        (":::3000", "--bind :3000"),
        ("0.0.0.0:3000", "--bind :3000"),
        ("127.0.0.1:3000", "--bind 127.0.0.1:3000"),
        ("::1:3000", "--bind [::1]:3000"),
        ("/run/web.sock", "--bind unix:/run/web.sock"),
    ],
)
def test_a_node_server_gets_the_flag_that_shares_its_address(address: str, flag: str) -> None:
    said = hint(node(address), "npm", "start")
    assert f"With `{flag}` prefork opens it" in said
    assert "descriptor" not in said


@pytest.mark.parametrize(
    ("printed", "command", "settings"),
    [
        (PYTHON, ("python3", "app.py"), {}),
        (node(":::3000"), ("bun", "app.ts"), {}),
        (node(":::3000"), ("/usr/bin/env", "deno"), {}),
    ],
)
def test_other_programs_are_told_of_the_descriptor(
    printed: str, command: tuple[str, ...], settings: dict[str, str]
) -> None:
    assert "descriptor 3" in hint(printed, *command, **settings)


def test_an_address_beside_the_bound_one_is_to_be_bound_as_well() -> None:
    excerpt = OutputExcerpt()
    excerpt.feed(node(":::9229").encode())
    said = add_output("ended", Config(command=("node", "x.js")), ["127.0.0.1:3000"], excerpt)  # type: ignore[list-item]
    assert "prefork has bound 127.0.0.1:3000, and the program listens on :::9229" in said
    assert "`--bind :9229`" in said


@pytest.mark.parametrize("wanted", ["127.0.0.1:3000", ":::3000"])
def test_a_bound_address_is_not_to_be_bound_again(wanted: str) -> None:
    """A server in a thread, or one of node --watch, has no preload."""
    excerpt = OutputExcerpt()
    excerpt.feed(node(wanted).encode())
    said = add_output("ended", Config(command=("node", "x.js")), ["127.0.0.1:3000"], excerpt)  # type: ignore[list-item]
    assert "--bind" not in said
    assert "worker thread" in said
    assert "give --watch to prefork" in said


@pytest.mark.parametrize(
    ("bound", "said"),
    [
        ([], "With `--bind :3000` and without `--node-shim off`"),
        (["127.0.0.1:3000"], "Leave out `--node-shim off`"),
        (["127.0.0.1:8000"], "with `--bind :3000` as well and without `--node-shim off`"),
    ],
)
def test_a_node_server_without_the_preload_is_told_to_take_it(bound: list[str], said: str) -> None:
    excerpt = OutputExcerpt()
    excerpt.feed(node(":::3000").encode())
    config = Config(command=("npm", "start"), node_shim="off")
    hint = add_output("ended", config, bound, excerpt)  # type: ignore[arg-type]
    assert said in hint
    assert "descriptor" not in hint


def test_a_reload_of_a_node_server_needs_no_change_of_it() -> None:
    addresses = ["127.0.0.1:3000"]
    said = describe_obstacle(addresses, "web", Config(command=("npm", "start")), is_node=True)
    assert "with `--bind 127.0.0.1:3000` prefork opens that" in said
    assert "descriptor" not in said
    other = describe_obstacle(addresses, "web", Config(command=("./web",)), is_node=False)
    assert "descriptor 3" in other
