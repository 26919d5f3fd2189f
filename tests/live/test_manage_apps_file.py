"""Apps from a file: missing apps start, changed apps reload, the others keep running."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prefork.unix.cores import usable_cores
from tests.live.home import APP, Home, fetch, temporary_home

ECHO = """\
import os
def app(environ, start_response):
    start_response("200 OK", [])
    return [",".join(os.environ.get(name, "-") for name in ("A", "B", "C")).encode()]
"""

FILE = """\
[defaults]
bind = ["127.0.0.1:0"]
namespace = "shop"
[defaults.env]
A = "all"

[apps.web]
app = "web:app"
after = "db"
[apps.web.env]
B = "web"
[apps.web.env_production]
C = "real"

[apps.db]
app = "web:app"
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as made:
        made.write("web.py", ECHO)
        made.write("prefork.toml", FILE)
        yield made


def generations(home: Home) -> dict[str, Any]:
    return {app["name"]: app["generation"] for app in home.client.apps()}


def test_the_apps_of_a_file_follow_the_file(home: Home) -> None:
    """Start in order, keep unchanged apps, reload changed ones, refuse a broken file, prune."""
    plan = home.run_ok("start", "prefork.toml", "--dry-run")
    assert plan == "db: would be started\nweb: would be started\n"
    assert home.client.apps() == []
    output = home.run_ok("start", "prefork.toml", "--env", "production")
    assert output.index("db: running") < output.index("web: running")
    assert fetch(home.app("web")) == b"all,web,real"
    assert fetch(home.app("db")) == b"all,-,-"
    assert home.app("web")["namespace"] == "shop"

    again = home.run_ok("start", "prefork.toml", "--env", "production")
    assert again == "db: unchanged\nweb: unchanged\n"
    assert generations(home) == {"db": 1, "web": 1}

    changed = FILE.replace('B = "web"\n', "").replace(
        'app = "web:app"\nafter', 'app = "web:app"\nworkers = 2\nlog-file = "w.log"\nafter'
    )
    home.write("prefork.toml", changed)
    plan = home.run_ok("reload", "--dry-run", "web")
    assert "workers: 1 -> 2" in plan
    assert "env B: set -> unset" in plan
    assert "changing log-file takes `prefork restart web`" in plan
    output = home.run_ok("start", "prefork.toml", "--env", "production")
    assert "db: unchanged" in output
    assert "web: reloaded to gen 2 (workers, env B, log-file)" in output
    assert "changing log-file takes `prefork restart web`" in output
    assert fetch(home.app("web")) == b"all,-,real"
    assert home.app("web")["ready"] == 2
    # A restart that is needed is named until it is done.
    assert "takes `prefork restart" in home.run_ok("start", "prefork.toml", "--env", "production")
    home.run_ok("restart", "web")
    assert "web: unchanged" in home.run_ok("start", "prefork.toml", "--env", "production")
    assert (home.folder / "w.log").exists()

    home.write("prefork.toml", changed.replace("workers", "wrokers"))
    output = home.run_failing(100, "reload", "web")
    assert "[apps.web]: no option is called 'wrokers'; did you mean workers?" in output
    assert home.app("web")["generation"] == 1

    home.write("prefork.toml", FILE[: FILE.index("[apps.web]")] + '[apps.db]\napp = "web:app"\n')
    assert "there is no [apps.web]" in home.run_failing(100, "reload", "web")
    assert "web: would be stopped" in home.run_ok("start", "prefork.toml", "--prune", "--dry-run")
    assert "web: deleted" in home.run_ok("start", "prefork.toml", "--prune")
    assert list(generations(home)) == ["db"]


def test_a_namespace_means_all_its_apps(home: Home) -> None:
    home.run_ok("start", "prefork.toml", "--only", "web")
    assert list(generations(home)) == ["web"]
    home.run_ok("start", "-b", "127.0.0.1:0", "--namespace", "shop", "-n", "other", "web:app")
    assert home.run_ok("reload", "shop").count("reloaded to gen 2") == 2
    assert "shop" in home.run_ok("list")
    assert home.run_ok("stop", "shop").count("stopped") == 2
    assert home.run_ok("start", "shop").count("running") == 2


def test_an_app_that_fails_keeps_those_after_it_from_starting(home: Home) -> None:
    home.write("prefork.toml", FILE.replace('[apps.db]\napp = "web:app"', '[apps.db]\napp = "x:y"'))
    output = home.run_failing(102, "start", "prefork.toml")
    assert "no module 'x'" in output
    assert "web: not started, db comes before it" in output
    assert [(app["name"], app["state"]) for app in home.client.apps()] == [("db", "failed")]
    assert "no module 'x'" in home.run_failing(102, "check", "prefork.toml")


MEETS = """\
import os, time
def wait_for(name):
    open("has-" + os.environ["ME"], "w").close()
    until = time.monotonic() + 20
    while not os.path.exists("has-" + name):
        if time.monotonic() > until:
            raise RuntimeError(name + " does not boot")
        time.sleep(0.005)
wait_for(os.environ["OTHER"])
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"met"]
"""


@pytest.mark.skipif(usable_cores() < 2, reason="one app starts at a time on one core")
def test_apps_that_do_not_wait_for_each_other_start_at_the_same_time(home: Home) -> None:
    home.write("meets.py", MEETS)
    table = (
        '[apps.{0}]\napp = "meets:app"\nbind = ["127.0.0.1:0"]\nenv = {{ME="{0}", OTHER="{1}"}}\n'
    )
    home.write("prefork.toml", table.format("a", "b") + table.format("b", "a"))
    output = home.run_ok("start", "prefork.toml")
    assert output.count("running") == 2
    assert fetch(home.app("b")) == b"met"


def test_a_mistake_in_the_table_of_another_app_prevents_no_reload(home: Home) -> None:
    home.run_ok("start", "prefork.toml", "--only", "db")
    home.write("prefork.toml", FILE.replace('after = "db"', 'after = "db"\nwrokers = 2'))
    assert "reloaded to gen 2" in home.run_ok("reload", "db")
    assert "wrokers" in home.run_failing(100, "start", "prefork.toml")


def test_a_file_whose_app_is_frozen_or_hangs_is_not_as_it_should_be(home: Home) -> None:
    home.write("one.toml", '[apps.web]\napp = "web:app"\nbind = "127.0.0.1:0"\n')
    home.run_ok("start", "one.toml")
    home.write("web.py", "import nonsense\n")
    home.run_failing(102, "reload", "web")
    said = home.run_failing(102, "start", "one.toml")
    assert "web: unchanged, but frozen: the last reload failed, and gen 1 serves on: " in said
    assert "importing web failed" in said
    assert "`prefork reload web`" in said
    assert "frozen" in home.run_ok("start", "one.toml", "--dry-run")
    home.write("web.py", ECHO)
    home.run_ok("reload", "web")
    assert home.run_ok("start", "one.toml") == "web: unchanged\n"
    os.kill(home.app()["pid"], signal.SIGSTOP)
    assert "`prefork stop --force web`" in home.run_failing(111, "start", "one.toml")


def test_a_file_of_one_app_is_started_by_its_name_too(home: Home) -> None:
    home.write("one.toml", 'app = "web:app"\nbind = "127.0.0.1:0"\nname = "single"\n')
    home.run_ok("start", "one.toml")
    assert home.run_ok("start", "one.toml") == "single: unchanged\n"
    home.write("one.toml", 'app = "web:app"\nbind = "127.0.0.1:0"\nname = "single"\nworkers = 2\n')
    assert "reloaded to gen 2 (workers)" in home.run_ok("start", "one.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("workers = 2", 'bad.toml: no app, as in app = "myapp:main"'),
        ("[apps.web]\nworkers = 2", 'bad.toml, [apps.web]: no app, as in app = "myapp:main"'),
        ('app = "server.js"', "bad.toml: server.js names a file"),
        (
            '[apps.db]\napp = "web:app"\n[apps.web]\napp = "web:app"\ncommand = "sleep 1"',
            "bad.toml, [apps.web]: app = web:app and a command, sleep",
        ),
    ],
)
def test_a_wrong_target_is_named_with_its_place_in_the_file(
    home: Home, text: str, expected: str
) -> None:
    home.write("bad.toml", text)
    for verb in ("start", "check"):
        assert f"{home.folder}/{expected}" in home.run_failing(100, verb, "bad.toml")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["start", "prefork.toml", "--only", "wbe"], "no [apps.wbe]; did you mean web?"),
        (["start", "prefork.toml", "--env", "prodction"], "did you mean production?"),
        (["start", "nope.toml"], "cannot read"),
        (["start", "prefork.toml", "-w", "4"], "-w is an option of serving, and start FILE takes"),
        (["-c", "prefork.toml"], "has several apps"),
        (["--section", "web", "web:app"], "--section needs the file"),
        (["relaod", "web"], "there is no verb relaod; did you mean reload?"),
        (["help", "relaod"], "no topic, verb or option relaod; did you mean reload"),
        (["kill", "web"], "there is no verb kill as in PM2: prefork stop APP --quick"),
        (["serve"], "in the background. An app of this name is serve:CALLABLE"),
        (["update"], "pip installs a new prefork"),
    ],
)
def test_wrong_arguments_are_refused_with_a_hint(
    home: Home, arguments: list[str], expected: str
) -> None:
    assert expected in home.run_failing(100, *arguments)


@pytest.mark.parametrize("word", ["help", "version", "kill", "ps", "status", "update", "deploy"])
def test_a_word_with_a_meaning_is_not_imported_and_served(home: Home, word: str) -> None:
    home.write(f"{word}.py", "raise SystemExit('imported')")
    done = home.run(word)
    assert "imported" not in done.stdout + done.stderr
    assert done.returncode == (100 if word in ("kill", "update", "deploy") else 0)


def test_help_and_version_are_words_too(home: Home) -> None:
    # The manual also names the options that other servers call so, as in gunicorn's --reload.
    assert home.run_ok("help", "reload").startswith(home.run_ok("reload", "--help"))
    assert home.run_ok("help", "start").startswith(home.run_ok("start", "--help"))
    assert home.run_ok("version") == home.run_ok("--version")


def test_an_app_that_was_not_started_from_the_file_is_refused(home: Home) -> None:
    home.write("web.py", APP.format(text="one"))
    home.start()
    refused = home.run_failing(100, "start", "prefork.toml")
    assert "runs already, and not from" in refused
    assert "`prefork stop web` first" in refused
    assert list(generations(home)) == ["web"]
    home.run_ok("stop", "web")
    home.run_ok("start", "prefork.toml")
    assert home.app("web")["section"] == "web"


def test_another_stage_is_served_after_the_proposed_stop(home: Home) -> None:
    home.run_ok("start", "prefork.toml", "--only", "web")
    again = ("start", "prefork.toml", "--only", "web", "--env", "production")
    assert "web: another --env takes `prefork stop web` and this start" in home.run_ok(*again)
    assert fetch(home.app("web")) == b"all,web,-"
    home.run_ok("stop", "web")
    home.run_ok(*again)
    assert fetch(home.app("web")) == b"all,web,real"
