"""``prefork why``: the deaths of workers, for people.

Design
------
- **Deaths are put together that differ only in addresses, pids and times in their reasons, or in
  their generation:** a fault that five reloads did not mend is one fault. ``--json`` prints each of
  them. The reasons in one answer of a master are bounded by bytes
  (``wire/control.py``): the oldest keep only their last line.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Death = Mapping[str, Any]

_VARYING = re.compile(
    r"\b0x[0-9a-f]+\b|\bpid \d+\b"
    r"|\b\d{4}-\d\d-\d\d\b|\d\d?[:_]\d\d[:_]\d\d(?:[.,_]\d+)?Z?",
    re.IGNORECASE,
)
"""Parts that differ in two reports of one fault: addresses of objects, pids, dates and times."""

_AMOUNT = re.compile(r"\d+(\.\d+)?")
"""Amounts in the reason of a recycling, such as ``512.3 MB`` or ``1007 requests``."""


@dataclass(slots=True)
class DeathGroup:
    """Deaths with the same cause and reason, of any slots and generations, ordered by time."""

    deaths: list[Death] = field(default_factory=list)

    @property
    def last(self) -> Death:
        """The latest death."""
        return self.deaths[-1]

    def headline(self) -> str:
        """Return one line: when, which worker or workers, and how they ended."""
        last, times = self.last, len(self.deaths)
        when = format_time(last)
        workers_text = f"worker {last['slot']} (pid {last['pid']}, gen {last['generation']})"
        if times > 1:
            slots = sorted({death["slot"] for death in self.deaths})
            workers = f"worker{'s' if len(slots) > 1 else ''} {', '.join(map(str, slots))}"
            when = f"{when}, {times} times since {format_time(self.deaths[0])}"
            oldest = min(death["generation"] for death in self.deaths)
            several = f"{oldest} to " if oldest != last["generation"] else ""
            workers_text = (
                f"{workers} (gen {several}{last['generation']}, the last was pid {last['pid']})"
            )
        killed = ", killed" if last["killed"] else ""
        why = f": {last['why']}" if last.get("why") else ""
        return f"{when} {workers_text}: {last['cause']}{why} ({last['detail']}{killed})"


def group_deaths(deaths: Sequence[Death]) -> list[DeathGroup]:
    """Return groups of deaths that are alike, the one with the latest death first."""
    groups: dict[object, DeathGroup] = {}
    for death in deaths:
        reason = _VARYING.sub("", death["reason"])
        why = _AMOUNT.sub("", death.get("why", ""))
        how = (death.get(name) for name in ("cause", "detail", "killed"))
        key = (*how, reason, why)
        group = groups.pop(key, None) or DeathGroup()
        group.deaths.append(death)
        groups[key] = group  # inserted again, so that the group with the latest death comes last
    return list(reversed(groups.values()))


def print_deaths(deaths: Sequence[Death], failure: str, ended: str = "") -> None:
    """Print the groups, the latest first, and why the last reload or the master failed.

    ``failure``: why the last reload failed, ``ended``: why the master did not start or gave up;
    both are left out when they are empty or when the reason of a death tells the same. Without
    them, wrong settings would not be reported: they kill no worker.
    """
    lines = []
    for group in group_deaths(deaths):
        lines.append(group.headline())
        if group.last["reason"]:
            lines.append(group.last["reason"])
    is_reported = any(death["reason"] and death["reason"] in failure for death in deaths)
    if failure and not is_reported:
        lines.insert(0, f"the last reload failed: {failure}")
    if ended and not any(_first_line(each["reason"]) in ended for each in deaths if each["reason"]):
        lines.insert(0, f"the master ended: {ended}")
    print("\n".join(lines or ["no worker has died"]))


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def format_time(death: Death) -> str:
    """Return the time of a death, on the clock of this machine."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(death["at"]))
