"""The attacks: each is a function that runs in a child of a real master, and never returns.

A copy of this file is put beside the app that the master serves, so it imports nothing of the
tests. The attacks find the channels as any code in that process could: among the objects in memory.
"""

import array
import contextlib
import ctypes
import gc
import itertools
import json
import math
import mmap
import os
import random
import re
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

FALLOC_FL_PUNCH_HOLE, FALLOC_FL_KEEP_SIZE, MADV_REMOVE = 2, 1, 9
SCM_CREDENTIALS = 2

RANDOM = random.Random(int(os.environ.get("ATTACK_SEED", "1")))


def find_object(kind: str) -> Any:
    """Return the object of this class that this process has."""
    gc.unfreeze()  # else the collector does not know the objects of the master
    for each in gc.get_objects():
        if f"{type(each).__module__}.{type(each).__name__}" == kind:
            return each
    raise LookupError(kind)


def random_messages() -> Iterator[bytes]:
    """Yield random bytes, and texts that are almost valid."""
    says = ["ready", "failed", "drained", "done", "talk", "logs", "outlet", "sing", 5, None, [], {}]
    numbers = [0, 1, -1, 2**63, 1e300, math.nan, math.inf, "1", None, [1], {}, True]
    while True:
        yield RANDOM.randbytes(RANDOM.randrange(200))
        says_it = {"say": RANDOM.choice(says), "number": RANDOM.choice(numbers)}
        yield json.dumps({**says_it, "text": RANDOM.choice(numbers), "code": 1}).encode()
        yield json.dumps(RANDOM.choice(numbers)).encode()
        yield b"[" * RANDOM.randrange(3000)
        yield b""
        yield b'{"say": "' + bytes(RANDOM.randrange(256) for _ in range(20)) + b'"}'
        yield b"x" * RANDOM.randrange(20_000)


def lingering_socket() -> int:
    """Return a TCP socket that takes an hour to close for the process that closes its last copy."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        far = socket.create_connection(listening.getsockname())
        near, _ = listening.accept()
    near.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            near.send(b"x" * 65536)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    _FAR.append(far)
    del _FAR[:-50]
    return near.detach()


_FAR: list[socket.socket] = []


def make_descriptors() -> list[int]:
    """Return new descriptors of awkward kinds; the caller closes them."""
    reader, writer = os.pipe()
    one, other = socket.socketpair()
    descriptors = [reader, writer, one.detach(), other.detach()]
    descriptors += [os.memfd_create("gift"), lingering_socket()]
    RANDOM.shuffle(descriptors)
    return descriptors


def send_with_descriptors(end: socket.socket, data: bytes, credentials: bool = False) -> None:
    """Send ``data`` with some descriptors, and close all of them."""
    fds = make_descriptors()
    sent = fds[: RANDOM.randrange(len(fds) + 1)]
    extra: list[Any] = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", sent))]
    if credentials:
        own = struct.pack("iII", os.getpid(), os.getuid(), os.getgid())
        extra.insert(0, (socket.SOL_SOCKET, SCM_CREDENTIALS, own))
    try:
        end.sendmsg([data], extra, socket.MSG_DONTWAIT)
    except OSError:
        sent = []
    for fd in fds:
        if fd not in sent:
            do_not_linger(fd)  # else this process would wait for the close
        os.close(fd)


def do_not_linger(fd: int) -> None:
    """Turn SO_LINGER off if ``fd`` is a socket."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))


# Workers.


def shrink_and_punch() -> None:
    """Try to take the scoreboard's memory away, or to write the master's part, in all known
    ways."""
    row = find_object("prefork.unix.scoreboard.Row")
    while True:
        for name in os.listdir("/proc/self/fd"):
            for fd in (int(name), reopened(name)):
                with contextlib.suppress(OSError):
                    if "memfd:prefork" in os.readlink(f"/proc/self/fd/{fd}"):
                        libc.fallocate(
                            fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                            ctypes.c_long(0), ctypes.c_long(1 << 20),
                        )  # fmt: skip
                        os.ftruncate(fd, 0)
        for start, end in mappings("memfd:prefork"):
            size = ctypes.c_size_t(end - start)
            libc.madvise(start, size, MADV_REMOVE)
            if not libc.mprotect(start, size, mmap.PROT_READ | mmap.PROT_WRITE):
                ctypes.memset(start, RANDOM.randrange(256), end - start)
        row.counts[0] += 1


def reopened(name: str) -> int:
    """Return a descriptor of the same file for writing; -1 if that is refused.

    Only shared memory is opened: a terminal or a pipe must not be kept open.
    """
    with contextlib.suppress(OSError):
        if "memfd:" in os.readlink(f"/proc/self/fd/{name}"):
            return os.open(f"/proc/self/fd/{name}", os.O_RDWR | os.O_NONBLOCK)
    return -1


def mappings(name: str) -> list[tuple[int, int]]:
    """Return where files of that name are mapped."""
    with open("/proc/self/maps") as maps:
        lines = [line for line in maps if name in line]
    ends = [re.match(r"([0-9a-f]+)-([0-9a-f]+)", line) for line in lines]
    return [(int(each[1], 16), int(each[2], 16)) for each in ends if each]


def scribble() -> None:
    """Write random bits into all rows and all loads, without end."""
    row = find_object("prefork.unix.scoreboard.Row")
    start, _ = next(
        place for place in mappings("memfd:prefork-workers") if place[1] - place[0] > 1 << 20
    )
    words = [struct.pack("=d", number) for number in (math.nan, math.inf, -1.0, 1e300, 5e-324, 0.0)]
    words += [b"\xff" * 8, bytes(8), b"\x01" + bytes(7)]
    for turn in itertools.count():
        words.append(RANDOM.randbytes(8))
        pattern = b"".join(RANDOM.choices(words, k=32)) * 64
        del words[-1]
        for place in range(start, start + 32768 + 8 * 2048, 2048):
            ctypes.memmove(place, pattern, 2048)
        row.counts[0] = turn * 2 + 1
        select.select([], [], [], 0.001)


def fill_queue() -> None:
    """Put messages that are no connections into the queue that all workers share."""
    queue = find_object("prefork.unix.shared_queue.SharedQueue")
    end = queue._sender
    queue.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    for data in random_messages():
        os.set_blocking(queue.socket.fileno(), True)
        send_with_descriptors(end, data, credentials=RANDOM.random() < 0.5)
        send_with_descriptors(end, struct.pack("=H64sH64sH", socket.AF_INET, b"\xff", 1, b"", 1))
        select.select([], [], [], 0.001)


def strand_lingering_connections() -> None:
    """Fill the shared queue with connections that linger, declare that no worker shares, and
    exit."""
    queue = find_object("prefork.unix.shared_queue.SharedQueue")
    row = find_object("prefork.unix.scoreboard.Row")
    shares = 11
    for _ in range(40):
        fd = lingering_socket()
        addresses = type("Addresses", (), {"client": None, "server": None})()
        if not queue.put(fd, socket.AF_INET, addresses):
            do_not_linger(fd)
        os.close(fd)
    row.counts[shares] = 0
    select.select([], [], [], 0.2)
    os.kill(os.getpid(), signal.SIGKILL)


def shut_down_queue() -> None:
    """Shut the shared queue down, so that no connection can be shared any more."""
    find_object("prefork.unix.shared_queue.SharedQueue").socket.shutdown(socket.SHUT_RDWR)
    wait_forever()


def ready_pipe_line_ends() -> None:
    """Write line ends to the ready pipe without end."""
    write_forever(itertools.repeat(b"\n" * 65536))


def ready_pipe_valid_messages() -> None:
    """Write valid messages to the ready pipe without end."""
    right = b'{"say": "worn", "text": "again"}\n{"say": "ready"}\n{"say": "leaving"}\n'
    write_forever(itertools.repeat(right * 1000))


def ready_pipe_endless_line() -> None:
    """Write one endless line to the ready pipe."""
    write_forever(itertools.repeat(b"x" * 65536))


def ready_pipe_random_bytes() -> None:
    """Write random bytes to the ready pipe."""
    write_forever(data + b"\n" * RANDOM.randrange(3) for data in random_messages())


def write_forever(chunks: Iterator[bytes]) -> None:
    fd = find_object("prefork.worker.master_channel.MasterChannel")._fd
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
    for chunk in chunks:
        with contextlib.suppress(OSError):
            os.write(fd, chunk)
        select.select([], [], [], 0.0001)


def wait_forever() -> None:
    """Wait until the process is killed."""
    threading.Event().wait()


# Auxiliary processes. Each gets its end of the channel to the master.


def channel_random_bytes(end: socket.socket) -> None:
    """Send random messages; start with another kind each time that the master replaces the
    process."""
    sent = random_messages()
    for _ in range(RANDOM.randrange(7)):
        next(sent)
    end.setblocking(True)
    for data in sent:
        with contextlib.suppress(OSError):
            end.send(data)
        select.select([], [], [], 0.001)


def channel_descriptors(end: socket.socket) -> None:
    """Send valid messages with descriptors that linger."""
    while True:
        send_with_descriptors(end, b'{"say": "logs"}')


def channel_many_sessions(end: socket.socket) -> None:
    """Open more control sessions than any process needs, send a request on each and keep them
    open."""
    kept: list[int] = []
    end.setblocking(True)
    for number in itertools.count():
        end.send(json.dumps({"say": "talk", "number": number}).encode())
        with contextlib.suppress(OSError):
            _, fds, _, _ = socket.recv_fds(end, 4096, 4, socket.MSG_DONTWAIT)
            for fd in fds:
                os.write(fd, b'{"verb": "why"}\n' if number % 2 else b'{"verb": "wh')
            kept += fds
        while len(kept) > 500:
            os.close(kept.pop(0))


def channel_closed(end: socket.socket) -> None:
    """Close the channel while the process lives on."""
    end.shutdown(socket.SHUT_RDWR)
    wait_forever()


def pipe_of_any_bytes(fd: int) -> None:
    """Write random bytes to the pipe of a watcher."""
    sent = random_messages()
    for _ in range(RANDOM.randrange(7)):
        next(sent)
    for data in sent:
        os.write(fd, data + b"\n")
        select.select([], [], [], 0.001)


# Programs.


def send_notifications() -> None:
    """Send random bytes, and descriptors that linger, to the notify socket."""
    address = "\0" + os.environ["NOTIFY_SOCKET"][1:]
    end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    end.connect(address)
    end.send(b"READY=1")
    for data in random_messages():
        with contextlib.suppress(OSError):
            end.send(data, socket.MSG_DONTWAIT)
            end.send(b"STATUS=" + data[:3000] + b"\nWATCHDOG=1", socket.MSG_DONTWAIT)
        send_with_descriptors(end, b"BARRIER=1", credentials=RANDOM.random() < 0.5)
        os.write(2, data[:2000])


# Clients of the control socket.


def send_requests(path: str) -> None:
    """Send random bytes, requests that are almost valid, and descriptors that linger."""
    verbs = ["ping", "show", "why", "scale", "signal", "plan", "events", "stop", "wait", "sing", 5]
    for data in random_messages():
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as end:
            end.connect(path)
            words = {"verb": RANDOM.choice(verbs), "arguments": {"workers": 1, "signal": "x"}}
            end.setblocking(False)
            end.send(json.dumps(words).encode()[: RANDOM.randrange(100)] + b"\n" + data)
            send_with_descriptors(end, data + b"\n", credentials=RANDOM.random() < 0.5)
            send_with_descriptors(end, b'{"verb": "ping"}\n')


WORKERS: dict[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        shrink_and_punch,
        scribble,
        fill_queue,
        strand_lingering_connections,
        shut_down_queue,
        ready_pipe_line_ends,
        ready_pipe_valid_messages,
        ready_pipe_endless_line,
        ready_pipe_random_bytes,
    )
}

LINES: dict[str, Callable[[socket.socket], None]] = {
    each.__name__: each
    for each in (channel_random_bytes, channel_descriptors, channel_many_sessions, channel_closed)
}


def start_attack() -> None:
    """Start the attack that the environment names, in the worker of slot 0 once it is ready.

    A worker that fails before it is ready would end the start.
    """

    def life() -> None:
        while not find_object("prefork.worker.master_channel.MasterChannel").is_ready:
            select.select([], [], [], 0.001)
        WORKERS[os.environ["ATTACK"]]()

    if os.environ.get("PREFORK_SLOT") == "0":
        threading.Thread(target=life, daemon=True).start()


if __name__ == "__main__":
    if sys.argv[1] == "send_notifications":
        send_notifications()
    else:
        send_requests(sys.argv[2])
