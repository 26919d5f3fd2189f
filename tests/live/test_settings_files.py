"""Settings, certificates and secrets must be regular files, at a start and at a reload."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.certificates import SECRET, Authority
from tests.live.harness import command, serving

APP = """\
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"one"]
"""


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def an_endless_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_huge_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**35)


def a_directory(path: Path) -> None:
    path.mkdir()


KINDS: dict[str, Callable[[Path], None]] = {
    "it is a fifo, not a regular file": a_fifo,
    "it is a device, not a regular file": an_endless_device,
    "it has more than": a_huge_file,
    "[Ii]s a directory": a_directory,
}


@pytest.mark.parametrize("reason", KINDS)
@pytest.mark.parametrize("option", ["config", "tls-cert", "tls-key", "tls-password", "token"])
def test_a_reload_refuses_the_file_and_the_workers_keep_serving(
    tmp_path: Path, option: str, reason: str
) -> None:
    (tmp_path / "web.py").write_text(APP)
    authority = Authority(tmp_path)
    authority.issue("good", "a.test", password=SECRET if option == "tls-password" else "")
    paths = {
        "config": tmp_path / "prefork.toml",
        "tls-cert": tmp_path / "good.pem",
        "tls-key": tmp_path / "good.key",
        "tls-password": tmp_path / "password",
        "token": tmp_path / "token",
    }
    paths["config"].write_text("")
    paths["tls-password"].write_text(SECRET)
    paths["token"].write_text("token")
    words = ["-c", "prefork.toml", "--status", "127.0.0.1:0", "--status-token", "file:token"]
    if option.startswith("tls"):
        words += ["--tls-cert", "good.pem", "--tls-key", "good.key"]
    if option == "tls-password":
        words += ["--tls-password", "file:password"]
    with serving(tmp_path, "web:app", *words) as server:
        paths[option].unlink()
        KINDS[reason](paths[option])
        before = psutil.Process(server.pid).memory_info().rss
        server.send(signal.SIGHUP)
        server.wait_log(f"{paths[option].name}: {reason}")
        assert psutil.Process(server.pid).memory_info().rss < before + 64 * 1024 * 1024
        if not option.startswith("tls"):
            assert server.get() == (200, b"one")
        assert server.stop() == 0


@pytest.mark.parametrize("reason", KINDS)
def test_a_start_refuses_the_file(tmp_path: Path, reason: str) -> None:
    (tmp_path / "web.py").write_text(APP)
    KINDS[reason](tmp_path / "prefork.toml")
    done = command("-c", "prefork.toml", "-b", "127.0.0.1:0", "web:app", cwd=tmp_path)
    assert done.returncode == 100
    assert "cannot read" in done.stderr


def test_settings_and_certificates_may_be_symlinks(tmp_path: Path) -> None:
    """Kubernetes replaces a symlink to the folder of a ConfigMap, certbot one to a certificate."""
    (tmp_path / "web.py").write_text(APP)
    Authority(tmp_path).issue("good", "a.test")
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "prefork.toml").write_text(f"env = {{ RELEASE = '{number}' }}\n")
    (tmp_path / "data").symlink_to("1")
    (tmp_path / "prefork.toml").symlink_to("data/prefork.toml")
    (tmp_path / "live.pem").symlink_to("good.both")
    words = ("-c", "prefork.toml", "--tls-cert", "live.pem")
    with serving(tmp_path, "web:app", *words) as server:
        (tmp_path / "new").symlink_to("2")
        (tmp_path / "new").rename(tmp_path / "data")
        server.send(signal.SIGHUP)
        server.wait_log("reloaded to gen 2")
        assert server.stop() == 0
