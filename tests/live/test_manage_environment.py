"""The environment of an app: kept from its start on, whatever shell later commands come from."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import wait_for
from tests.live.home import Home, fetch, temporary_home

APP = """\
import json, os
import greeting

def app(environ, start_response):
    start_response("200 OK", [])
    return [json.dumps([greeting.TEXT, os.environ.get("WORD"), sorted(os.environ)]).encode()]
"""
LOGIN = {"SSH_CLIENT": "10.0.0.7", "SUDO_USER": "ann", "DISPLAY": ":0", "INVOCATION_ID": "ab"}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as made:
        for text in ("one", "two"):
            (made.folder / text).mkdir()
            made.write(f"{text}/greeting.py", f"TEXT = {text!r}\n")
        made.write("web.py", APP)
        yield made


def shell(home: Home, text: str) -> dict[str, str]:
    """Return variables that a shell has, one of which Python reads when it starts."""
    return {"WORD": text, "PYTHONPATH": str(home.folder / text), **LOGIN}


def run(home: Home, text: str, *words: str) -> str:
    """Run a command that succeeds, from the shell of this text."""
    done = home.run(*words, **shell(home, text))
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def seen(home: Home) -> tuple[str, str]:
    """Return what the app got from the shell that it was started from."""
    greeting, word, names = json.loads(fetch(home.app()))
    assert not set(names) & set(LOGIN)
    assert "PREFORK_HOME" in names
    return greeting, word


def test_an_app_keeps_the_environment_that_it_was_started_with(home: Home) -> None:
    run(home, "one", "start", "-b", "127.0.0.1:0", "--name", "web", "-e", "EXTRA=x", "web:app")
    kept = home.home / "web" / "environment"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert seen(home) == ("one", "one")
    port = home.app()["listening"]
    assert "web: stopped\nweb: running" in run(home, "two", "restart", "--stop-first", "web")
    assert (seen(home), home.app()["listening"]) == (("one", "one"), port)
    run(home, "two", "reload", "web")
    assert seen(home) == ("one", "one")
    run(home, "two", "stop", "web")
    run(home, "two", "start", "web")
    assert seen(home) == ("one", "one")
    assert "web: stopped\nweb: running" in run(home, "two", "restart", "--update-env", "web")
    assert seen(home) == ("two", "two")
    run(home, "one", "stop", "web")
    run(home, "one", "start", "--update-env", "web")
    assert seen(home) == ("one", "one")


def test_a_saved_app_comes_back_with_its_environment(home: Home) -> None:
    run(home, "one", "start", "-b", "127.0.0.1:0", "--name", "web", "-e", "EXTRA=x", "web:app")
    run(home, "two", "save")
    saved = home.home / "saved.toml"
    assert saved.stat().st_mode & 0o777 == 0o600
    os.kill(home.app()["pid"], signal.SIGKILL)
    wait_for(lambda: home.app()["state"] == "dead", "it is dead")
    run(home, "two", "delete", "web")
    assert not (home.home / "web").exists()
    run(home, "two", "resurrect")
    assert seen(home) == ("one", "one")
    assert "EXTRA" in json.loads(fetch(home.app()))[2]


def test_a_program_is_found_by_the_path_that_it_was_started_with(home: Home) -> None:
    program = home.folder / "one" / "ticks"
    program.write_text(
        f"#!{sys.executable}\nimport time\nprint('tick', flush=True)\ntime.sleep(1e6)\n"
    )
    program.chmod(0o755)
    path = os.environ["PATH"]
    words = ("start", "--name", "web", "--ready", "10ms", "--", "ticks")
    assert home.run(*words, PATH=f"{program.parent}:{path}").returncode == 0
    home.run_ok("stop", "web")
    assert "running" in home.run_ok("start", "web")


def test_apps_of_a_file_keep_their_environment(home: Home) -> None:
    home.write("prefork.toml", '[apps.web]\napp = "web:app"\nbind = "127.0.0.1:0"\n')
    run(home, "one", "start", "prefork.toml")
    run(home, "two", "stop", "web")
    run(home, "two", "start", "prefork.toml")
    assert seen(home) == ("one", "one")
    run(home, "two", "stop", "web")
    run(home, "two", "start", "prefork.toml", "--update-env")
    assert seen(home) == ("two", "two")


def test_values_are_printed_by_no_command_without_reveal(home: Home) -> None:
    words = ("start", "-b", "127.0.0.1:0", "--name", "web", "web:app")
    assert home.run(*words, **shell(home, "one"), TOKEN="s3cret").returncode == 0
    verbs = (("list", "--json"), ("show", "web", "--json"), ("report",), ("env", "web"), ("save",))
    assert "s3cret" not in "".join(home.run_ok(*verb) for verb in verbs)
    assert "TOKEN=s3cret\n" in home.run_ok("env", "web", "--reveal")


def test_a_broken_environment_file_is_named_with_the_way_out(home: Home) -> None:
    run(home, "one", "start", "-b", "127.0.0.1:0", "--name", "web", "web:app")
    run(home, "one", "stop", "web")
    (home.home / "web" / "environment").write_text("{}}")
    error = home.run_failing(111, "start", "web")
    assert "web/environment is not what prefork wrote" in error
    assert "--update-env replaces it" in error
    run(home, "two", "start", "--update-env", "web")
    assert seen(home) == ("two", "two")
