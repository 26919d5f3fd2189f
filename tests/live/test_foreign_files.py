"""Files of PM2, supervisor and Heroku are started and converted, and so are scripts."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import wait_for
from tests.live.home import Home, temporary_home

ECOSYSTEM = {
    "apps": [
        {"name": "one", "script": "./one.sh", "env": {"A": "1"}, "env_production": {"A": "2"}},
        {"name": "two", "script": "sleep 1000", "max_memory_restart": "300M", "out_file": "x"},
    ]
}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as home:
        home.write("one.sh", "#!/bin/sh\nexec sleep 1000\n")
        (home.folder / "one.sh").chmod(0o755)
        yield home


def test_an_ecosystem_file_is_started_and_started_again(home: Home) -> None:
    home.write("ecosystem.json", json.dumps(ECOSYSTEM))
    started = home.run("start", "ecosystem.json", "--env", "production")
    assert started.returncode == 0, started.stderr
    assert "two: not carried over: PM2's out_file is log-dir here" in started.stderr
    assert {app["name"]: app["state"] for app in home.client.apps()} == {
        "one": "running",
        "two": "running",
    }
    assert "A=2" in home.run("env", "one", "--reveal").stdout
    again = home.run("start", "ecosystem.json", "--env", "production")
    assert again.stdout == "one: unchanged\ntwo: unchanged\n"
    assert "two: stopped" in home.run("stop", "ecosystem.json").stdout
    assert (
        "there is no app '0'; `prefork list` shows all apps, which go by"
        in home.run("show", "0").stderr
    )
    only = {"apps": ECOSYSTEM["apps"][:1]}
    home.write("ecosystem.json", json.dumps(only))
    pruned = home.run("start", "ecosystem.json", "--env", "production", "--prune")
    assert "two: deleted" in pruned.stdout
    assert "one: reloaded" in home.run("reload", "ecosystem.json").stdout
    assert "one: deleted" in home.run("delete", "ecosystem.json").stdout
    assert "no app in the list is from ecosystem.json" in home.run("stop", "ecosystem.json").stderr


def test_an_ecosystem_file_in_javascript_is_evaluated(home: Home) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not on this machine")
    home.write("ecosystem.config.js", f"console.log(1);\nmodule.exports = {json.dumps(ECOSYSTEM)};")
    assert '[apps.one]\ncommand = ["./one.sh"]' in home.run("convert", "ecosystem.config.js").stdout
    home.write("ecosystem.config.mjs", f"export default {json.dumps(ECOSYSTEM)};")
    checked = home.run("check", "ecosystem.config.mjs")
    assert checked.stdout.startswith("one: ok: "), checked.stderr
    home.write("wrong.config.js", "throw new Error('mine')")
    failed = home.run("start", "wrong.config.js")
    assert failed.returncode == 100
    assert "mine" in failed.stderr
    assert "wrong.config.js could not be evaluated" in failed.stderr


def test_a_procfile_is_started(home: Home) -> None:
    home.write("Procfile", "web: gunicorn web:app -b 127.0.0.1:0 -k gevent\njobs: sleep 1000\n")
    started = home.run("start", "Procfile")
    assert started.returncode == 0, started.stderr
    assert "web: ignored: gunicorn's -k gevent is not to be had" in started.stderr
    assert sorted(app["name"] for app in home.client.apps()) == ["jobs", "web"]


def test_a_supervisord_conf_is_started_with_the_files_that_it_includes(home: Home) -> None:
    (home.folder / "conf.d").mkdir()
    home.write("supervisord.conf", "[supervisord]\nuser=root\n[include]\nfiles = conf.d/*.conf\n")
    home.write(
        "conf.d/jobs.conf",
        "[program:jobs]\ncommand=sleep 1000\nnumprocs=2\nprocess_name=j%(process_num)d\n"
        'autostart=false\nenvironment=A="%(here)s",B="%(ENV_MINE)s"\n',
    )
    assert "the environment has no MINE" in home.run("convert", "supervisord.conf").stderr
    converted = home.run("convert", "supervisord.conf", MINE="x").stdout
    assert "[apps.jobs]\n# not carried over: supervisor's autostart" in converted
    started = home.run("start", "supervisord.conf", MINE="x")
    assert started.returncode == 0, started.stderr
    assert "[supervisord]: not carried over: supervisor's user is" in started.stderr
    app = home.app("jobs")
    assert (app["state"], len(app["workers"])) == ("running", 2)
    shown = home.run("env", "jobs", "--reveal").stdout
    assert f"A={home.folder}/conf.d" in shown
    assert "B=x" in shown
    assert "jobs: deleted" in home.run("delete", "supervisord.conf").stdout
    home.write("uwsgi.ini", "[uwsgi]\nmodule = web:app\n")
    assert "uWSGI are not converted: module is MODULE" in home.run("convert", "uwsgi.ini").stderr


def test_a_python_script_is_started_and_an_app_is_not(home: Home) -> None:
    home.write("job.py", "import time\nwhile True:\n    time.sleep(1)\n")
    started = home.run("start", "job.py", "--max-memory-restart", "300M", "-k", "gevent")
    assert started.returncode == 0, started.stderr
    assert "ignored: gunicorn's -k gevent" in started.stderr
    (app,) = home.client.apps()
    assert (app["name"], app["settings"]["max-memory"]) == ("job", "300m")
    assert "prefork start web:app serves it" in home.run("start", "web.py").stderr


def test_a_command_line_in_one_word_is_started(home: Home) -> None:
    (home.folder / "in").mkdir()
    home.run_ok("start", "sh -c 'exec sleep 1000'", "--name", "one")
    home.run_ok("start", "cd in && exec sleep 1000", "--name", "two")
    assert [app["state"] for app in home.client.apps()] == ["running", "running"]


def test_a_program_with_its_arguments_gets_the_line_to_type(home: Home) -> None:
    for words, line in (
        (["sh", "./one.sh"], "prefork start -- sh ./one.sh"),
        (["-w", "2", "gunicorn", "web:app"], "leave out gunicorn: prefork start -w 2 web:app"),
        (["python", "-m", "uvicorn", "web:app"], "prefork start web:app"),
        (["gunicorn.conf.py"], "prefork convert gunicorn.conf.py > prefork.toml"),
    ):
        assert line in home.run_failing(100, "start", *words)
    assert home.client.apps() == []


def test_check_and_print_config_start_nothing(home: Home) -> None:
    target = ("web:app", "-b", "127.0.0.1:0")
    home.write("broken.py", "1 / 0")
    assert home.run_ok("start", *target, "--check").startswith("ok: web:app: wsgi")
    assert 'app = "web:app"' in home.run_ok("start", "--print-config", *target)
    assert home.run_ok("start", "./one.sh", "--check").startswith("ok: ./one.sh")
    assert "importing broken failed" in home.run_failing(102, "start", "--check", "broken")
    said = home.run_failing(100, "start", "ecosystem.json", "--check")
    assert "type `prefork check ecosystem.json`" in said
    assert home.client.apps() == []


def test_a_word_behind_watch_is_a_path(home: Home) -> None:
    (home.folder / "src").mkdir()
    home.run_ok("start", "./one.sh", "--watch", "src", "--name", "job")
    wait_for(lambda: f"watching {home.folder}/src\n" in home.run_ok("logs", "job"), "it is watched")


def test_a_procfile_that_needs_a_port_says_so(home: Home) -> None:
    home.write("Procfile", "web: gunicorn web:app -b 127.0.0.1:$PORT\n")
    refused = home.run_failing(100, "start", "Procfile")
    assert "the line needs PORT" in refused
    assert "type PORT=8000 prefork …" in refused
    assert home.client.apps() == []


def test_gunicorn_addresses_in_one_text_are_converted(home: Home) -> None:
    home.write("gunicorn.conf.py", "bind = '127.0.0.1:0,unix:web.sock'\nwsgi_app = 'web:app'\n")
    home.write("prefork.toml", home.run_ok("convert", "gunicorn.conf.py"))
    home.run_ok("start", "prefork.toml")
    assert len(home.app()["listening"]) == 2


def test_gunicorn_settings_are_converted_and_never_read_in_place(home: Home) -> None:
    home.write(
        "gunicorn.conf.py",
        "import os\nprint('hello')\nbind = '127.0.0.1:0'\nworkers = 1 + 1\nwsgi_app = 'web:app'\n"
        "worker_class = 'gevent'\ndef post_fork(server, worker): ...\n",
    )
    refused = home.run("-c", "gunicorn.conf.py", "web:app")
    assert refused.returncode == 100
    assert "gunicorn.conf.py > prefork.toml` makes a settings file" in refused.stderr
    converted = home.run("convert", "gunicorn.conf.py")
    assert "# not carried over: gunicorn's post_fork" in converted.stdout
    home.write("prefork.toml", converted.stdout)
    checked = home.run("--check", "-c", "prefork.toml")
    assert checked.stdout.startswith("ok: web:app: "), checked.stderr
    assert "2 workers" in checked.stdout


def test_settings_without_an_app_are_served_with_the_app_of_the_command_line(home: Home) -> None:
    """As ``gunicorn -c gunicorn.conf.py web:app`` does it."""
    home.write("gunicorn.conf.py", "bind = '127.0.0.1:0'\nworkers = 2\n")
    home.write("prefork.toml", home.run("convert", "gunicorn.conf.py").stdout)
    checked = home.run("--check", "-c", "prefork.toml", "web:app")
    assert checked.stdout.startswith("ok: web:app: "), checked.stderr
    assert "# The file names no app" in (home.folder / "prefork.toml").read_text()
