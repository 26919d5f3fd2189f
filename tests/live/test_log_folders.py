"""Log folders of the workers' user: a master of root writes and reads nothing elsewhere.

Each test does what an attacker with the rights of the workers would do, and checks a file that only
root may read and change.
"""

import gzip
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from prefork.unix.identity import describe_user
from tests.live.harness import PATIENCE, command_line, shared_folder, wait_for
from tests.live.home import Home, fetch, temporary_home
from tests.pure.children import as_root

OTHER = 65534
OTHER_USER = describe_user(OTHER)
SECRET = b"only root may read this\n"
APP = """\
def app(environ, start_response):
    print("a line of the app", flush=True)
    start_response("200 OK", [])
    return [b"one"]
"""

pytestmark = as_root


@dataclass
class Site:
    """An app that logs into ``logs``, a folder of the workers' user. ``secret`` is a file of
    root."""

    home: Home
    folder: Path
    logs: Path
    secret: Path

    def start(self, *options: str) -> None:
        words = ("--user", str(OTHER), "--group", str(OTHER), "--log-dir", str(self.logs))
        self.home.start("web", *words, *options)

    def log_something(self) -> None:
        before = self.output.stat().st_size if self.output.exists() else 0
        assert fetch(self.home.app()) == b"one"
        wait_for(lambda: self.output.stat().st_size > before, "a line")

    @property
    def output(self) -> Path:
        return self.logs / "web.out"

    def leaked(self) -> list[str]:
        """Return the files of the folder that contain the secret, also compressed."""
        return [each.name for each in self.logs.iterdir() if SECRET in content(each)]

    def untouched(self) -> bool:
        status = self.secret.stat()
        mode = stat.S_IMODE(status.st_mode)
        return (self.secret.read_bytes(), mode, status.st_uid) == (SECRET, 0o600, 0)


def content(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return b""
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except FileNotFoundError:
        return b""


@pytest.fixture
def site() -> Iterator[Site]:
    with shared_folder() as folder:
        apart = folder / "theirs"
        apart.mkdir()
        os.chown(apart, OTHER, OTHER)
        logs = apart / "logs"
        logs.mkdir()
        os.chown(logs, OTHER, OTHER)
        secret = folder / "secret"
        secret.write_bytes(SECRET)
        secret.chmod(0o600)
        with temporary_home(folder) as home:
            home.write("web.py", APP)
            site = Site(home, folder, logs, secret)
            yield site
            assert site.untouched()


def theirs(path: Path) -> None:
    os.chown(path, OTHER, OTHER, follow_symlinks=False)


def a_symlink(path: Path, secret: Path) -> None:
    path.symlink_to(secret)
    theirs(path)


def a_dangling_symlink(path: Path, secret: Path) -> None:
    path.symlink_to(secret.with_name("made"))
    theirs(path)


def a_fifo(path: Path, secret: Path) -> None:
    os.mkfifo(path)
    theirs(path)


def a_hard_link(path: Path, secret: Path) -> None:
    """Link to another file of that user: the kernel refuses one to root's
    (fs.protected_hardlinks)."""
    own = path.with_name("of theirs")
    own.touch()
    theirs(own)
    path.hardlink_to(own)


TRICKS = [a_symlink, a_dangling_symlink, a_fifo, a_hard_link]
Trick = Callable[[Path, Path], None]


def log_writer(site: Site) -> psutil.Process:
    def found() -> psutil.Process | None:
        for child in psutil.Process(site.home.app()["pid"]).children():
            if "log writer" in command_line(child):
                return child
        return None

    return wait_for(found, "a log writer")


def test_the_log_writer_is_the_owner_of_the_folder(site: Site) -> None:
    site.start()
    site.log_something()
    assert log_writer(site).uids() == (OTHER, OTHER, OTHER)
    assert site.output.stat().st_uid == OTHER
    site.home.run_ok("rotate", "web")
    site.log_something()
    wait_for(lambda: [p.name for p in site.logs.glob("*.gz")] == ["web.out.1.gz"], "compressed")
    assert "a line of the app" in site.home.run_ok("logs", "web", "--out")
    log_writer(site).kill()
    wait_for(lambda: "log writer died" in site.home.run_ok("logs", "web"), "a successor")
    site.log_something()
    assert log_writer(site).uids().effective == OTHER


def test_in_a_folder_of_root_the_log_writer_stays_root(site: Site) -> None:
    os.chown(site.logs, 0, 0)
    site.start()
    site.log_something()
    assert log_writer(site).uids().effective == 0
    assert site.output.stat().st_uid == 0


def test_files_that_a_log_writer_of_root_left_are_archived(site: Site) -> None:
    """Earlier versions wrote the logs as root."""
    site.output.write_text("before\n")
    site.output.chmod(0o640)
    site.start()
    site.log_something()
    assert (site.logs / "web.out.1").read_text() == "before\n"


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("name", ["web.out.1", "web.out.1.gz.new", "web.out.2.gz"])
def test_rotation_follows_no_entry_that_another_user_put_there(
    site: Site, name: str, trick: Trick
) -> None:
    site.start("--log-rotate-size", "1m")
    site.log_something()
    trick(site.logs / name, site.secret)
    site.home.run_ok("rotate", "web")
    site.log_something()
    site.home.run_ok("rotate", "web")
    wait_for(lambda: sorted(site.logs.glob("web.out.*.gz")), "compressed")
    assert site.leaked() == []
    assert not site.secret.with_name("made").exists()
    assert "one" in fetch(site.home.app()).decode()


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("verb", ["rotate", "flush", "reopen"])
@pytest.mark.parametrize("name", ["log", "web.out"])
def test_an_exchanged_log_is_not_written(site: Site, name: str, verb: str, trick: Trick) -> None:
    site.start("--log-file", str(site.logs / "log"))
    site.log_something()
    (site.logs / name).rename(site.logs / "away")
    trick(site.logs / name, site.secret)
    done = site.home.run(verb, "web")
    assert done.returncode in (0, 111), done.stderr
    assert site.leaked() == []
    assert not site.secret.with_name("made").exists()
    assert fetch(site.home.app()) == b"one"
    assert site.home.run_ok("stop", "web") == "web: stopped\n"


def test_a_file_of_root_keeps_its_owner_where_others_could_have_put_it(site: Site) -> None:
    """They rename a file that root left in a folder of theirs."""
    site.start("--log-file", str(site.logs / "log"))
    assert (site.logs / "log").stat().st_uid == OTHER
    (site.logs / "log").unlink()
    (site.logs.parent / "roots").write_bytes(SECRET)
    (site.logs.parent / "roots").chmod(0o600)
    (site.logs.parent / "roots").rename(site.logs / "log")
    site.home.run_ok("reopen", "web")
    found = (site.logs / "log").stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o600)


def test_an_exchanged_folder_is_not_written(site: Site) -> None:
    private = site.folder / "private"
    private.mkdir(mode=0o700)
    (private / "web.out").write_bytes(SECRET)
    site.start()
    site.log_something()
    site.logs.rename(site.logs.with_name("away"))
    a_symlink(site.logs, private)
    for verb in ("rotate", "flush", "reopen"):
        site.home.run_ok(verb, "web")
    assert [each.name for each in private.iterdir()] == ["web.out"]
    assert (private / "web.out").read_bytes() == SECRET
    log_writer(site).kill()
    log = site.home.home / "web" / "log"
    wait_for(lambda: "log writer died" in log.read_text(), "killed")
    wait_for((site.logs.with_name("away") / "web.out").exists, "in the held folder")
    assert [each.name for each in private.iterdir()] == ["web.out"]
    site.home.run_ok("stop", "web")
    stderr = site.home.run_failing(111, "start", "web")
    assert f"is a symlink of {OTHER_USER}'s to a directory of another user's" in stderr


def test_a_folder_that_was_created_again_is_found(site: Site) -> None:
    """As an operator does: the log writer follows, and becomes the owner of the new folder."""
    site.start()
    site.log_something()
    site.logs.rename(site.logs.with_name("away"))
    site.logs.mkdir()
    theirs(site.logs)
    site.home.run_ok("reopen", "web")
    site.log_something()
    assert site.output.stat().st_uid == OTHER


def test_symlinks_of_operators_still_lead_to_the_folder(site: Site) -> None:
    """One symlink is root's, the other belongs to the owner of the folder."""
    (site.folder / "roots").symlink_to(site.logs.parent)
    current = site.logs.parent / "current"
    a_symlink(current, site.logs)
    site.logs = site.folder / "roots" / "current"
    site.start("--log-file", str(site.logs / "log"))
    site.log_something()
    assert "ready" in site.home.run_ok("logs", "web")


@pytest.mark.parametrize("trick", TRICKS)
def test_reading_the_logs_as_root_leads_nowhere_else(site: Site, trick: Trick) -> None:
    site.start()
    site.log_something()
    site.output.unlink()
    trick(site.output, site.secret)
    trick(site.logs / "web.out.1", site.secret)
    done = site.home.run("logs", "web", "-n", "100")
    assert done.returncode in (0, 111), done.stderr
    assert SECRET.decode() not in done.stdout
    if trick is a_fifo:
        assert f"cannot read {site.output}: it is a fifo, not a regular file" in done.stderr


RACE = """\
import os, sys
os.setgroups([]); os.setgid({other}); os.setuid({other})
os.chdir({folder!r})
def fifo(name): os.mkfifo(name)
def link(name): os.symlink({secret!r}, name)
def nothing(name): open(name, "w").close()
print("racing", flush=True)
number = 0
while True:
    for name in ("log", "web.out", "web.out.1", "web.out.2", "web.out.1.gz.new", "log.new"):
        number += 1
        for act in (lambda: os.unlink(name), lambda: (link, fifo, nothing)[number % 3](name)):
            try: act()
            except OSError: pass
    if number % 5 == 0:
        try:
            os.rename("../logs", "../away"); os.symlink({private!r}, "../logs")
            os.unlink("../logs"); os.rename("../away", "../logs")
        except OSError: pass
"""


def test_a_race_with_the_master_gives_an_attacker_nothing(site: Site) -> None:
    private = site.folder / "private"
    private.mkdir(mode=0o700)
    for name in ("log", "web.out", "web.out.1"):
        (private / name).write_bytes(SECRET)
    site.start("--log-file", str(site.logs / "log"))
    script = RACE.format(
        other=OTHER, folder=str(site.logs), secret=str(site.secret), private=str(private)
    )
    attacker = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert attacker.stdout is not None
        assert attacker.stdout.readline() == b"racing\n"
        for _ in range(6):
            for verb in ("rotate", "flush", "reopen"):
                done = site.home.run(verb, "web")
                assert done.returncode in (0, 111), done.stderr
            assert fetch(site.home.app()) == b"one"
            assert SECRET.decode() not in site.home.run("logs", "web").stdout
    finally:
        attacker.kill()
        attacker.wait(PATIENCE)
        assert attacker.stdout is not None
        attacker.stdout.close()
    if (away := site.logs.parent / "away").exists():  # it was killed between its renames
        site.logs.unlink(missing_ok=True)
        away.rename(site.logs)
    assert sorted(each.name for each in private.iterdir()) == ["log", "web.out", "web.out.1"]
    assert all(each.read_bytes() == SECRET for each in private.iterdir())
    assert site.leaked() == []
    assert site.home.run_ok("stop", "web") == "web: stopped\n"
