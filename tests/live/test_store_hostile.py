"""Files that the workers' user may put into the folder of its store, before root looks at the
store.

Root becomes that user before it opens a file there: no file of root's is read or changed, no verb
waits for ever or crashes, and the master serves on.
"""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from prefork.store.embedded import EmbeddedBackend
from prefork.unix.store_place import StorePlace, close_stores
from tests.live.harness import (
    PATIENCE,
    Server,
    command,
    is_alive,
    own_environment,
    serving,
    shared_folder,
    wait_for,
)
from tests.live.home import temporary_home
from tests.live.store_app import APP, OTHER, THIRD, body, home_of, store_of, verb
from tests.pure.children import as_root, fork_child

pytestmark = as_root

PRECIOUS = "precious"
VERBS = (("get", "n"), ("keys",), ("stats", "--json"), ("set", "n", "1"), ("clear",))


WALK = """
ACTIONS["/list"] = lambda path: sorted(os.listdir(path))
"""


@contextmanager
def server_of(uid: int, *options: str) -> Iterator[Server]:
    """Serve the app by one worker of a user, which has opened its store."""
    with shared_folder() as folder, temporary_home(folder) as made:
        (folder / "app.py").write_text(APP + WALK)
        user = ("-u", str(uid), "-g", str(uid))
        env = {"PREFORK_HOME": str(made.home)}
        with serving(folder, "app:app", "--name", "web", *user, *options, env=env) as server:
            server.ready()
            assert body(server, "/incr?key=n") == "1"
            yield server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with server_of(OTHER) as server:
        yield server


@pytest.fixture
def store(server: Server) -> Iterator[Path]:
    """The folder of the store, which has other files than before after the test."""
    folder = store_of(server)
    yield folder
    for entry in folder.iterdir():
        remove(entry)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file of root's alone."""
    path = tmp_path / "victim"
    path.write_text(PRECIOUS)
    path.chmod(0o600)
    return path


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def put_symlink(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def put_hard_link(path: Path, victim: Path) -> None:
    # The kernel may refuse this to the user itself (fs.protected_hardlinks).
    near = path.parent.parent / "victim"
    remove(near)
    near.write_bytes(victim.read_bytes())
    near.chmod(0o600)
    path.hardlink_to(near)


def put_fifo(path: Path, _victim: Path) -> None:
    os.mkfifo(path, 0o600)


def put_device(path: Path, _victim: Path) -> None:
    path.symlink_to("/dev/zero")


def put_folder(path: Path, _victim: Path) -> None:
    path.mkdir(mode=0o700)


def put_socket(path: Path, _victim: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(path))


def put_huge_file(path: Path, _victim: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def put_ones(path: Path, _victim: Path) -> None:
    path.write_bytes(b"\xff" * (1 << 18))


PUTS: tuple[Callable[[Path, Path], None], ...] = (
    put_symlink,
    put_hard_link,
    put_fifo,
    put_device,
    put_folder,
    put_socket,
    put_huge_file,
    put_ones,
)
FILES = ("shared", "data-1", "data-1-lock", "snapshot", "locks")


def as_other(act: Callable[[], object]) -> None:
    """Do something in a child as the user of the workers."""

    def life() -> int:
        os.setgid(OTHER)
        os.setuid(OTHER)
        act()
        return 0

    assert fork_child(life).reap().code == 0


def fresh_store(folder: Path) -> None:
    """Have the user of the workers write a new store that no process has open."""
    for entry in folder.iterdir():
        remove(entry)
    place = StorePlace(folder=str(folder), fd=os.open(folder, os.O_PATH | os.O_DIRECTORY))

    def write() -> None:
        backend = EmbeddedBackend(place)
        for number in range(200):
            backend.set(b"\0k%d" % number, bytes(3000), None, 5)
        close_stores()

    as_other(write)
    os.close(place.fd or 0)


def give(path: Path) -> None:
    """Make an entry one of the user's, unless it is a hard link to a file of root's."""
    if path.lstat().st_nlink == 1 or path.is_dir():
        os.chown(path, OTHER, OTHER, follow_symlinks=False)


def owner_of(path: Path) -> int:
    """Return the owner of an entry; a hard link to a file of root's counts as the user's."""
    status = path.lstat()
    return OTHER if stat.S_ISREG(status.st_mode) and status.st_nlink > 1 else status.st_uid


def assert_safe(done: subprocess.CompletedProcess[str]) -> None:
    """A verb has ended with an answer or an error for the operator, and without root's data."""
    assert done.returncode in (0, 1, 111), done
    assert all(line.startswith("prefork: ") for line in done.stderr.splitlines()), done
    assert PRECIOUS not in done.stdout + done.stderr


def assert_unharmed(server: Server, victim: Path) -> None:
    assert victim.read_text() == PRECIOUS
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600
    assert victim.stat().st_uid == 0
    assert body(server, "/pid").isdecimal()


@pytest.mark.parametrize("put", PUTS)
def test_no_verb_of_root_opens_what_a_worker_put_there(
    server: Server, store: Path, victim: Path, put: Callable[[Path, Path], None]
) -> None:
    for name in FILES:
        fresh_store(store)
        path = store / name
        remove(path)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(store)
            put(path, victim)
        give(path)
        words = VERBS[FILES.index(name)]
        assert_safe(verb(server, *words))
        assert {owner_of(path) for path in store.iterdir()} == {OTHER}
        near = store.parent / "victim"
        assert not near.exists() or near.read_text() == PRECIOUS
    assert_unharmed(server, victim)


CUT = "os.truncate(data, 2 * 4096)"
FIFO = "os.unlink(data); os.mkfifo(data)"
EMPTY_ENTRY = """
with backend._environment.begin(write=True) as transaction:
    transaction.put(b"e" + bytes(1) + b"short", b"")
"""
COUNTER = """
with backend._environment.begin(write=True) as transaction:
    transaction.put(b"cdropped", b"many")
"""
HELD = "held = backend._environment.begin(write=True)"
ATTACKER = """
import os
import sys

import psutil

from prefork.store.embedded import EmbeddedBackend
from prefork.unix.store_place import StorePlace

os.setgid({uid})
os.setuid({uid})
backend = EmbeddedBackend(StorePlace(folder={folder!r}, fd={fd}))
for number in range(200):
    backend.set(bytes(1) + b"k%d" % number, bytes(3000), None, 5)
data = "/proc/self/fd/{fd}/data-1"
{attack}
print("done", flush=True)
sys.stdin.read()
os._exit(0)
"""


@contextmanager
def attacker(store: Path, attack: str) -> Iterator[None]:
    """A process of the workers' user that has the store open, so no check of the file is due."""
    for entry in store.iterdir():
        remove(entry)
    fd = os.open(store, os.O_PATH | os.O_DIRECTORY)
    code = ATTACKER.format(uid=OTHER, folder=str(store), fd=fd, attack=attack)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=own_environment(),
        pass_fds=[fd],
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        yield
    finally:
        process.kill()
        process.communicate()
        os.close(fd)


@pytest.mark.parametrize(
    ("attack", "words", "expected"),
    [
        pytest.param(CUT, ("keys",), "was ended by SIGBUS", id="file-cut"),
        pytest.param(FIFO, ("keys",), "data-1: it is a fifo, not a regular file", id="fifo"),
        pytest.param(EMPTY_ENTRY, ("get", "short"), "did not write there", id="entry"),
        pytest.param(COUNTER, ("stats",), "did not write there", id="counter"),
    ],
)
def test_a_verb_outlives_files_that_their_user_changes_while_they_are_open(
    server: Server, store: Path, victim: Path, attack: str, words: tuple[str, ...], expected: str
) -> None:
    with attacker(store, attack):
        done = verb(server, *words)
        assert_safe(done)
        assert (done.returncode, done.stdout) == (111, "")
        assert expected in done.stderr
        for listing in (("list",), ("show", "web"), ("report", "web")):
            done = command(*listing, cwd=Path("/"), env={"PREFORK_HOME": str(home_of(server))})
            assert done.returncode == 0, done
    assert_unharmed(server, victim)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_verb_that_waits_for_a_lock_inside_of_the_file(
    server: Server, store: Path, signum: signal.Signals
) -> None:
    with attacker(store, HELD):
        process = subprocess.Popen(
            [sys.executable, "-m", "prefork", "store", "web", "set", "n", "1"],
            env={**own_environment(), "PREFORK_HOME": str(home_of(server))},
            stderr=subprocess.PIPE,
        )
        try:
            child = wait_for(psutil.Process(process.pid).children, "a child opens the files")[0]
            wait_for(lambda: child.uids().real == OTHER, "it is not root's")
            process.send_signal(signum)
            _, errors = process.communicate(timeout=PATIENCE)
            assert process.returncode in (130, -signum)
            assert errors == b""
            wait_for(lambda: not is_alive(child), "the child has ended, too")
        finally:
            process.kill()


def test_delete_follows_no_link_of_the_store_and_removes_each_file_of_it(victim: Path) -> None:
    with server_of(OTHER) as server:
        store = store_of(server)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(store)
            for put in PUTS:
                put(store / put.__name__, victim)
        (store / "to-folder").symlink_to(victim.parent)
        (store / "put_folder" / "deep").mkdir()
        (store / "put_folder" / "deep" / "to-folder").symlink_to(victim.parent)
        env = {"PREFORK_HOME": str(home_of(server))}
        assert command("stop", "--force", "web", cwd=Path("/"), env=env).returncode in (0, 100)
        server.wait_exit()
        done = command("delete", "web", cwd=Path("/"), env=env)
        assert done.returncode == 0, done
        assert os.listdir(store) == ["put_folder"]  # prefork makes no folder there
        assert victim.read_text() == (store.parent / "victim").read_text() == PRECIOUS


@pytest.mark.parametrize("kind", ["embedded", "memory"])
def test_a_worker_reads_nothing_of_the_store_of_another_app(kind: str) -> None:
    with (
        ExitStack() as stack,
        server_of(OTHER) as server,
        server_of(THIRD, "--store", kind) as other,
    ):
        assert len(body(other, "/secret")) == 64
        pid = int(body(other, "/pid"))
        maps = Path(f"/proc/{pid}/maps").read_text()
        folder = Path(re.findall(r"(/\S+)/data-1\n", maps)[0])
        if kind == "memory":  # it outlives its app, until `prefork delete`
            stack.callback(shutil.rmtree, folder)
        assert {entry.stat().st_uid for entry in folder.iterdir()} == {THIRD}
        assert "PermissionError" in body(server, f"/list?path={folder}")
        descriptors = [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
        for path in (*folder.iterdir(), *descriptors, f"/proc/{pid}/mem"):
            assert "PermissionError" in body(server, f"/read?path={path}"), path
        own = body(server, "/list?path=/proc/self/fd")
        targets = {
            os.path.realpath(f"/proc/{body(server, '/pid')}/fd/{fd}")
            for fd in re.findall(r"\d+", own)
        }
        assert not any(target.startswith(str(folder)) for target in targets)
