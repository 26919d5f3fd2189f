"""Memory that processes share and that none of them can take away from another one.

It is an unnamed file (memfd_create(2)) whose size is sealed: a process that could shrink it would
kill every other one that maps it (SIGBUS, mmap(2)).

Design
------
- **Seals do not stop a process that has the file open for writing:** it can still punch holes
  (fallocate(2)). Hence three rules. A child gets mappings and no descriptor. The file has mode
  0600, so that a child of another user cannot open it again by /proc/self/fd (the kernel creates it
  with 0777). A mapping that is to be read-only comes from a descriptor that was opened for reading,
  because mprotect(2) would make any other one writable.
- **No F_SEAL_FUTURE_WRITE:** a master that execs itself could not map its own file again.
- **libc creates the mappings,** because Python's mmap keeps a duplicate of the descriptor (always
  until 3.12, by default since 3.13). They last as long as the process.
"""

import ctypes
import fcntl
import mmap
import os

from prefork.errors import MachineError

MADV_DONTFORK = 10
"""A constant of madvise(2). Python's mmap module names it, but can advise only its own objects."""

MAP_FIXED = 0x10
"""A constant of mmap(2) on Linux; Python's mmap module does not name it."""

_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def create_sealed_file(name: str, size: int) -> int:
    """Return a descriptor of a new file of ``size`` zero bytes, whose size is sealed.

    Raises MachineError.
    """
    try:
        fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.fchmod(fd, 0o600)  # memfd_create(2) makes it 0777
        os.ftruncate(fd, size)
        fcntl.fcntl(
            fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        )
    except OSError as error:
        raise MachineError(f"cannot create shared memory: {error.strerror}") from error
    return fd


def is_sealed(fd: int) -> bool:
    """Return whether the size of the file can never shrink, so that mapping it is safe."""
    try:
        return bool(fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK)
    except OSError:
        return False  # not a file of memfd_create(2)


def map_writable(fd: int, size: int, inherited: bool) -> memoryview:
    """Map the whole file for reading and writing. Raises MachineError.

    ``inherited``: children have the mapping, too. Otherwise nothing is mapped there in a child, and
    an access ends it with SIGSEGV (MADV_DONTFORK).
    """
    address = _map(fd, size, mmap.PROT_READ | mmap.PROT_WRITE)
    if not inherited and _libc.madvise(address, size, MADV_DONTFORK):
        raise _mmap_error()
    return _view(address, size)


def map_read_only(fd: int, size: int) -> memoryview:
    """Map the whole file for reading, for this process and its children. Raises MachineError.

    No call can make the mapping writable, because its descriptor was opened for reading.
    """
    try:
        reader = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise MachineError(f"cannot open shared memory by /proc: {error.strerror}") from error
    try:
        return _view(_map(reader, size, mmap.PROT_READ), size).toreadonly()
    finally:
        os.close(reader)


def make_private(view: "memoryview[int]", size: int) -> None:
    """Replace the mapping where ``view`` begins by ``size`` private bytes of zeros (MAP_FIXED).

    All objects that use the mapping see the new memory. Raises OSError.
    """
    start = ctypes.addressof(ctypes.c_char.from_buffer(view))
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_FIXED
    if _libc.mmap(start, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0) != start:
        raise OSError(ctypes.get_errno(), "cannot replace shared memory")


def _map(fd: int, size: int, access: int) -> int:
    address = _libc.mmap(None, size, access, mmap.MAP_SHARED, fd, 0)
    if address == _FAILED:
        raise _mmap_error()
    return int(address)


def _mmap_error() -> MachineError:
    return MachineError(f"cannot map shared memory: {os.strerror(ctypes.get_errno())}")


def _view(address: int, size: int) -> memoryview:
    return memoryview((ctypes.c_char * size).from_address(address)).cast("B")
