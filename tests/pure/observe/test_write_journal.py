"""A log writer that dies in a batch, at each step, and the next log writer."""

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from prefork.observe.log_records import format_text
from prefork.observe.log_rotation import RotationPolicy
from prefork.observe.log_writer import LogWriter
from prefork.observe.logger import Log
from prefork.observe.output_files import OutputFiles
from prefork.observe.write_journal import _MARK, VERSION, Batch, WriteJournal
from prefork.unix.descriptor_channel import open_channel_pair
from prefork.unix.directory import Directory
from prefork.unix.pipes import Pipe, open_output_pipe
from prefork.wire.log_writer_messages import WorkerStream

OUTLET = WorkerStream(number=1, slot=0, pid=7, stream="out")
PRINTED = b"one\ntwo\n"
RECORDS = format_text(OUTLET, "2026-11-24 23:59:01.123", [b"one", b"two"])
Step = Callable[[WriteJournal, Batch, Path, Pipe], None]


def begin(journal: WriteJournal, batch: Batch, path: Path, pipe: Pipe) -> None:
    journal.begin(batch)


def write_some(journal: WriteJournal, batch: Batch, path: Path, pipe: Pipe) -> None:
    with open(path, "ab") as file:
        file.write(RECORDS[:20])


def write_rest(journal: WriteJournal, batch: Batch, path: Path, pipe: Pipe) -> None:
    with open(path, "ab") as file:
        file.write(RECORDS[20:])


def take_some(journal: WriteJournal, batch: Batch, path: Path, pipe: Pipe) -> None:
    os.splice(pipe.reader, journal._consumed_file, 3, offset_dst=0)


def take_rest(journal: WriteJournal, batch: Batch, path: Path, pipe: Pipe) -> None:
    journal.consume(pipe.reader, batch)


def rotate_outside(journal: WriteJournal, batch: Batch, path: Path, pipe: Pipe) -> None:
    os.rename(path, path.with_name(f"{path.name}-yesterday"))


def end(journal: WriteJournal, batch: Batch, path: Path, pipe: Pipe) -> None:
    journal.clear()


STEPS: list[Step] = [begin, write_some, write_rest, take_some, take_rest, end]


def finish(journal: WriteJournal, path: Path, pipe: Pipe) -> None:
    """Print another line, and let the next log writer come to the end of the pipe."""
    os.write(pipe.writer, b"three")
    os.close(pipe.writer)
    masters, its = open_channel_pair()
    masters.close()
    folder = Directory.open(path.parent)
    output = OutputFiles(folder, path.name, RotationPolicy(size=None), logging.getLogger())
    log = Log("info", str(path.parent / "log"))
    assert LogWriter({OUTLET: pipe.reader}, its, output, journal, log).run() == 0
    its.close()


@pytest.mark.parametrize("steps", range(len(STEPS) + 1))
@pytest.mark.parametrize("outside", [False, True])
def test_each_line_is_written_once(tmp_path: Path, steps: int, outside: bool) -> None:
    path = tmp_path / "w.out"
    path.write_bytes(b"before\n")
    journal, pipe = WriteJournal(), open_output_pipe()
    os.write(pipe.writer, PRINTED)
    batch = Batch(1, len(PRINTED), path.stat().st_ino, path.stat().st_size, len(RECORDS))
    for step in STEPS[:steps]:
        step(journal, batch, path, pipe)
    if outside:
        rotate_outside(journal, batch, path, pipe)
    finish(journal, path, pipe)
    found = sorted(tmp_path.glob("w.out*"), reverse=True)
    assert len(found) == 1 + outside
    lines = "".join(each.read_text() for each in found).splitlines()
    texts = [re.sub(r"^\d{4}-\S+ [0-9:.]{12} \[7\] 0 out ", "", line) for line in lines]
    assert texts == ["before", "one", "two", "three"]


@pytest.mark.parametrize("steps", range(1, len(STEPS) + 1))
def test_a_batch_of_another_version_loses_no_line(tmp_path: Path, steps: int) -> None:
    path = tmp_path / "w.out"
    path.write_bytes(b"before\n")
    journal, pipe = WriteJournal(), open_output_pipe()
    os.write(pipe.writer, PRINTED)
    batch = Batch(1, len(PRINTED), path.stat().st_ino, path.stat().st_size, len(RECORDS))
    for step in STEPS[:steps]:
        step(journal, batch, path, pipe)
    if journal.pending() is not None:
        _MARK.pack_into(journal._shared, 0, VERSION + 1)
        assert journal.pending() is None
    finish(journal, path, pipe)
    texts = [line.rpartition(" ")[2] for line in path.read_text().splitlines()]
    assert texts[0] == "before"
    assert [text for text in dict.fromkeys(texts[1:]) if text] == ["one", "two", "three"]
    assert os.fstat(journal.fileno()).st_size == 0
