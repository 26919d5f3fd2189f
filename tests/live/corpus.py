"""The corpus of raw requests in tests/corpus/http.

A file is readable text, and its bytes are sent as written. Line ends and other unusual bytes are
escapes (``\\r\\n``, ``\\x00``); the file's own line ends mean nothing. The first line says which
status is expected and why. In a valid file JSON follows after ``---``: a part of the report that
the recorder app has to give. In it ``absent`` lists fields that the app must not have seen, and
``closes`` says that the connection ends with the response.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "corpus" / "http"


@dataclass(frozen=True)
class Case:
    """One request of the corpus, with its expected status and report."""

    name: str
    status: int
    raw: bytes
    account: dict[str, Any]


def load_cases(kind: str) -> list[Case]:
    """Return all cases of the folder ``valid`` or ``invalid``."""
    return [_read(path) for path in sorted((FOLDER / kind).glob("*.http"))]


def _read(path: Path) -> Case:
    text, _, account = path.read_text().partition("---\n")
    first, *lines = text.splitlines()
    status = re.match(r"# ([0-9]{3}) \S", first)
    assert status, f"{path}: the first line must be like '# 400 why'"
    raw = "".join(line for line in lines if not line.startswith("# "))
    assert raw.isascii(), f"{path}: write other than ASCII as escapes"
    return Case(
        name=path.stem,
        status=int(status[1]),
        raw=raw.encode().decode("unicode_escape").encode("latin-1"),
        account=json.loads(account) if account else {},
    )
