"""A real systemd as the first process of a container, on an overlay of this machine's root.

The container has a mount, pid and network namespace, a /tmp, a /run and a journal of its own: what
a test does there changes nothing outside, and its ports are free. systemd-nspawn makes it; the
interpreter, the packages and the checkout of this test are there under ``/opt``, because units with
ProtectHome= and PrivateTmp= hide the places where they may be.

The container ends with the test run, also when that is killed: each process in between asks the
kernel for a SIGKILL when its parent dies, and a time limit stands above all.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from prefork.unix.cgroup import cgroup_folders
from tests.live.harness import PATIENCE, wait_for

ROOT = Path(__file__).parents[2]
TIME_LIMIT = "1200"
"""Seconds after which a container ends, whatever happens to the test run."""

TOOLS = ("systemd-nspawn", "nsenter", "setpriv", "unshare", "timeout", "ldconfig")
CGROUP_ROOTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd")

# Runs in a mount namespace of its own, so no mount needs to be undone.
SETUP = """\
set -e
base=$1 python=$2 packages=$3 checkout=$4 target=$5
shift 5
mount -t tmpfs tmpfs "$base"
mkdir -p "$base/upper" "$base/work" "$base/root" /run/systemd
mount -t tmpfs tmpfs /run/systemd
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$base/root"
cd "$base/root"
rm -rf etc/systemd/system etc/init.d etc/rc?.d root/.prefork
for package in "$@"; do
    # Where / has /usr merged, a package that has /lib must not replace the symlink.
    dpkg-deb --fsys-tarfile "$package" | tar --extract --keep-directory-symlink
done
mkdir -p etc/systemd/system opt/python opt/packages opt/checkout srv etc/ld.so.conf.d
: > etc/machine-id
echo /opt/python/lib > etc/ld.so.conf.d/prefork-test.conf
memory=/sys/fs/cgroup/memory$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup)
for root in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd "$memory"; do
    if [ -e "$root/cgroup.procs" ]; then
        mkdir -p "$root/$(basename "$base")"
        echo $$ > "$root/$(basename "$base")/cgroup.procs"
    fi
done
code=133
while [ "$code" = 133 ]; do  # the exit code of a reboot
    code=0
    setpriv --pdeathsig KILL systemd-nspawn --quiet --boot --register=no \\
    --keep-unit --private-network --link-journal=no --console=pipe \\
    --directory="$base/root" --machine="prefork-$$" \\
    --bind-ro="$python:/opt/python" --bind-ro="$packages:/opt/packages" \\
    --bind-ro="$checkout:/opt/checkout" -- --unit="$target" || code=$?
done
exit "$code"
"""

PREFORK = """\
#!/srv/app/.venv/bin/python
import sys
from prefork.cli.command import main
sys.exit(main())
"""


def require_boot() -> None:
    """Skip the test, with the reason, where no systemd can be booted."""
    if os.geteuid() != 0:
        pytest.skip("only root may boot a container")
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"not installed: {', '.join(missing)} (Debian: systemd-container, util-linux)")
    if sys.prefix == sys.base_prefix:
        pytest.skip("the tests do not run in a virtual environment")


class Machine:
    """A booted container. ``root``: its root directory as this process can use it.

    ``target``: the unit that is reached at boot. ``packages``: packages of Debian that are unpacked
    over its root.
    """

    def __init__(self, target: str = "basic.target", packages: Sequence[Path] = ()) -> None:
        self._base = Path(tempfile.mkdtemp(prefix="prefork-systemd-"))
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the machine
        guard = ["setpriv", "--pdeathsig", "KILL"]
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self._nspawn = subprocess.Popen(
            [
                *(*guard, "timeout", "--kill-after=5", TIME_LIMIT, *guard),
                *("unshare", "--mount", "--propagation=private", "sh", "-c", SETUP, "sh"),
                *(self._base, sys.base_prefix, sysconfig.get_path("purelib"), ROOT, target),
                *packages,
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        try:
            self._wait_for_boot()
            self._install(version)
        except BaseException:
            self.destroy()
            raise

    def _wait_for_boot(self) -> None:
        self.leader = wait_for(self._find_leader, "systemd runs as the first process")
        self.root = Path(f"/proc/{self.leader}/root")
        wait_for(lambda: self.ask("systemctl", "is-system-running") == "running", "it is up")

    def reboot(self) -> None:
        """Shut the container down in order, and boot it again; its files stay."""
        before = psutil.Process(self.leader)
        self.run("systemctl", "reboot")
        wait_for(lambda: not before.is_running(), "it is down", PATIENCE * 3)
        self._wait_for_boot()

    def _find_leader(self) -> int | None:
        if self._nspawn.poll() is not None:
            pytest.skip(f"no systemd boots here: {self.boot_output()}")
        found = psutil.Process(self._nspawn.pid).children(recursive=True)
        with contextlib.suppress(psutil.NoSuchProcess):
            return next((each.pid for each in found if each.name() == "systemd"), None)
        return None

    def boot_output(self) -> str:
        """Return what the container and its parents printed."""
        self._output.seek(0)
        return self._output.read().decode(errors="replace").strip()

    def _install(self, version: str) -> None:
        """Make the environment of the units, /srv/app/.venv."""
        self.check("ldconfig")  # for the shared library of the interpreter
        packages = f"srv/app/.venv/lib/{version}/site-packages/checkout.pth"
        self.write(packages, "/opt/checkout\n/opt/packages\n")
        self.write("srv/app/.venv/pyvenv.cfg", "home = /opt/python/bin\n")
        self.write("srv/app/.venv/bin/prefork", PREFORK, 0o755)
        (self.root / "srv/app/.venv/bin/python").symlink_to(f"/opt/python/bin/{version}")
        assert "prefork" in self.check("/srv/app/.venv/bin/prefork", "--version")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of the container."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def run(self, *words: str, uid: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container to its end, in a clean environment."""
        path = "/srv/app/.venv/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        variables = [f"{key}={value}" for key, value in {"PATH": path, **environ}.items()]
        user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid else []
        enter = ["nsenter", f"--target={self.leader}", "--all", "--root"]
        return subprocess.run(
            [*enter, "env", "--ignore-environment", "--chdir=/", *variables, *user, *words],
            capture_output=True,
            text=True,
            timeout=PATIENCE * 3,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def check(self, *words: str, **environ: str) -> str:
        """Run a command that succeeds, and return its stdout."""
        done = self.run(*words, **environ)
        assert done.returncode == 0, (words, done.stdout, done.stderr, self.journal_text())
        return done.stdout

    def ask(self, *words: str) -> str:
        """Run a command that may fail, and return its stdout without the line end."""
        return self.run(*words).stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.ask("systemctl", "show", "--value", f"--property={name}", unit)

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """Return the records of the journal that match, oldest first."""
        self.run("journalctl", "--sync")
        found = self.ask("journalctl", "--output=json", "--all", "--quiet", "--no-pager", *matches)
        return [json.loads(line) for line in found.splitlines()]

    def journal_text(self) -> str:
        """Return the end of the journal, for the report of a failure."""
        return self.ask("journalctl", "--quiet", "--no-pager", "--lines=60")

    def processes(self, pattern: str) -> list[psutil.Process]:
        """Return the processes of the container whose command line has ``pattern``."""
        found = []
        for process in psutil.Process(self.leader).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if pattern in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def main_process(self, unit: str) -> psutil.Process:
        """Return the main process of a unit, as this machine sees it."""
        inside = int(self.show(unit, "MainPID"))
        for process in psutil.Process(self.leader).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
                status = Path(f"/proc/{process.pid}/status").read_text()
                if f"\t{inside}\n" in status.partition("NSpid:")[2].partition("\n")[0] + "\n":
                    return process
        raise AssertionError(f"{unit} has no main process {inside}")

    def require_memory_limits(self) -> str:
        """Let systemd limit the memory of units, and return the name of the limit's file.

        On a machine whose controllers are in hierarchies of version 1, systemd-nspawn mounts them
        read-only.
        """
        if "memory" in self.ask("cat", "/sys/fs/cgroup/cgroup.controllers").split():
            return "/sys/fs/cgroup/system.slice/{}/memory.max"
        if self.run("mount", "-o", "remount,bind,rw", "/sys/fs/cgroup/memory").returncode != 0:
            pytest.skip("systemd cannot limit memory in this container")
        self.check("systemctl", "daemon-reexec")
        return "/sys/fs/cgroup/memory/system.slice/{}/memory.limit_in_bytes"

    def connect(self, port: int) -> socket.socket:
        """Return a connection to a port of the container's loopback."""
        made: list[socket.socket | OSError] = []

        def enter() -> None:
            # A thread has a network namespace of its own; its sockets stay in it.
            libc = ctypes.CDLL(None, use_errno=True)
            with open(f"/proc/{self.leader}/ns/net") as namespace:
                if libc.setns(namespace.fileno(), 0) != 0:
                    made.append(OSError(ctypes.get_errno(), "setns"))
                    return
            try:
                made.append(socket.create_connection(("127.0.0.1", port), PATIENCE))
            except OSError as error:
                made.append(error)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if isinstance(made[0], OSError):
            raise made[0]
        return made[0]

    def get(self, port: int, path: str = "/") -> bytes:
        """Return the whole answer to a GET request."""
        with self.connect(port) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: test\r\n\r\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def destroy(self) -> None:
        """End all processes of the container, and remove what was made outside of it."""
        leader = getattr(self, "leader", None)
        if leader is not None and self._nspawn.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(leader, signal.SIGKILL)  # the kernel ends all of its pid namespace
        try:
            self._nspawn.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            for process in psutil.Process(self._nspawn.pid).children(recursive=True):
                process.kill()
            self._nspawn.kill()
            self._nspawn.wait()
        self._output.close()
        for root in (*CGROUP_ROOTS, *cgroup_folders("memory")):
            _remove_cgroups(Path(root, self._base.name))
        self._base.rmdir()


def _remove_cgroups(path: Path) -> None:
    """Remove a cgroup with all below it; its processes have ended."""
    if path.is_dir():
        for folder, _, _ in os.walk(path, topdown=False):
            wait_for(lambda folder=folder: _has_removed(folder), f"{folder} is empty")  # type: ignore[misc]


def _has_removed(folder: str) -> bool:
    try:
        os.rmdir(folder)
    except OSError:
        return False  # a process in it is about to end
    return True


@contextlib.contextmanager
def booted(target: str = "basic.target", packages: Sequence[Path] = ()) -> Iterator[Machine]:
    """Boot a container for the tests of a module; skip them where that is not possible."""
    require_boot()
    machine = Machine(target, packages)
    try:
        yield machine
    finally:
        machine.destroy()


def read_all(connections: Sequence[socket.socket]) -> list[bytes]:
    """Return what each connection gets until its end; a reset connection got nothing more."""
    answers = []
    for connection in connections:
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                answer += piece
        connection.close()
        answers.append(answer)
    return answers
