"""``prefork store APP``: show what is in the store that the workers of an app share, and change it.

Design
------
- **Root becomes the owner of the store before it opens a file there.** That user may put anything
  into the folder: a file that crashes its reader, or a link to a file of root's. So root only opens
  the folder, by descriptor and without following a link, and sees whose it is.
- **A child opens the files.** LMDB maps them into memory and trusts them, and a worker may change
  them at any time: a file that is cut short ends its reader by SIGBUS, and a lock inside of a file
  may be held without end, in a call that Ctrl-C does not interrupt. The command survives that and
  says what happened; Ctrl-C, or the end of the command, ends the child.
- **Keys are written as** ``keys`` **shows them** (view/stored_bytes.py), because they may have any
  byte. A pipe gets a value as it is, for programs; a terminal gets text.
"""

import argparse
import os
import signal
import struct
import sys
from collections.abc import Callable
from dataclasses import replace

from prefork.cli.output.output_streams import original_stream, print_json
from prefork.cli.output.standard_output import print_error
from prefork.cli.registry.client import Client
from prefork.cli.view.stored_bytes import (
    MAX_SHOWN,
    describe_value,
    escape_bytes,
    text_of_value,
    unescape_bytes,
)
from prefork.cli.view.units import format_bytes, format_count
from prefork.config.store_kind import is_server
from prefork.config.value_types import POSITIVE_DURATION
from prefork.errors import MachineError, PreforkError, UsageError
from prefork.plural import pluralize
from prefork.store.current_store import open_backend, place_in_state
from prefork.store.entry_format import count_by_namespace
from prefork.store.store_api import DEFAULT_TIMEOUT, Backend, SharedStore
from prefork.unix.directory import Directory
from prefork.unix.identity import describe_user, identity_of
from prefork.unix.process import fork, set_parent_death_signal, unblock_signals
from prefork.unix.registry_entry import RegistryEntry
from prefork.unix.store_place import StorePlace, close_stores

Options = argparse.Namespace

LIMIT = 180
"""Seconds until an operation has the store, or has changed it. A check of a large file takes up to
60, and another process may be at one already."""

OPEN_TIMEOUT = 70.0
"""Seconds to wait for another process that opens the store."""

DEFAULT_NAMESPACE = "(default)"
"""The name under which the namespace of ``prefork.store()`` is shown, which has none."""


class _UnusedStoreError(UsageError):
    """No worker has opened the store so far, so it has no files."""

    def __init__(self, app: str) -> None:
        super().__init__(f"no worker of {app} has used its store yet")


def run_store(client: Client, options: Options) -> int:
    """Carry out one operation on the store of an app. Return the exit code."""
    operation = options.operation or ("show" if options.namespace is None else "keys")
    act, least, most = _ACTIONS[operation]
    if not least <= len(options.words) <= most:
        raise UsageError(_usage(operation))
    entry = _find_app(client, options.app)
    place = place_in_state(entry)

    def operate(found: StorePlace) -> int:
        words = [unescape_bytes(os.fsencode(word)) for word in options.words]
        return act(open_backend(found), words, options)

    if place.kind == "off":
        raise UsageError(f"{entry.name} has no store: it was started with --store off")
    try:
        if not is_server(place.kind):
            place = _open_as_owner(entry, place)
            return run_in_child(place, operate, changes=operation in _CHANGES)
        if os.geteuid() == 0 and entry.owner != 0:
            _become(entry.owner, 0)
        return operate(place)
    except _UnusedStoreError as error:
        if operation != "show":
            raise
        print_json({"entries": 0, "namespaces": {}}) if options.json else print(error)
        return 0
    finally:
        close_stores()


def _find_app(client: Client, target: str) -> RegistryEntry:
    """Return the one app that a target means. Raises UsageError."""
    found = client.find(target)
    if len(found) == 1:
        return found[0]
    names = ", ".join(each.name for each in found) or "none"
    raise UsageError(
        f"store takes one app, and {target} means {pluralize(len(found), 'app')}: {names}"
    )


def _open_as_owner(entry: RegistryEntry, place: StorePlace) -> StorePlace:
    """Open the folder of the store, and as root become its owner. Raises PreforkError."""
    from prefork.store.store_folder import path_of_store, require_own_memory  # noqa: PLC0415 - LMDB

    path = path_of_store(place)
    try:
        parent, name = Directory.open_parent(path)
        with parent:
            folder = parent.open_subdirectory(name)
    except FileNotFoundError:
        raise _UnusedStoreError(entry.name) from None
    except OSError as error:
        raise MachineError(f"cannot open {path}: {error.strerror}") from error
    if place.kind == "memory" and place.owner is not None:
        require_own_memory(folder, place.owner)
    status = folder.status
    if os.geteuid() == 0 and status.st_uid != 0:
        import prefork.store.embedded  # noqa: F401, PLC0415 - that user may be unable to read it

        _become(status.st_uid, status.st_gid)
    return replace(place, folder=str(path), fd=folder.fd)


def run_in_child(
    place: StorePlace, operate: Callable[[StorePlace], int], changes: bool, limit: int = LIMIT
) -> int:
    """Carry out an operation on files that may be damaged; return the exit code.

    ``changes``: the operation writes, and prints little. ``limit``: seconds that it may take, and
    that another one may take to get the store. Raises MachineError.
    """
    parent = os.getpid()
    sys.stdout.flush()  # else the child would write the buffered text once more

    def carry_out() -> int:
        signal.alarm(limit)
        unblock_signals()
        if not set_parent_death_signal(signal.SIGKILL, parent):
            return MachineError.exit_code
        return _report_errors(place, lambda: _run_limited(place, operate, changes))

    ended = fork(carry_out).reap()
    if ended.code is not None:
        return ended.code
    if ended.signal == "SIGALRM":
        raise MachineError(
            f"the store in {place.folder} could not be opened or changed within {limit} s: a "
            "process of its owner holds it, or its files are damaged"
        )
    raise MachineError(
        f"the process that read the store in {place.folder} was ended by {ended.signal}: its files "
        "are damaged, or a process of its owner ended it"
    )


def _run_limited(place: StorePlace, operate: Callable[[StorePlace], int], changes: bool) -> int:
    """Carry out an operation in this child, which SIGALRM ends if it does not get the store.

    The reader of stdout may be a pager, so there is no limit for what only prints.
    """
    try:
        backend = open_backend(place)
        backend.open(OPEN_TIMEOUT)
        if not changes:
            backend.get(b"", OPEN_TIMEOUT)  # takes the lock of LMDB's readers
            signal.alarm(0)
        code = operate(place)
        sys.stdout.flush()
        return code
    finally:
        close_stores()


def _report_errors(place: StorePlace, run: Callable[[], int]) -> int:
    """Return the exit code of an operation in a child, after a message if it failed."""
    try:
        return run()
    except PreforkError as error:
        print_error(str(error))
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 128 + signal.SIGPIPE
    except (struct.error, ValueError) as error:
        print_error(f"the store in {place.folder} has what prefork did not write there: {error}")
        return MachineError.exit_code


def _become(uid: int, gid: int) -> None:
    """Give up root for good, and become a user. Raises MachineError."""
    try:
        identity_of(uid, gid).assume()
    except OSError as error:
        raise MachineError(f"cannot become {describe_user(uid)}: {error.strerror}") from error


def _open_namespace(backend: Backend, options: Options) -> SharedStore:
    """Return the namespace of the command line. Raises UsageError."""
    return SharedStore(backend, _namespace_name(options), DEFAULT_TIMEOUT)


def _namespace_name(options: Options) -> str:
    name = unescape_bytes(os.fsencode(options.namespace or ""))
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise UsageError(f"--namespace: {escape_bytes(name)} is not UTF-8") from None


def _show(backend: Backend, _words: list[bytes], options: Options) -> int:
    """Print the size of the store, and its namespaces with the numbers of their keys."""
    stats = backend.stats(DEFAULT_TIMEOUT)
    found = count_by_namespace(backend.keys(b"", DEFAULT_TIMEOUT))
    counts = {escape_bytes(name): count for name, count in found.items()}
    if options.json:
        print_json({**stats, "namespaces": counts})
        return 0
    limit = f" of {format_bytes(float(stats['size_bytes']))}" if "size_bytes" in stats else ""
    place = f" in {stats['path']}" if "path" in stats else ""
    print(f"{stats['backend']} store{place}")
    print(f"{format_bytes(float(stats['used_bytes']))}{limit} in use")
    if not counts:
        print("no keys")
        return 0
    width = max(map(len, [*counts, DEFAULT_NAMESPACE]))
    print(f"\n{'namespace':{width}}  {'keys':>9}")
    for name, count in counts.items():
        print(f"{name or DEFAULT_NAMESPACE:{width}}  {format_count(count):>9}")
    return 0


def _keys(backend: Backend, words: list[bytes], options: Options) -> int:
    """Print the keys of one namespace, one a line."""
    store = _open_namespace(backend, options)
    names = map(escape_bytes, store.keys(words[0] if words else b""))
    if options.json:
        print_json(list(names))
    else:
        for name in names:
            print(name)
    if options.namespace is None:
        _mention_other_namespaces(backend)
    return 0


def _mention_other_namespaces(backend: Backend) -> None:
    """Say which other namespaces have keys: those of the adapters for frameworks, for example."""
    counts = count_by_namespace(backend.keys(b"", DEFAULT_TIMEOUT))
    others = [f"{escape_bytes(name)} ({count})" for name, count in counts.items() if name]
    if others:
        print_error(f"keys of other namespaces, by --namespace NAME: {', '.join(others)}")


def _get(backend: Backend, words: list[bytes], options: Options) -> int:
    """Print the value of a key: as it is into a pipe, as text on a terminal."""
    key = words[0]
    value = _open_namespace(backend, options).get(key)
    if value is None:
        print_error(f"{escape_bytes(key)} has no value")
        return 1
    if options.json:
        print_json(describe_value(key, value))
    elif not sys.stdout.isatty():
        sys.stdout.flush()
        original_stream(sys.stdout).buffer.write(value)
    elif (text := text_of_value(value)) is not None:
        print(text.removesuffix("\n"))
    else:
        print(escape_bytes(value[:MAX_SHOWN]))
        beginning = f"the first {MAX_SHOWN} of " if len(value) > MAX_SHOWN else ""
        print_error(f"{beginning}{pluralize(len(value), 'byte')} that are no text; a pipe has all")
    return 0


def _set(backend: Backend, words: list[bytes], options: Options) -> int:
    value, ttl = os.fsencode(options.words[1]), _parse_ttl(options.ttl)
    _open_namespace(backend, options).set(words[0], value, ttl)
    return 0


def _parse_ttl(text: str | None) -> float | None:
    """Return the seconds that --ttl says; None: it was not given. Raises UsageError."""
    try:
        return None if text is None else float(POSITIVE_DURATION.parse(text))
    except ValueError as error:
        raise UsageError(f"--ttl: {text} is not {error}") from None


def _delete(backend: Backend, words: list[bytes], options: Options) -> int:
    """Remove a key. The exit code is 1 if it had no value."""
    if _open_namespace(backend, options).delete(words[0]):
        return 0
    print_error(f"{escape_bytes(words[0])} has no value")
    return 1


def _stats(backend: Backend, _words: list[bytes], options: Options) -> int:
    """Print the figures of the whole store."""
    stats = backend.stats(DEFAULT_TIMEOUT)
    if options.json:
        print_json(stats)
    else:
        for name, value in stats.items():
            print(f"{name:12} {value}")
    return 0


def _clear(backend: Backend, _words: list[bytes], _options: Options) -> int:
    backend.clear(DEFAULT_TIMEOUT)
    print("cleared; secrets stay")
    return 0


_ACTIONS: dict[str, tuple[Callable[[Backend, list[bytes], Options], int], int, int]] = {
    "show": (_show, 0, 0),
    "keys": (_keys, 0, 1),
    "get": (_get, 1, 1),
    "set": (_set, 2, 2),
    "delete": (_delete, 1, 1),
    "stats": (_stats, 0, 0),
    "clear": (_clear, 0, 0),
}
"""Each operation with the least and the most words that follow it."""

OPERATIONS = tuple(_ACTIONS)
_CHANGES = {"set", "delete", "clear"}
_WORDS = {
    "keys": " [PREFIX]",
    "get": " KEY",
    "set": " KEY VALUE [--ttl TIME]",
    "delete": " KEY",
}


def _usage(operation: str) -> str:
    return f"use it as `prefork store APP {operation}{_WORDS.get(operation, '')}`"
