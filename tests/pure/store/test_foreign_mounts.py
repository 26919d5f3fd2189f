"""The embedded store where other machines or containers could change it."""

import ctypes
import os
import select
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prefork.errors import StoreUnavailable
from prefork.store.store_folder import open_store_directory
from tests.pure.store.stores import embedded_in, place_in

LIBC = ctypes.CDLL(None, use_errno=True)
MNT_DETACH = 2

# The protocol of FUSE, as in include/uapi/linux/fuse.h.
GETATTR, INIT, OPENDIR, RELEASEDIR, FORGET, DESTROY = 3, 26, 27, 29, 2, 38
IN_HEADER, OUT_HEADER = struct.Struct("<IIQQIIIHH"), struct.Struct("<IiQ")
INIT_OUT = struct.Struct("<4I2H2I2H8I")
ATTRIBUTES = struct.Struct("<QII6Q10I")
OPENED = struct.Struct("<QIi")
ENOSYS = 38


def serve_empty_folder(fd: int, end: int) -> None:
    """Answer the kernel as the server of a file system whose root is an empty folder, until ``end``
    is readable."""
    answers = {
        INIT: INIT_OUT.pack(7, 31, 0, 0, 0, 0, 4096, 1, 0, 0, *[0] * 8),
        GETATTR: ATTRIBUTES.pack(
            *(1, 0, 0),
            *(1, 0, 0, 0, 0, 0),
            *(0, 0, 0, 0o40700, 2, os.getuid(), os.getgid(), 0, 0, 0),
        ),
        OPENDIR: OPENED.pack(0, 0, 0),
        RELEASEDIR: b"",
    }
    while True:
        if end in select.select([fd, end], [], [])[0]:
            return
        try:
            request = os.read(fd, 1 << 17)
            _, operation, number, *_ = IN_HEADER.unpack_from(request)
            if operation not in (FORGET, DESTROY):
                body = answers.get(operation)
                error = 0 if body is not None else -ENOSYS
                answer = body or b""
                os.write(fd, OUT_HEADER.pack(OUT_HEADER.size + len(answer), error, number) + answer)
        except OSError:
            return


@contextmanager
def mounted(folder: Path, kind: str) -> Iterator[None]:
    """Mount an empty file system that the kernel calls ``fuse.KIND``."""
    try:
        fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        pytest.skip(f"cannot open /dev/fuse: {error.strerror}")
    options = f"fd={fd},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    words = (kind.encode(), os.fsencode(folder), f"fuse.{kind}".encode())
    if LIBC.mount(*words, 0, options.encode()) != 0:
        os.close(fd)
        pytest.skip(f"cannot mount a FUSE file system: {os.strerror(ctypes.get_errno())}")
    reader, writer = os.pipe()
    server = threading.Thread(target=serve_empty_folder, args=(fd, reader))
    server.start()
    try:
        yield
    finally:
        LIBC.umount2(os.fsencode(folder), MNT_DETACH)
        os.write(writer, b".")
        server.join()
        for each in (fd, reader, writer):
            os.close(each)


@pytest.mark.parametrize("kind", ["sshfs", "glusterfs"])
def test_a_folder_on_a_network_file_system_is_refused(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "store"
    folder.mkdir(mode=0o700)
    with (
        mounted(folder, kind),
        pytest.raises(StoreUnavailable, match=rf"is on a network file system \(fuse\.{kind}\)"),
    ):
        open_store_directory(place_in(folder))


def test_a_refused_folder_costs_no_descriptor(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    before = os.listdir("/proc/self/fd")
    for _ in "123":
        with pytest.raises(StoreUnavailable, match="chmod 700"):
            embedded_in(tmp_path)
    assert os.listdir("/proc/self/fd") == before


def test_a_local_file_system_of_a_server_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir(mode=0o700)
    with mounted(folder, "bindfs"):
        open_store_directory(place_in(folder)).close()


IN_CONTAINER = """
import sys
from pathlib import Path
from tests.pure.store.stores import embedded_in
try:
    embedded_in(Path(sys.argv[1])).get("key")
except Exception as error:
    print(error)
"""


def test_a_process_of_another_pid_namespace_is_refused(tmp_path: Path) -> None:
    unshare = (shutil.which("unshare") or "unshare", "--pid", "--fork")
    try:
        subprocess.run([*unshare, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("cannot make a PID namespace")
    tmp_path.chmod(0o700)
    store = embedded_in(tmp_path)
    store.set("key", b"1")
    code = [*unshare, sys.executable, "-c", IN_CONTAINER, str(tmp_path)]
    done = subprocess.run(code, capture_output=True, text=True, check=True, timeout=120)
    assert "processes of another PID namespace (container) use the store" in done.stdout
    assert store.get("key") == b"1"
