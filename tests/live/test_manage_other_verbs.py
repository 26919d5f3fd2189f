"""Verbs around an app: save, resurrect, startup, init, check, env, report, and no-wait."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prefork.unix.control import connect
from prefork.wire import control as wire
from tests.live.harness import PATIENCE, wait_for
from tests.live.home import APP, Home, fetch, temporary_home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with temporary_home(tmp_path) as made:
        yield made


def test_saved_apps_are_resurrected_with_their_variables(home: Home) -> None:
    home.write("p.toml", 'app = "web:app"\nbind = "127.0.0.1:0"\nname = "filed"\n')
    home.run_ok("start", "p.toml")
    home.start("web", "-e", "TOKEN=s3cret", "-w", "2")
    assert home.run_ok("save") == f"saved 2 apps in {home.home / 'saved.toml'}\n"
    saved = home.home / "saved.toml"
    assert saved.stat().st_mode & 0o777 == 0o600
    assert list(tomllib.loads(saved.read_text())["apps"]) == ["filed", "web"]

    os.kill(home.app("web")["pid"], signal.SIGKILL)
    wait_for(lambda: home.app("web")["state"] == "dead", "it is dead")
    home.run_ok("delete", "web")
    home.run_ok("stop", "filed")
    output = home.run_ok("resurrect")
    assert "filed: running" in output
    assert "web: running" in output
    assert fetch(home.app("web")) == b"one"
    assert home.app("web")["target"] == 2
    assert "TOKEN=s3cret\n" in home.run_ok("env", "web", "--reveal")
    assert home.run_ok("resurrect") == ""


ODD = (
    r"a\x41b",
    "\x1b[31m",
    "\x7f",
    "\xa0",
    "two\nlines",
    'a "quote"',
    "\u202e",
    "",
    "\udcff\udc80",
)
"""Arguments that need care when they are written as TOML."""


def test_arguments_are_resurrected_as_they_were(home: Home) -> None:
    """The program writes its arguments to a file, and sleeps."""
    source = (
        "import json, sys, time; json.dump(sys.argv[1:], open('arguments', 'w')); time.sleep(1e6)"
    )
    arguments = ("--name", "odd", "--", sys.executable, "-c", source, *ODD)
    home.run_ok("start", *arguments)
    written = home.folder / "arguments"
    assert wait_for(lambda: read_json(written), "its arguments") == list(ODD)
    home.run_ok("save")
    home.run_ok("delete", "odd")
    written.unlink()
    home.run_ok("resurrect")
    assert wait_for(lambda: read_json(written), "its arguments again") == list(ODD)


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["stop", ODD[-1]], 100, r"there is no app '\udcff\udc80'"),
        (["list", ODD[-1]], 100, r"unrecognized arguments: \udcff\udc80"),
        (["help", ODD[-1]], 100, r"no topic, verb or option \udcff\udc80"),
        (["-c", ODD[-1], "web:app"], 100, r"cannot read .*/\udcff\udc80"),
        (["--chdir", ODD[-1], "web:app"], 100, r"there is no folder .*/\udcff\udc80"),
        (["-b", "127.0.0.1:0", ODD[-1]], 102, r"there is no module '\udcff\udc80'"),
        (["start", "--name", ODD[-1], "web:app"], 100, r"the name '\udcff\udc80' cannot be used"),
    ],
)
def test_arguments_that_are_no_utf8_are_named_in_errors(
    home: Home, arguments: list[str], code: int, expected: str
) -> None:
    done = home.run(*arguments)
    assert re.search(expected.replace("\\", r"\\"), done.stderr), done.stderr
    assert "bug" not in done.stderr
    assert done.returncode == code


def test_a_folder_whose_name_is_no_utf8_works(home: Home) -> None:
    folder = home.folder / "f\udcff"
    folder.mkdir()
    (folder / "web.py").write_text(APP.format(text="odd"))
    home.run_ok("start", "-b", "127.0.0.1:0", "--chdir", str(folder), "web:app")
    home.run_ok("reload", "web")
    home.run_ok("save")
    home.run_ok("delete", "web")
    home.run_ok("resurrect")
    assert fetch(home.app("web")) == b"odd"


def read_json(path: Path) -> object:
    """Return the content of a JSON file; None: it is missing or not complete yet."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def test_resurrect_needs_a_saved_file(home: Home) -> None:
    assert "`prefork save` writes it" in home.run_failing(100, "resurrect")
    home.home.mkdir()
    (home.home / "saved.toml").write_text("apps = 3\n")
    assert "did not write" in home.run_failing(100, "resurrect")


def test_init_writes_a_valid_file_and_overwrites_none(home: Home) -> None:
    home.run_ok("init")
    home.write("myapp.py", APP.format(text="x").replace("def app", "def main"))
    assert "web: ok: myapp:main" in home.run_ok("check", "prefork.toml")
    assert home.run_ok("check", "web:app").startswith("ok: web:app: wsgi")
    assert home.run_failing(102, "check", "web:no").startswith("prefork: web:no: web has no 'no'")
    assert "there is a prefork.toml" in home.run_failing(100, "init")
    home.write("myapp.py", "1 / 0\n")
    assert "ZeroDivisionError" in home.run_failing(102, "check", "prefork.toml")


def test_startup_writes_a_unit_of_this_home(home: Home, tmp_path: Path) -> None:
    unit_text = home.run_ok("startup", "--user", "--dry-run")
    assert f'Environment="PREFORK_HOME={home.home}"' in unit_text
    assert f'ExecStart=-"{sys.executable}" -m prefork resurrect' in unit_text
    assert "# systemctl --user enable prefork-resurrect.service" in unit_text
    # A reader that closes the pipe is no error of prefork.
    command = f"{sys.executable} -m prefork startup --user --dry-run"
    shell = f"set -o pipefail; {command} | true; {command} | head -1"
    ended = subprocess.run(
        ["bash", "-c", shell], capture_output=True, text=True, env=home.environ(), check=False
    )
    assert "bug" not in ended.stderr
    # A systemctl that writes its arguments to a file.
    tools = tmp_path / "bin"
    tools.mkdir()
    systemctl = tools / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    systemctl.chmod(0o755)
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "PATH": f"{tools}:/usr/bin:/bin"}
    unit = tmp_path / "config/systemd/user/prefork-resurrect.service"
    assert home.run("startup", "--user", **environ).returncode == 0
    assert unit.read_text() in unit_text
    assert home.run("startup", "--user", **environ).returncode == 0, "once more"
    for foreign in ("[Service]\n", ""):
        unit.write_text(foreign)
        for verb in ("startup", "unstartup"):
            done = home.run(verb, "--user", **environ)
            assert done.returncode == 100
            assert f"{unit} was not written by `prefork startup`" in done.stderr
            assert unit.read_text() == foreign
    unit.unlink()
    unit.symlink_to("/dev/null")  # as systemctl mask does
    assert home.run("startup", "--user", **environ).returncode == 100
    assert unit.is_symlink()
    unit.unlink()
    assert home.run("startup", "--user", **environ).returncode == 0
    assert home.run("unstartup", "--user", **environ).returncode == 0
    assert not unit.exists()
    assert home.run("unstartup", "--user", **environ).returncode == 100
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[1] == "--user enable prefork-resurrect.service"
    assert asked[-2] == "--user disable prefork-resurrect.service"


def test_values_of_variables_are_masked_unless_revealed(home: Home) -> None:
    home.start("web", "-e", "TOKEN=s3cret")
    assert "TOKEN=***\n" in home.run_ok("env", "web")
    assert "TOKEN=s3cret\n" in home.run_ok("env", "web", "--reveal")
    report = home.run_ok("report")
    assert "app web: running" in report
    assert "s3cret" not in report + home.run_ok("show", "web", "--json")


def test_no_wait_returns_at_once_and_attach_follows_the_log(home: Home) -> None:
    assert home.run_ok("start", "--no-wait", "-b", "127.0.0.1:0", "web:app") == "web: starting\n"
    wait_for(lambda: home.client.apps()[0]["state"] == "running", "it started")
    assert home.run_ok("scale", "web", "2", "--no-wait") == "web: scaling\n"
    assert home.run_ok("reload", "web", "--no-wait") == "web: reloading\n"
    wait_for(lambda: (home.app()["ready"], home.app()["generation"]) == (2, 2), "both happened")
    assert "would leave" in home.run_failing(100, "scale", "web", "-7", "--no-wait")
    assert home.run_ok("stop", "web", "--no-wait") == "web: stopping\n"
    wait_for(lambda: home.app()["state"] == "stopped", "it stopped")
    attached = subprocess.Popen(
        [sys.executable, "-m", "prefork", "start", "--attach", "web"],
        cwd=home.folder,
        env=home.environ(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert attached.stdout is not None
        timer = threading.Timer(PATIENCE, attached.kill)
        timer.start()
        for _ in range(2):  # the outcome of the start, then the log
            while "listening on" not in attached.stdout.readline():
                pass
        timer.cancel()
        attached.send_signal(signal.SIGINT)
        assert attached.wait(PATIENCE) == 0
    finally:
        attached.kill()
        attached.communicate()
    assert home.app()["state"] == "running"


def test_of_scales_at_once_the_last_wins_and_each_gets_a_result(home: Home) -> None:
    home.start()
    entry = home.client.find("web")[0]
    pid = home.app()["pid"]
    wishes = [connect(entry.control, PATIENCE) for _ in range(3)]
    home.client.ask(entry, "ping")  # the answer means that all connections before it are accepted
    os.kill(pid, signal.SIGSTOP)  # the master then reads all three requests at once
    for workers, wish in enumerate(wishes, 2):
        wish.sendall(wire.encode_request("scale", workers=workers))
    os.kill(pid, signal.SIGCONT)
    for wish in wishes:
        with wish, wish.makefile("rb") as lines:
            assert b'"result"' in list(lines)[-1]
    assert home.app()["target"] in (2, 3, 4)  # the last one counts; they do not add up
    with ThreadPoolExecutor() as threads:
        stops = [threads.submit(home.run, "stop", "web") for _ in range(2)]
        assert {stop.result().returncode for stop in stops} == {0}
        starts = [threads.submit(home.run, "start", "web") for _ in range(2)]
        codes = sorted(start.result().returncode for start in starts)
    assert codes == [0, 100]
    assert "runs already" in "".join(start.result().stderr for start in starts)
    assert home.app()["state"] == "running"
