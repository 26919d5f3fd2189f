"""The reports of the Node shim about a process (wire/notify.py)."""

import pytest

from prefork.wire.notify import decode_notification, describe_node


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"READY=1", ""),
        (b"X_PREFORK_NODE=20.20.2\nREADY=1", "on, in Node 20.20.2"),
        (
            b"X_PREFORK_NODE=23.0.0-nightly.1\nX_PREFORK_NODE_PORT=3000",
            "on, in Node 23.0.0-nightly.1; it asks for port 3000 and gets the bound one",
        ),
        (b"X_PREFORK_NODE=20\nX_PREFORK_NODE_PORT=\x1b[31m", "on, in Node 20"),
        (b"X_PREFORK_NODE=\x1b[31mred", ""),
        (b"X_PREFORK_NODE=" + b"9" * 4000, ""),
    ],
)
def test_a_report_is_described_and_a_hostile_one_is_not(message: bytes, text: str) -> None:
    assert describe_node(decode_notification(message)) == text
