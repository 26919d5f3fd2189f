"""The entries that a store drops when it is full."""

from pathlib import Path

from tests.pure.store.stores import embedded_in


def test_a_store_of_large_values_drops_no_more_than_it_must(folder: Path) -> None:
    size = 16 << 20
    store = embedded_in(folder, 60, size)
    for number in range(30):
        store.set(f"k{number:02}", b"small")
    for number in range(18):
        store.set(f"v{number:02}", bytes(size // 17))
        assert store.get(f"v{number:02}") is not None
    large = [key for key in store.keys() if key.startswith(b"v")]  # noqa: SIM118 - no dict
    assert large == [b"v%02d" % number for number in range(2, 18)]


def test_what_was_just_written_is_not_dropped(folder: Path) -> None:
    store = embedded_in(folder, 60, 2 << 20)
    for number in range(1000):
        assert store.incr("a counter") == number + 1
        key = f"{number * 7919 % 1000:04}"
        store.set(key, bytes(9000))
        assert store.get(key) is not None
    assert int(store.stats()["used_bytes"]) <= 2 << 20


def test_a_change_drops_no_key_of_its_own(folder: Path) -> None:
    store = embedded_in(folder, 60, 1 << 20)
    for number in range(20):
        values = {f"{number:02}.{each:02}": bytes(30_000) for each in range(15)}
        store.set_many(values)
        assert len(store.get_many(values)) == 15


def test_small_values_with_long_keys_keep_the_limit(folder: Path) -> None:
    store = embedded_in(folder, 60, 2 << 20)
    for number in range(20_000):
        store.add(f"event:{number:094}", b"")
    stats = store.stats()
    assert int(stats["used_bytes"]) <= 1.1 * (2 << 20)
    assert int(stats["dropped"]) > 0
    for start in range(0, 20_000, 1000):
        store.set_many({f"many:{number:095}": b"" for number in range(start, start + 1000)})
    assert int(store.stats()["used_bytes"]) <= 1.2 * (2 << 20)
