"""``prefork why``: the deaths of workers, for people. Deaths that are alike are told once."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Death = Mapping[str, Any]

_VARYING = re.compile(r"\b0x[0-9a-f]+\b|\bpid \d+\b", re.IGNORECASE)
"""What differs in two tracebacks of one fault: addresses of objects, and pids."""

_AMOUNT = re.compile(r"\d+(\.\d+)?")
"""What differs in why two workers were worn: ``512.3 MB``, ``1007 requests``."""


@dataclass(slots=True)
class DeathGroup:
    """Deaths with the same cause, generation and reason, in whatever slots, by their time."""

    deaths: list[Death] = field(default_factory=list)

    @property
    def last(self) -> Death:
        """The youngest."""
        return self.deaths[-1]

    def headline(self) -> str:
        """When, which worker or workers, and how it ended."""
        last, times = self.last, len(self.deaths)
        when = format_time(last)
        workers_text = f"worker {last['slot']} (pid {last['pid']}, gen {last['generation']})"
        if times > 1:
            slots = sorted({death["slot"] for death in self.deaths})
            workers = f"worker{'s' if len(slots) > 1 else ''} {', '.join(map(str, slots))}"
            when = f"{when}, {times} times since {format_time(self.deaths[0])}"
            workers_text = f"{workers} (gen {last['generation']}, the last was pid {last['pid']})"
        killed = ", killed" if last["killed"] else ""
        why = f": {last['why']}" if last.get("why") else ""
        return f"{when} {workers_text}: {last['cause']}{why} ({last['detail']}{killed})"


def group_deaths(deaths: Sequence[Death]) -> list[DeathGroup]:
    """The deaths by what they have in common, in the order of the youngest of each."""
    groups: dict[object, DeathGroup] = {}
    for death in deaths:
        reason = _VARYING.sub("", death["reason"])
        why = _AMOUNT.sub("", death.get("why", ""))
        how = (death.get(name) for name in ("generation", "cause", "detail", "killed"))
        key = (*how, reason, why)
        group = groups.pop(key, None) or DeathGroup()
        group.deaths.append(death)
        groups[key] = group  # the youngest of this kind comes last now
    return list(groups.values())


def print_deaths(deaths: Sequence[Death], failure: str) -> None:
    """Print the last deaths, the youngest last, and why the last reload failed, if it did and none
    of the deaths tells it: its settings may be wrong."""
    lines = []
    for group in group_deaths(deaths):
        lines.append(group.headline())
        if group.last["reason"]:
            lines.append(group.last["reason"])
    told = any(death["reason"] and death["reason"] in failure for death in deaths)
    if failure and not told:
        lines.append(f"the last reload failed: {failure}")
    print("\n".join(lines or ["no worker has died"]))


def format_time(death: Death) -> str:
    """When it was, on the clock of this machine."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(death["at"]))
