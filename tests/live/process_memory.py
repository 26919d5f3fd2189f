"""How much memory a process uses, as the kernel counts it."""

import re
from pathlib import Path


class PeakMemory:
    """The peak memory of a process since this object was made. The kernel keeps the peak, so none
    is missed."""

    def __init__(self, pid: int) -> None:
        self._process = Path(f"/proc/{pid}")
        # proc(5): 5 resets the peak to what is resident now.
        (self._process / "clear_refs").write_text("5")
        self._idle = self._read("VmRSS")

    def grown(self) -> int:
        """Return the bytes by which the peak exceeds the memory at the beginning."""
        return self._read("VmHWM") - self._idle

    def _read(self, field: str) -> int:
        found = re.search(rf"{field}:\s*(\d+) kB", (self._process / "status").read_text())
        assert found
        return int(found[1]) * 1024


def private_bytes(pid: int) -> int:
    """Return the bytes that a process shares with no other one."""
    maps = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(size) * 1024 for size in re.findall(r"Private_\w+:\s+(\d+) kB", maps))
