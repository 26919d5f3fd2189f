"""A verb that cannot do what it is asked to says why, and the app serves on."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.home import APP, Home, fetch, temporary_home

SETTINGS = 'app = "web:app"\nbind = "127.0.0.1:0"\nname = "web"\n'
BLOCKS = "import time\ndef connect():\n    time.sleep(3600)\nconnect()\n"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as made:
        made.write("p.toml", SETTINGS)
        made.run_ok("start", "p.toml")
        yield made


def test_a_restart_to_an_app_that_cannot_be_loaded_is_refused(home: Home) -> None:
    """The traceback is the answer, and nothing has stopped."""
    before = home.app()
    home.write("p.toml", SETTINGS + "umask = '077'\n")
    home.write("web.py", "print('hello')\n1 / 0\n")
    refused = home.run("restart", "web")
    assert (refused.returncode, refused.stdout) == (102, "")
    assert "prefork: web: not restarted, the present master serves on (" in refused.stderr
    assert "ZeroDivisionError" in refused.stderr
    assert "hello" in refused.stderr, "what the app prints is not for scripts"
    assert home.app()["pid"] == before["pid"]
    assert fetch(home.app()) == b"one"
    home.write("web.py", APP.format(text="two"))
    assert "web: stops and starts: umask changed" in home.run_ok("restart", "web")
    assert fetch(home.app()) == b"two"


def test_a_restart_checks_the_app_in_the_environment_of_its_next_start(home: Home) -> None:
    home.write("web.py", "import os\nos.environ['WANTED']\n" + APP.format(text="two"))
    assert "KeyError" in home.run_failing(102, "restart", "--update-env", "web")
    assert fetch(home.app()) == b"one"
    done = home.run("restart", "--update-env", "web", WANTED="1")
    assert done.returncode == 0, done.stderr
    assert fetch(home.app()) == b"two"


def test_a_restart_whose_app_does_not_load_in_time_is_refused(home: Home) -> None:
    home.write("p.toml", SETTINGS + "umask = '077'\nboot-timeout = '1s'\n")
    home.write("web.py", BLOCKS)
    error = home.run_failing(102, "restart", "web")
    assert "did not end within --boot-timeout 1s" in error
    assert "in connect" in error
    assert fetch(home.app()) == b"one"
    home.write("p.toml", SETTINGS + "umask = '077'\n")
    error = home.run_failing(111, "restart", "--timeout", "1", "web")
    assert "the check of the next start did not end within 1 s" in error
    assert fetch(home.app()) == b"one"


def test_an_address_in_use_stops_nothing(home: Home) -> None:
    """Neither the preview of a reload nor a restart takes it for granted."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        home.write("p.toml", SETTINGS.replace(":0", f":{port}") + "umask = '077'\n")
        dry = home.run("reload", "--dry-run", "web")
        assert dry.returncode == 100
        assert "  bind: " in dry.stdout
        assert "would not be reloaded: cannot listen on" in dry.stderr
        assert "the port is in use" in dry.stderr
        assert "the port is in use" in home.run_failing(111, "restart", "web")
        home.write("p.toml", SETTINGS + f"status = '127.0.0.1:{port}'\n")
        home.run_ok("reload", "--dry-run", "web")
        assert "the port is in use" in home.run_failing(111, "restart", "web")
    assert fetch(home.app()) == b"one"


def test_a_dry_run_leaves_the_address_free(home: Home) -> None:
    path = home.folder / "web.sock"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home.write("p.toml", SETTINGS.replace('"127.0.0.1:0"', f'["127.0.0.1:{port}", "unix:{path}"]'))
    assert "web: 1 worker now, 1 then" in home.run_ok("reload", "--dry-run", "web")
    assert not path.exists()
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) != 0


def test_a_failed_restart_that_is_a_reload_answers_with_the_reason_only(home: Home) -> None:
    home.write("web.py", "1 / 0\n")
    refused = home.run("restart", "web")
    assert (refused.returncode, refused.stdout) == (102, "")
    assert (
        "reload failed, gen 1 serves on: worker 0: web:app: importing web failed" in refused.stderr
    )


def test_a_reload_names_the_options_that_take_a_restart(home: Home) -> None:
    home.write("p.toml", SETTINGS + "umask = '077'\npid-file = 'w.pid'\n")
    advice = "web: changing umask, pid-file takes `prefork restart web`\n"
    assert home.run_ok("reload", "web").endswith(advice)
    assert home.run_ok("reload", "--no-wait", "web") == f"web: reloading\n{advice}"


def test_a_reload_that_is_not_ready_in_time_names_the_limit_and_the_place(home: Home) -> None:
    home.write("p.toml", SETTINGS + "boot-timeout = '1s'\n")
    home.write("web.py", BLOCKS)
    error = home.run_failing(102, "reload", "web")
    place = r"it is at /.*/web.py:3 in connect$"
    limit = r"reload failed, gen 1 serves on: worker 0: not ready within --boot-timeout 1s: "
    assert re.search(limit + place, error, re.MULTILINE), error
    assert re.search(place, home.run_ok("why", "web"), re.MULTILINE)


def test_a_start_that_is_not_ready_in_time_names_the_limit_and_the_place(home: Home) -> None:
    home.write("late.py", BLOCKS)
    words = ("-b", "127.0.0.1:0", "--boot-timeout", "1s", "--name", "late", "late:app")
    error = home.run_failing(102, "start", *words)
    wanted = r"worker 0: not ready within --boot-timeout 1s: it is at /.*/late.py:3 in connect$"
    assert re.search(wanted, error, re.MULTILINE), error


def test_why_tells_when_settings_were_refused(home: Home) -> None:
    home.write("p.toml", SETTINGS + "workers = 'many'\n")
    home.run_failing(100, "reload", "web")
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.match(rf"{when} the last reload failed: .*workers", home.run_ok("why", "web"))
    assert "the last reload failed; see `prefork why web`" in home.run_ok("list")
    home.run_ok("stop", "web")
    home.run_failing(100, "start", "web")
    home.write("p.toml", SETTINGS)
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        home.run_failing(111, "start", "-b", f"127.0.0.1:{port}", "--name", "taken", "web:app")
    assert re.match(rf"{when} the master ended: did not start: ", home.run_ok("why", "taken"))
    assert "ERROR not started: cannot listen on " in home.run_ok("logs", "taken")


def test_a_start_without_its_module_leaves_no_entry(home: Home) -> None:
    for words in (["missing"], ["missing:app", "--name", "new"], ["missing.part:app"]):
        refused = home.run_failing(102, "start", "-b", "127.0.0.1:0", *words)
        assert f"there is no module 'missing' in {home.folder} or on the Python path" in refused
        assert ("There is no app missing" in refused) == (words == ["missing"])
    home.write("broken.py", "import no_such_module\n")
    home.run_failing(102, "start", "-b", "127.0.0.1:0", "broken")
    refused = home.run_failing(100, "start", "-b", "127.0.0.1:0", "--chdir", "nowhere", "new:app")
    assert f"chdir: there is no folder {home.folder}/nowhere" in refused
    assert [app["name"] for app in home.client.apps()] == ["broken", "web"]


def test_an_app_of_the_list_takes_no_options_at_its_start(home: Home) -> None:
    home.start("shop")
    for words in (["show", "shop"], ["stop", "shop"]):  # it runs, and then it does not
        home.run_ok(*words)
        refused = home.run_failing(100, "start", "shop", "-w", "2")
        assert "shop is an app of the list, which `prefork start shop` starts" in refused
        assert "There is no app" not in refused
    home.run_ok("start", "shop")


def test_a_module_is_looked_for_where_the_worker_imports_it(home: Home) -> None:
    (home.folder / "in").mkdir()
    home.write("in/inner.py", "from web import app\n")
    options = ("-b", "127.0.0.1:0", "inner:app")
    home.run_ok("start", "--name", "one", "--chdir", "in", "--pythonpath", ".", *options)
    home.run_ok("start", "--name", "two", "--pythonpath", "in,.", *options)


def test_a_name_that_another_home_has_is_answered_with_it(home: Home, tmp_path: Path) -> None:
    usual = tmp_path / ".prefork"
    where = {"HOME": str(tmp_path)}
    words = ("start", "-b", "127.0.0.1:0", "--name", "shop", "web:app")
    assert home.run(*words, **where, PREFORK_HOME=str(usual)).returncode == 0
    home.run("stop", "shop", **where, PREFORK_HOME=str(usual))
    for verb, code in (("start", 102), ("reload", 100)):
        refused = home.run(verb, "shop", **where)
        assert refused.returncode == code
        assert f"{usual} has one: PREFORK_HOME={usual} prefork start shop" in refused.stderr
    assert [app["name"] for app in home.client.apps()] == ["web"]
