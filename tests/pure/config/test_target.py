"""The target, an app or a program: its name, and the settings that do not apply to it."""

from typing import Any

import pytest

from prefork.config import Config, value_types
from prefork.config.addresses import TcpAddress
from prefork.config.target import describe_target, require_target, resolve_name
from prefork.errors import UsageError
from prefork.wire.notify import decode_notification


def config(**settings: Any) -> Config:
    if "ready" in settings:
        settings["ready"] = value_types.READY_CONDITION.parse(settings["ready"])
    return Config(**{"bind": (), **settings})


@pytest.mark.parametrize(
    "settings",
    [
        {"app": "m:app"},
        {"app": "m:main", "ready": "manual"},
        {"command": ("node",)},
        {"command": ("node",), "ready": "connect:3000"},
        {"command": ("node",), "ready": "notify", "bind": (TcpAddress("127.0.0.1", 80),)},
        {"command": ("node",), "ready": "manual", "bind": (TcpAddress("127.0.0.1", 80),)},
    ],
)
def test_an_app_or_a_program_can_be_served(settings: dict[str, Any]) -> None:
    require_target(config(**settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "no app: write prefork MODULE:CALLABLE"),
        ({"app": "m:app", "ready": "2s"}, "are for programs"),
        ({"app": "m:app", "command": ("node",)}, "app = m:app and a command, node: one of them"),
        ({"command": ("node",), "ready": "manual"}, "manual is for main"),
        (
            {
                "command": ("node",),
                "ready": "manual",
                "bind": (TcpAddress("127.0.0.1", 80),),
                "node_shim": "off",
            },
            "manual is for main",
        ),
        ({"command": ("node",), "hooks": "m"}, "hooks and log-config are for Python apps"),
        ({"command": ("node",), "log_config": "f"}, "hooks and log-config are for Python apps"),
        ({"command": ("node",), "proxy_protocol": True}, "a program takes its connections itself"),
        (
            {"command": ("node",), "ready": "connect:3000", "bind": (TcpAddress("127.0.0.1", 80),)},
            "connect proves nothing with bind",
        ),
    ],
)
def test_an_invalid_target_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        require_target(config(**settings))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "name", "description"),
    [
        ({"app": "shop.web:app"}, "shop.web", "shop.web:app"),
        ({"app": "m:app", "name": "shop"}, "shop", "m:app"),
        ({"command": ("node", "server.js", "-v")}, "server", "node server.js -v"),
        ({"command": ("ruby", "bin/serve")}, "serve", "ruby bin/serve"),
        ({"command": ("python3", "-m", "shop.web")}, "python3", "python3 -m shop.web"),
        ({"command": ("node", "--inspect=0", "-r", "./a.js", "b.js")}, "b", None),
        ({"command": ("python3", "-u", "job.py", "x.py")}, "job", None),
        ({"command": ("npm", "exec", "x.js")}, "npm", None),
        ({"command": ("node", "-e", "1")}, "node", None),
        ({"command": ("redis-server", "6379")}, "redis-server", "redis-server 6379"),
        ({"command": ("/srv/bin/worker",)}, "worker", "/srv/bin/worker"),
        ({"command": ("/",)}, "program", "/"),
        ({"command": ("node", "x.js"), "name": "shop"}, "shop", "node x.js"),
    ],
)
def test_the_name_is_derived_from_the_target(
    settings: dict[str, Any], name: str, description: str | None
) -> None:
    """``description`` None: the words of the command."""
    assert resolve_name(config(**settings)) == name
    if description is None:
        description = " ".join(settings["command"])
    assert describe_target(config(**settings)) == description


@pytest.mark.parametrize("raw", ["", "soon", "0s", "connect", "connect:", "connect:fd://3", None])
def test_an_invalid_ready_condition_is_refused(raw: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        value_types.READY_CONDITION.parse(raw)


@pytest.mark.parametrize("raw", [[""], ["node", 3], ["a\0"], 7, "'"])
def test_an_invalid_command_is_refused(raw: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        value_types.COMMAND.parse(raw)


def test_a_command_as_text_is_split_as_a_shell_would() -> None:
    assert value_types.COMMAND.parse("node 'my server.js' -x -x") == (
        "node",
        "my server.js",
        "-x",
        "-x",
    )


def test_only_a_line_feed_ends_a_notice() -> None:
    """A status text that a client controls must not be able to forge STOPPING=1."""
    for end in "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029":
        status = f"asked for {end}STOPPING=1"
        assert decode_notification(f"STATUS={status}\nREADY=1".encode()) == {
            "STATUS": status,
            "READY": "1",
        }


def test_notices() -> None:
    assert decode_notification(b"READY=1\nSTATUS=a=b \xff\nnonsense\nREADY=2\n") == {
        "READY": "2",
        "STATUS": "a=b \\xff",
    }


@pytest.mark.parametrize("app", ["server.js", "main.py", "prefork.toml", "Procfile"])
def test_a_file_is_no_app(app: str) -> None:
    with pytest.raises(UsageError, match=rf"^{app} (is a (settings )?|names a )file"):
        require_target(Config(app=app))
