"""The most memory that a process has had, as the kernel counts it: no peak is missed."""

import re
from pathlib import Path


class Peak:
    """From its making on."""

    def __init__(self, pid: int) -> None:
        self._process = Path(f"/proc/{pid}")
        # proc(5): 5 resets the peak to what is resident now.
        (self._process / "clear_refs").write_text("5")
        self._idle = self._read("VmRSS")

    def grown(self) -> int:
        """Bytes by which the peak exceeds the beginning."""
        return self._read("VmHWM") - self._idle

    def _read(self, field: str) -> int:
        found = re.search(rf"{field}:\s*(\d+) kB", (self._process / "status").read_text())
        assert found
        return int(found[1]) * 1024
