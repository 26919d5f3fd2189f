from collections.abc import Iterable

Pair = tuple[bytes, bytes] | tuple[str, str]

def compose_text(
    line: bytes, fields: Iterable[Pair], defaults: bytes, end: bytes, body: bytes
) -> bytes | None: ...
def compose_bytes(
    line: bytes, fields: Iterable[Pair], defaults: bytes, end: bytes, body: bytes
) -> bytes | None: ...
