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
        limit = f" by --{last['exceeded']}" if last.get("exceeded") else ""
        killed = f", killed{limit}" if last["killed"] else ""
        why = f": {last['why']}" if last.get("why") else ""
        return f"{when} {workers_text}: {last['cause']}{why} ({last['detail']}{killed})"


def group_deaths(deaths: Sequence[Death]) -> list[DeathGroup]:
    """Return groups of deaths that are alike, the one with the latest death first."""
    groups: dict[object, DeathGroup] = {}
    for death in deaths:
        reason = _VARYING.sub("", death["reason"])
        why = _AMOUNT.sub("", death.get("why", ""))
        how = (death.get(name) for name in ("cause", "detail", "killed", "exceeded"))
        key = (*how, reason, why)
        group = groups.pop(key, None) or DeathGroup()
        group.deaths.append(death)
        groups[key] = group  # inserted again, so that the group with the latest death comes last
    return list(reversed(groups.values()))


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the last reload failed, or why the master did not start or gave up, and when that was.

    ``reason``: empty: it did not. ``at``: Unix time; None: a master of an earlier version does not
    tell it.
    """

    reason: str = ""
    at: float | None = None

    def headline(self, what: str) -> str:
        """Return one line or more: the time, ``what`` failed, and why."""
        when = "" if self.at is None else f"{format_time({'at': self.at})} "
        return f"{when}{what}: {self.reason}"


def print_deaths(
    name: str, deaths: Sequence[Death], reload: Failure, end: Failure = Failure()
) -> None:
    """Print the groups, the latest first, and why the last reload or the master failed.

    ``name``: of the app, for the line that says that no worker has died.

    Both failures are left out when the reason of a death tells the same. Without them, wrong
    settings would not be reported: they kill no worker.
    """
    lines = []
    for group in group_deaths(deaths):
        lines.append(group.headline())
        if group.last["reason"]:
            lines.append(group.last["reason"])
    reasons = [death["reason"] for death in deaths if death["reason"]]
    if reload.reason and not any(reason in reload.reason for reason in reasons):
        lines.insert(0, reload.headline("the last reload failed"))
    if end.reason and not any(_first_line(reason) in end.reason for reason in reasons):
        lines.insert(0, end.headline("the master ended"))
    print("\n".join(lines or [f"{name}: no worker has died"]))


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def format_time(death: Death) -> str:
    """Return the time of a death, on the clock of this machine."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(death["at"]))
