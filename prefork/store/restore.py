"""Fill a new store with the entries of a snapshot."""

from collections.abc import Iterable
from time import time
from typing import TYPE_CHECKING

from prefork.store.entry_format import unpack_entry
from prefork.store.store_change import Change

if TYPE_CHECKING:
    import lmdb


def restore_entries(
    environment: "lmdb.Environment",
    blocks: Iterable[list[tuple[bytes, bytes]]],
) -> int:
    """Write all entries that have not expired; return their number."""
    count = 0
    now = time()
    for block in blocks:
        with environment.begin(write=True) as transaction:
            for key, data in block:
                entry = unpack_entry(data)
                if not 0 < entry.expires <= now * 1000:
                    change = Change(transaction, now, entry.used)
                    change.put(key, entry.value, entry.expires)
                    count += 1
    return count
