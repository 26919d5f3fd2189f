"""The settings of all sources together: env-files, variables of the platform, and who wins."""

import os
from pathlib import Path

import pytest

from prefork.cli.serve.settings_loader import SettingsLoader
from prefork.config.addresses import TcpAddress
from prefork.errors import UsageError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))
    return tmp_path


def test_an_env_file_adds_variables_below_the_environment_and_env(folder: Path) -> None:
    (folder / ".env").write_text("A=file\nB=file\nC=file\n")
    loader = SettingsLoader(["--env-file", ".env", "-e", "B=flag", "x:app"], {"C": "shell"})
    resolved = loader.read()
    assert resolved.config.env == {"A": "file", "B": "flag"}
    assert loader.remarks == [f"{folder}/.env sets 3 variables, but the environment has its own C"]


def test_a_later_env_file_wins_and_refers_to_the_earlier_one(folder: Path) -> None:
    (folder / "one").write_text("A=1\nB=1\n")
    (folder / "two").write_text("A=2\nC=${B}${A}\n")
    arguments = ["--env-file", "one", "--env-file", "two", "x:app"]
    resolved = SettingsLoader(arguments, {}).read()
    assert resolved.config.env == {"A": "2", "B": "1", "C": "11"}
    assert resolved.sources["env"] == "env-file"


def test_an_env_file_sets_options_as_the_environment_does(folder: Path) -> None:
    (folder / ".env").write_text("PREFORK_THREADS=4\nPORT=8080\nWEB_CONCURRENCY=3\n")
    config = SettingsLoader(["--env-file", ".env", "-w", "2", "x:app"], {}).read().config
    assert (config.threads, config.workers) == (4, 2)
    assert config.bind == (TcpAddress("0.0.0.0", 8080),)


def test_a_line_names_the_file_that_a_variable_is_from(folder: Path) -> None:
    (folder / "one").write_text("PORT=1\nWEB_CONCURRENCY=3\n")
    (folder / "two").write_text("PORT=8080\n")
    arguments = ["--env-file", "one", "--env-file", "two", "x:app"]
    loader = SettingsLoader(arguments, {"WEB_CONCURRENCY": "2"})
    loader.read()
    assert loader.remarks[2:] == [
        f"PORT in {folder}/two sets bind = 0.0.0.0:8080",
        "WEB_CONCURRENCY in the environment sets workers = 2",
    ]
    (folder / "two").write_text("PORT=x\n")
    with pytest.raises(UsageError, match=f"^{folder}/two: PORT = 'x' is wrong"):
        loader.read()


def test_an_env_file_of_a_settings_file_is_beside_it(folder: Path) -> None:
    conf = folder / "conf"
    conf.mkdir()
    (conf / "app.env").write_text("A=1\n")
    (conf / "prefork.toml").write_text('app = "x:app"\nenv-file = "app.env"\n')
    loader = SettingsLoader(["-c", "conf/prefork.toml"], {})
    assert loader.read().config.env == {"A": "1"}


def test_an_env_file_is_read_again(folder: Path) -> None:
    (folder / ".env").write_text("A=1\n")
    loader = SettingsLoader(["--env-file", ".env", "x:app"], {})
    loader.read()
    (folder / ".env").write_text("A=2\n")
    assert loader.read().config.env == {"A": "2"}
    assert len(loader.remarks) == 1


def test_errors_name_the_env_file(folder: Path) -> None:
    loader = SettingsLoader(["--env-file", ".env", "x:app"], {})
    with pytest.raises(UsageError, match=rf"^env-file: cannot read {folder}/\.env: No such file"):
        loader.read()
    (folder / ".env").write_bytes(b"A=\xff\n")
    with pytest.raises(UsageError, match=rf"^env-file: {folder}/\.env is not encoded in UTF-8"):
        loader.read()


def test_an_error_of_other_checks_names_what_was_typed() -> None:
    loader = SettingsLoader(["--certfile", "c.pem", "--", "node", "x.js"], {})
    with pytest.raises(UsageError, match=r"; tls-cert is what you typed as --certfile c\.pem$"):
        loader.read_checked()
    loader = SettingsLoader(["--tls-cert", "c.pem", "--", "node", "x.js"], {})
    with pytest.raises(UsageError, match=r"leave them out$"):
        loader.read_checked()
    assert SettingsLoader(["--port", "80", "x:app"], {}).read_checked().sources["bind"]


def test_what_is_ignored_is_noted_wherever_it_stood() -> None:
    environ = {"UVICORN_PORT": "80"}
    notes = SettingsLoader(["--loop", "auto", "x:app"], environ, {"http": "auto"}).notes
    assert [note[:30] for note in notes] == [
        "ignored: uvicorn's and granian",
        "ignored: uvicorn's http is not",
        "variables of other servers are",
    ]
    assert SettingsLoader(["x:app"], {"PATH": "/bin"}).notes == []


def test_port_is_for_apps_and_not_for_programs_or_passed_sockets() -> None:
    environ = {"PORT": "8080"}
    assert SettingsLoader(["x:app"], dict(environ)).read().sources["bind"] == "PORT"
    assert SettingsLoader(["--", "node", "x.js"], dict(environ)).read().config.bind == ()
    passed = {**environ, "LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
    assert SettingsLoader(["x:app"], passed).read().sources["bind"] == "systemd"


@pytest.mark.parametrize("words", [["--error-logfile", "-"], ["--log-file", "-"], []])
def test_the_log_of_an_app_in_the_background_is_never_a_standard_stream(
    folder: Path, words: list[str]
) -> None:
    (folder / "conf.toml").write_text('log-file = ""\n')
    environ = {"PREFORK_HOME": str(folder / "home")}
    managed = ["--daemon", "--managed", "--name", "web", "-c", "conf.toml", "x:app", *words]
    resolved = SettingsLoader(managed, environ).read()
    assert resolved.config.log_file == str(folder / "home" / "web" / "log")
    assert resolved.sources["log_file"] == "prefork start"
    foreground = SettingsLoader(["-c", "conf.toml", "x:app", "--log-file", "-"], environ).read()
    assert foreground.config.log_file == "-"
    named = SettingsLoader([*managed, "--log-file", "own"], environ).read()
    assert named.config.log_file == "own"
