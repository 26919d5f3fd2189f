"""The embedded store beside damage, death, stopped processes, forks and a full store."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from prefork.errors import StoreBusy, StoreUnavailable, StoreValueError
from prefork.store.embedded import BATCH_BYTES, EmbeddedBackend
from prefork.store.entry_format import EXPIRY, expiry_key
from prefork.store.store_api import SharedStore
from prefork.store.store_change import Change
from prefork.store.store_folder import _FACTS
from prefork.store.store_snapshot import read_snapshot
from prefork.unix.directory import Directory
from tests.pure.store.stores import child, embedded_in, fill, in_child, place_in, write_for_ever

# Other processes.


def test_a_value_is_seen_by_other_processes(folder: Path) -> None:
    store = embedded_in(folder)
    store.set("key", b"value")

    def other() -> None:
        assert store.get("key") == b"value"
        store.set("key", b"theirs")

    assert in_child(other) == 0
    assert store.get("key") == b"theirs"


def increment(folder: Path, times: int) -> None:
    store = embedded_in(folder, 60)
    for _ in range(times):
        store.incr("n")


def test_no_increment_is_lost_among_processes_and_threads(folder: Path) -> None:
    store = embedded_in(folder, 60)
    threads = [threading.Thread(target=lambda: [store.incr("n") for _ in range(200)]) for _ in "12"]
    for each in threads:
        each.start()
    codes = [in_child(lambda: increment(folder, 200)) for _ in "123"]
    for each in threads:
        each.join()
    assert codes == [0, 0, 0]
    assert store.get("n") == b"1000"


def test_a_stopped_writer_costs_others_their_timeout_and_a_killed_one_nothing(folder: Path) -> None:
    with child(lambda writer: write_for_ever(folder, writer)) as pid:
        store = embedded_in(folder, 60)
        quick = embedded_in_same(store, 0.05)
        deadline = time.monotonic() + 60
        while True:  # stop it until that happens while it has the lock
            os.kill(pid, signal.SIGSTOP)
            message = busy_message(lambda: quick.set("mine", b"1"))
            assert store.get("key") is not None  # readers never wait
            if message:
                assert f"process {pid} has held the store" in message
                break
            os.kill(pid, signal.SIGCONT)
            assert time.monotonic() < deadline
        os.kill(pid, signal.SIGKILL)
        store.set("mine", b"2")
        assert store.get("mine") == b"2"


def busy_message(act: Callable[[], None]) -> str:
    """Return the message of the StoreBusy that ``act`` raises; empty: it raised none."""
    try:
        act()
    except StoreBusy as error:
        return str(error)
    return ""


def test_an_async_removal_counts_all_beside_hot_writers(folder: Path) -> None:
    store = embedded_in(folder, 60)
    store.set_many({f"page:{number:04}": b"1" for number in range(5000)})
    with (
        child(lambda writer: write_for_ever(folder, writer)),
        child(lambda writer: write_for_ever(folder, writer)),
    ):
        assert asyncio.run(store.adelete_prefix("page:")) == 5000
    assert list(store.keys("page:")) == []


def test_a_removal_ends_although_another_process_writes_such_keys(folder: Path) -> None:
    store = embedded_in(folder, 60)
    store.set("key", b"0")
    with child(lambda writer: write_for_ever(folder, writer)):
        assert store.delete_prefix("key") == 1


def embedded_in_same(store: SharedStore, timeout: float) -> SharedStore:
    return SharedStore(store._backend, timeout=timeout)


def test_killed_writers_leave_neither_damage_nor_locks(folder: Path) -> None:
    store = embedded_in(folder, 60)
    counts = []
    for _ in range(10):
        with child(lambda writer: write_for_ever(folder, writer)):
            pass
        counts.append(store.incr("key"))
    assert all(later >= 1 for later in counts)
    assert not list(folder.glob("damaged-*"))


def test_forks_of_the_app_use_no_environment_of_their_parent(folder: Path) -> None:
    store = embedded_in(folder, 60)
    for number in range(30):
        store.set("mine", b"%d" % number)

        def other() -> None:
            store.incr("n")
            assert store.get("mine") is not None

        assert in_child(other) == 0
        assert store.get("mine") == b"%d" % number
    assert store.get("n") == b"30"


def test_a_thread_may_use_the_store_while_another_one_forks(folder: Path) -> None:
    store = embedded_in(folder, 60)
    ended = threading.Event()

    def use() -> None:
        while not ended.is_set():
            store.incr("n")
            store.get("n")

    thread = threading.Thread(target=use)
    thread.start()
    try:
        assert [in_child(lambda: store.set("c", b"1")) for _ in range(30)] == [0] * 30
    finally:
        ended.set()
        thread.join()


# Damage, and the loss of power.


def reports_of_opening(folder: Path) -> tuple[list[str], list[bytes]]:
    """Open the store in this process; return its reports and its keys."""
    reports: list[str] = []
    backend = EmbeddedBackend(place_in(folder, report=reports.append))
    keys = list(SharedStore(backend).keys())
    backend.close()
    return reports, keys


def data_file(folder: Path) -> Path:
    (found,) = (path for path in folder.glob("data-*") if not path.name.endswith("-lock"))
    return found


@pytest.mark.parametrize("kind", ["noise", "zeros", "short", "text"])
def test_a_damaged_file_is_put_aside_and_the_snapshot_restored(folder: Path, kind: str) -> None:
    assert in_child(lambda: fill(folder)) == 0
    path = data_file(folder)
    size = path.stat().st_size
    damage = {
        "noise": os.urandom(size),
        "zeros": path.read_bytes()[:4096] + bytes(size - 4096),
        "short": path.read_bytes()[:8192],
        "text": b"<html>",
    }
    path.write_bytes(damage[kind])
    reports, keys = reports_of_opening(folder)
    assert "was damaged" in reports[0]
    assert "starts from its snapshot with 1000 entries" in reports[1]
    assert len(keys) == 1000
    assert len(list(folder.glob("damaged-*"))) == 1


def test_damage_under_a_running_process_is_found_when_one_died_of_it(folder: Path) -> None:
    assert in_child(lambda: fill(folder)) == 0
    store = embedded_in(folder)
    assert store.get("key1") is not None
    path = data_file(folder)
    with open(path, "r+b") as file:
        file.seek(8192)
        file.write(os.urandom(path.stat().st_size - 8192))
    (folder / "user.4194305").touch()  # a mark that a killed process left behind
    facts = store._backend._folder._facts  # type: ignore[attr-defined]
    facts[128:136] = bytes(8)  # the last check was long ago
    assert in_child(lambda: open_and_require(folder)) == 0
    assert store.get("key1") is not None  # this process goes on with the new file
    assert list(folder.glob("damaged-*"))


def open_and_require(folder: Path) -> None:
    reports, keys = reports_of_opening(folder)
    assert "was damaged" in reports[0]
    assert len(keys) == 1000


def test_after_another_boot_the_snapshot_counts(folder: Path) -> None:
    assert in_child(lambda: fill(folder)) == 0
    assert in_child(lambda: embedded_in(folder).set("later", b"not in the snapshot")) == 0
    facts = folder / "shared"
    data = facts.read_bytes()
    number, namespace, boot, *rest = _FACTS.unpack_from(data)
    other = bytes(reversed(boot))
    facts.write_bytes(_FACTS.pack(number, namespace, other, *rest) + data[_FACTS.size :])
    data_file(folder).write_bytes(b"torn")
    reports, keys = reports_of_opening(folder)
    assert reports == [f"{folder} starts from its snapshot with 1000 entries"]
    assert b"later" not in keys


@pytest.mark.parametrize("cut", [0, 10, 500, 5000])
def test_a_torn_snapshot_is_used_up_to_its_last_whole_block(folder: Path, cut: int) -> None:
    assert in_child(lambda: fill(folder)) == 0
    snapshot = folder / "snapshot"
    snapshot.write_bytes(snapshot.read_bytes()[:cut])
    data_file(folder).unlink()
    reports, keys = reports_of_opening(folder)
    assert "cannot be read whole" in reports[0]
    assert len(keys) < 1000
    assert embedded_in(folder).add("new", b"1")


def test_a_store_that_was_cleared_stays_empty_after_a_boot(folder: Path) -> None:
    assert in_child(lambda: fill(folder)) == 0
    store = embedded_in(folder)
    store.clear()
    assert list(store.keys()) == []
    assert not (folder / "snapshot").exists()


# Size.


def test_a_value_above_the_limit_is_refused_with_its_size(folder: Path) -> None:
    store = embedded_in(folder, size=1 << 20)
    store.set("fits", bytes(1 << 16))
    with pytest.raises(StoreValueError, match=r"the value has 65537 bytes, and the maximum is 655"):
        store.set("too large", bytes((1 << 16) + 1))


def test_a_full_store_drops_expired_and_then_the_oldest_entries(folder: Path) -> None:
    drops: list[int] = []
    backend = EmbeddedBackend(place_in(folder, 1 << 20, note_drops=drops.append))
    store = SharedStore(backend, timeout=60)
    store.set("gone", b"x", 0.001)
    for number in range(3000):
        store.set(f"{number:05}", bytes(1000))
    stats = store.stats()
    keys = list(store.keys())
    assert stats["dropped"] == sum(drops) == 3000 - len(keys) > 0
    assert stats["expired"] == 1
    assert int(stats["used_bytes"]) <= 1.1 * (1 << 20)
    assert keys[-1] == b"02999"
    assert data_file(folder).stat().st_size < 3 << 20


def test_an_entry_that_is_read_counts_as_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = embedded_in(folder, 60, 1 << 20)
    now = time.time()
    monkeypatch.setattr("prefork.store.embedded.time", lambda: now - 600)
    for number in range(400):
        store.set(f"{number:05}", bytes(1000))
    monkeypatch.setattr("prefork.store.embedded.time", lambda: now)
    assert store.get("00000") is not None
    for number in range(400, 800):
        store.set(f"{number:05}", bytes(1000))
    assert store.get("00000") is not None
    assert store.get("00001") is None


# Access.


def test_files_belong_to_their_user_alone(folder: Path) -> None:
    embedded_in(folder).set("key", b"")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_a_folder_that_others_may_enter_is_refused(folder: Path) -> None:
    folder.chmod(0o755)
    with pytest.raises(StoreUnavailable, match=f"chmod 700 {folder}"):
        embedded_in(folder)


def test_a_symlink_in_the_place_of_a_file_is_refused(folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (folder / "shared").symlink_to(victim)
    with pytest.raises(StoreUnavailable, match="cannot open the store"):
        embedded_in(folder)
    assert victim.read_text() == "precious"


def test_another_pid_namespace_is_refused_while_the_store_is_in_use(folder: Path) -> None:
    store = embedded_in(folder)
    store.set("key", b"1")
    # Not by a descriptor of its own: closing that would release the locks of this process.
    facts = store._backend._folder._facts  # type: ignore[attr-defined]
    number, namespace, *rest = _FACTS.unpack_from(facts)
    _FACTS.pack_into(facts, 0, number, namespace + 1, *rest)

    def other() -> None:
        with pytest.raises(StoreUnavailable, match="another PID namespace"):
            embedded_in(folder).get("key")

    assert in_child(other) == 0


def test_two_stores_of_a_process_share_the_descriptor_of_the_locks(folder: Path) -> None:
    """A second one, once closed, would release the locks of the first."""
    first, second = (EmbeddedBackend(place_in(folder))._folder.shared for _ in "12")
    assert first is second


def test_a_process_of_another_program_uses_the_same_store(folder: Path) -> None:
    store = embedded_in(folder)
    store.set("mine", b"1")
    code = "import prefork; prefork.store().set('key', prefork.store().get('mine') + b'2')"
    environ = {**os.environ, "PREFORK_STORE": str(folder)}
    subprocess.run([sys.executable, "-c", code], env=environ, check=True)
    assert store.get("key") == b"12"


# Indexes and batches.


def index_of_expiry(store: SharedStore) -> list[bytes]:
    """Return the keys in the index of expiry."""
    with store._backend._open_environment(2).begin() as transaction:  # type: ignore[attr-defined]
        return [bytes(key) for key, _ in transaction.cursor() if key.startswith(EXPIRY)]


def test_an_entry_has_one_place_in_the_index_of_expiry(folder: Path) -> None:
    store = embedded_in(folder)
    for ttl in (60, 3600, 60.001, 5, None, 7200):
        store.set("session", b"1", ttl)
        assert len(index_of_expiry(store)) == (ttl is not None)
    assert store.delete("session")
    assert index_of_expiry(store) == []


def test_an_index_that_is_wrong_removes_no_entry_that_lives(folder: Path) -> None:
    store = embedded_in(folder)
    store.set("here", b"1")
    key = next(store._backend.keys(b"", 2))
    with store._backend._open_environment(2).begin(write=True) as transaction:  # type: ignore[attr-defined]
        transaction.put(expiry_key(1, key), b"")
        change = Change(transaction, time.time())
        assert change.remove_expired(8) == 0
    assert store.get("here") == b"1"
    assert index_of_expiry(store) == []


def test_a_snapshot_of_large_values_has_blocks_that_fit_into_memory(folder: Path) -> None:
    def fill_with_large_values() -> None:
        backend = EmbeddedBackend(place_in(folder, 64 << 20))
        for number in range(12):
            SharedStore(backend).set(f"{number:02}", bytes(3 << 20))
        backend.close()

    assert in_child(fill_with_large_values) == 0
    with Directory.open(folder) as directory:
        blocks = [[len(value) for _, value in block] for block in read_snapshot(directory)]
    assert sum(map(len, blocks)) == 12
    assert max(map(sum, blocks)) < BATCH_BYTES + (4 << 20)
    data_file(folder).unlink()
    store = embedded_in(folder, size=64 << 20)
    assert len(list(store.keys())) == 12
