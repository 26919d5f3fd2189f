"""``--control-group``: its members can look at an app of another user, and change nothing."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import PATIENCE, shared_folder, wait_for
from tests.live.home import Home, fetch, temporary_home

GROUP = "54321"
MEMBER, OUTSIDER = ("65534", f"65533,{GROUP}"), ("65534", "65533")

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root may become another user"
)


@pytest.fixture
def home() -> Iterator[Home]:
    with shared_folder() as folder, temporary_home(folder) as made:
        yield made


def ask(
    home: Home, who: tuple[str, str], *arguments: str, code: int | None = 0
) -> subprocess.CompletedProcess[str]:
    """Run the command as a user with groups: ``who`` is both."""
    user, groups = who
    become = ["setpriv", "--reuid", user, "--regid", "65534", "--groups", groups, "--"]
    done = subprocess.run(
        [*become, sys.executable, "-m", "prefork", *arguments],
        cwd="/",
        env={**home.environ(), "PWD": "/", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if "No module named" in done.stderr or "Permission denied" in done.stderr.splitlines()[-1:]:
        pytest.skip("other users cannot read this checkout")
    assert code is None or done.returncode == code, (arguments, done.stdout, done.stderr)
    return done


def start(home: Home) -> None:
    text = (home.folder / "web.py").read_text()
    home.write(
        "web.py",
        text.replace("    start_response", "    print('printed')\n    start_response"),
    )
    home.start("web", "-e", "TOKEN=s3cret", "--control-group", GROUP)


def mode(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return stat.S_IMODE(status.st_mode), status.st_gid


def test_members_of_the_group_see_everything_but_secrets(home: Home) -> None:
    start(home)
    fetch(home.app())
    wait_for(lambda: "printed" in home.run_ok("logs", "web"), "its output is in the log")
    listed = ask(home, MEMBER, "list").stdout
    assert "web" in listed
    assert "1/1" in listed
    shown = ask(home, MEMBER, "show", "web", "--json").stdout
    assert '"app": "web:app"' in shown
    assert '"started"' in shown
    assert "answers" in ask(home, MEMBER, "ping").stdout
    assert "no worker has died" in ask(home, MEMBER, "why", "web").stdout
    logs = ask(home, MEMBER, "logs", "web").stdout
    assert "printed" in logs
    assert "listening on" in logs
    home.run_ok("rotate", "web")
    fetch(home.app())
    wait_for(lambda: home.run_ok("logs", "web").count("printed") == 2, "the second line, too")
    assert ask(home, MEMBER, "logs", "web").stdout.count("printed") == 2
    output = [ask(home, MEMBER, *arguments).stdout for arguments in (["report"], ["show", "web"])]
    assert "s3cret" not in shown + logs + "".join(output)


@pytest.mark.parametrize(
    "arguments",
    [
        ["stop", "web"],
        ["stop", "web", "--quick"],
        ["stop", "web", "--force"],
        ["restart", "web"],
        ["reload", "web"],
        ["reload", "web", "--dry-run"],
        ["scale", "web", "2"],
        ["signal", "web", "KILL"],
        ["delete", "web"],
        ["env", "web"],
        ["env", "web", "--reveal"],
        ["rotate", "web"],
        ["flush", "web"],
        ["reopen", "web"],
        ["reset", "web"],
        ["start", "web"],
    ],
)
def test_members_of_the_group_can_change_nothing(home: Home, arguments: list[str]) -> None:
    start(home)
    before = home.app()
    done = ask(home, MEMBER, *arguments, code=100)
    assert "user root" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr
    app = home.app()
    assert (app["pid"], app["workers"][0]["pid"]) == (before["pid"], before["workers"][0]["pid"])
    assert (app["state"], app["generation"], app["target"]) == ("running", 1, 1)
    assert fetch(app) == b"one"


def test_other_users_see_nothing(home: Home) -> None:
    start(home)
    for arguments in (["list"], ["show", "web"], ["reload", "web"], ["logs", "web"]):
        done = ask(home, OUTSIDER, *arguments, code=111)
        assert "Permission denied; it is $PREFORK_HOME" in done.stderr
    # The folders are opened to all users here: the master itself checks the user of a client.
    for folder in (home.home, home.home / "web"):
        folder.chmod(0o755)
    (home.home / "web" / "control").chmod(0o666)
    done = ask(home, OUTSIDER, "show", "web", "--json", code=None)
    assert "app belongs to user root" in done.stdout + done.stderr
    assert "listening" not in done.stdout


def test_the_permissions_of_the_folders_admit_only_the_group(home: Home) -> None:
    home.start("other")
    start(home)
    folder = home.home / "web"
    assert mode(home.home) == (0o750, int(GROUP))
    assert mode(folder) == (0o2750, int(GROUP))
    assert mode(folder / "control") == (0o660, int(GROUP))
    assert mode(folder / "state")[0] == mode(folder / "lock")[0] == 0o600
    assert mode(home.home / "other")[0] == 0o700
    assert "other" not in ask(home, MEMBER, "list").stdout
    assert "no app 'other'" in ask(home, MEMBER, "show", "other", code=100).stderr
    # Another group is refused, and later the app has none.
    more = ("start", "--name", "more", "-b", "127.0.0.1:0", "--control-group", "54322", "web:app")
    assert f"open to group {GROUP} already" in home.run_failing(100, *more)
    assert not (home.home / "more").exists()
    home.run_ok("delete", "web")
    home.start("web")
    assert mode(folder)[0] == 0o700
    assert mode(folder / "control")[0] == 0o600


def test_an_unknown_group_is_refused(home: Home) -> None:
    arguments = ("start", "--control-group", "nogrump", "web:app")
    assert "no group is called 'nogrump'" in home.run_failing(100, *arguments)
    assert home.client.apps() == []


def test_clients_of_the_group_cannot_keep_the_owner_out(home: Home) -> None:
    start(home)
    code = (
        "import socket, sys\n"
        "kept = []\n"
        "for _ in range(100):\n"
        "    s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); kept.append(s)\n"
        '    try: s.sendall(b\'{"verb": "events"}\\n\')\n'
        "    except BrokenPipeError: pass\n"  # the master closed it, and said why
        "print(kept[-1].recv(100).decode(), flush=True)\n"
        "sys.stdin.read()\n"
    )
    user, groups = MEMBER
    become = ["setpriv", "--reuid", user, "--regid", "65534", "--groups", groups, "--"]
    path = str(home.home / "web" / "control")
    crowd = subprocess.Popen(
        [*become, sys.executable, "-c", code, path],
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert crowd.stdout is not None
        assert "too many are talking" in crowd.stdout.readline()
        assert "answers" in home.run_ok("ping")
    finally:
        crowd.kill()
        crowd.communicate()
