"""The walks in architecture.md: the functions that a request and a reload pass, in their order."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

_HOP = re.compile(r"(\d+)\. `([\w/]+\.py)` `([\w.]+)`( \(event\))?: ")


@dataclass(frozen=True)
class Hop:
    """One function of a walk.

    ``is_event``: an event calls it; else the function before it or an earlier one does.
    """

    file: str
    function: str
    is_event: bool

    @property
    def name(self) -> str:
        """The name as in ``prefork/master/master.py Master.reload``."""
        return f"{self.file} {self.function}"


def read_walk(title: str) -> list[Hop]:
    """Return the hops of the section with this title. Raises AssertionError if it is no walk."""
    text = (ROOT / "prefork/docs/architecture.md").read_text()
    _, found, section = text.partition(f"\n## {title}\n")
    assert found, f"the page has no section {title}"
    lines = section.partition("\n## ")[0].splitlines()
    items = [line for line in lines if re.match(r"\d+\.", line)]
    hops = []
    for number, line in enumerate(items, start=1):
        hop = _HOP.match(line)
        assert hop, f"no hop: {line}"
        assert int(hop[1]) == number, line
        hops.append(Hop(f"prefork/{hop[2]}", hop[3], hop[4] is not None))
    return hops
