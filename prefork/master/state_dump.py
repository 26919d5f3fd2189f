"""Dump the whole state of a master: collect what its parts hold, as a MasterRecord in JSON."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Protocol

from prefork.json_records import dump_record
from prefork.master.children import Children
from prefork.master.generation import Generations
from prefork.master.master_logs import MasterLogs
from prefork.master.master_record import (
    AuxiliaryRecord,
    ChildRecord,
    ClientRecord,
    Descriptors,
    GenerationRecord,
    ListenerRecord,
    MasterRecord,
)
from prefork.master.programs import Programs
from prefork.master.status_report import describe_settings
from prefork.pool import Pool
from prefork.unix.listeners import Listener
from prefork.version import __version__


class DescriptorHolder(Protocol):
    """A part of the master that has descriptors open."""

    def descriptors(self) -> Descriptors:
        """Return its descriptors by role."""


class AuxiliaryHolder(Protocol):
    """A part of the master that has processes beside the workers."""

    def records(self) -> list[AuxiliaryRecord]:
        """Return what it holds of each of them."""


@dataclass(frozen=True, slots=True)
class MasterParts:
    """The parts of a master whose state is dumped.

    ``auxiliary``: those that have processes beside the workers. ``status_listeners``: the sockets
    of the status server. ``clients``: those of the control socket. ``holders``: the parts whose
    descriptors are the master's own.
    """

    pool: Pool
    generations: Generations
    children: Children
    programs: Programs
    logs: MasterLogs
    auxiliary: Sequence[AuxiliaryHolder]
    status_listeners: Sequence[Listener]
    clients: list[ClientRecord]
    holders: Sequence[DescriptorHolder]

    def dump(self) -> dict[str, Any]:
        """Return the state, as a MasterRecord in JSON."""
        own: Descriptors = {}
        for holder in self.holders:
            own |= holder.descriptors()
        record = MasterRecord(
            prefork=__version__,
            pid=os.getpid(),
            now=monotonic(),
            pool=self.pool,
            workers=[_record_worker(each, self.programs) for each in self.children.records()],
            generations=_record_generations(self.generations),
            listeners=_record_listeners(self.generations.listeners()),
            status_listeners=_record_listeners(self.status_listeners),
            auxiliary=[record for part in self.auxiliary for record in part.records()],
            outputs=self.logs.outputs(),
            clients=self.clients,
            descriptors=own,
        )
        return dict(dump_record(record))


def _record_worker(child: ChildRecord, programs: Programs) -> ChildRecord:
    """Return the record with the descriptors that a program has beside those of every worker."""
    return replace(
        child, descriptors=child.descriptors | programs.program_descriptors(child.worker)
    )


def _record_generations(generations: Generations) -> dict[int, GenerationRecord]:
    """Return what the master holds of each generation, by its number."""
    return {
        number: GenerationRecord(
            each.folder,
            each.imports,
            {listener.socket.fileno(): scheme for listener, scheme in each.listeners.items()},
            describe_settings(each.config),
        )
        for number, each in generations.items()
    }


def _record_listeners(listeners: Iterable[Listener]) -> list[ListenerRecord]:
    """Return what the master holds of its listeners."""
    return [
        ListenerRecord(
            str(each.address), each.socket.fileno(), list(each.inode) if each.inode else None
        )
        for each in listeners
    ]
