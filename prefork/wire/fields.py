"""Declare the fields of the scoreboard, and the values made of them, each once. PURE.

What follows from the declaration of a field:

row        its position, type and writer in shared memory    wire/scoreboard.py
metric     name, type and help text                          observe/status/metrics.py
key        in ``list --json``, with its explanation          wire/row_values.py
column     in the tables of apps and of workers              cli/view/app_columns.py
           in the table of the status page                   observe/status/scoreboard_view.py
line       of ``show``                                       cli/view/figure_lines.py
sort key   of ``list --sort``                                cli/view/sort_order.py

The process that measures a field writes it, at ``FIELD_INDEX`` of its name.

Design
------
- **A new field is appended.** The position in the row follows from the order of the declarations,
  and a command reads the scoreboard of a master of another version.
- **A value that has no field of its own** (a quantile, the age of a heartbeat) is declared as a
  ``Value`` below the fields. A value of the same name as a field is declared with the field.
- **A field that no process counts is told from a field that is 0.** A program that reports no
  requests, or a ``main(listener)`` with a protocol of its own, would otherwise look idle. Such
  fields are bits of ``uncounted``, and their values are None: a dash in tables, null in JSON, and
  absent in metrics. The bits name what is not counted, because a worker of an earlier version
  leaves them at 0.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prefork.wire.row_formulas import (
    Formula,
    largest_age,
    largest_lag,
    longest_silence,
    mean_wait,
    quantile_of_times,
    total,
    total_rate,
    totals_by_class,
)

LAST = 1000
"""The place of a column behind all columns that name a place."""


@dataclass(frozen=True, slots=True)
class TableColumn:
    """The column of a value in the tables of ``list``, ``show``, ``monit`` and the status page.

    ``apps`` and ``workers``: its priority in the table of apps and in that of workers; the column
    with the highest number is left out first. None: the table does not have it. ``place``: its
    order from left to right. ``page_title``: its title on the status page, where it is another one;
    the page has the columns of workers. ``is_sort_key``: ``list --sort`` knows it.
    ``needs_requests``: a dash stands there until the worker gets its first request.
    """

    title: str
    apps: int | None = None
    workers: int | None = None
    place: int = LAST
    is_sort_key: bool = False
    needs_requests: bool = True
    page_title: str = ""


@dataclass(frozen=True, slots=True)
class Phrase:
    """The words with which ``show`` tells a value of all workers together.

    ``line``: the name of the line in which the phrase stands. ``text``: ``{}`` is the value with
    its unit. ``place``: its order among all phrases. ``noun``: counts are written with it.
    ``separator``: from the phrase before. ``omits_zero``: no phrase while the value is 0.
    """

    line: str
    text: str = "{}"
    place: int = LAST
    noun: str = ""
    separator: str = ", "
    omits_zero: bool = False


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a worker, and of all workers of an app: a key of ``list --json``.

    ``unit``: s, bytes, 1/s; empty: a count. ``text``: its explanation. ``made_of``: the field that
    has to be counted, where it is another than the key; ``times``: the histogram.
    """

    key: str
    unit: str
    text: str
    formula: Formula
    column: TableColumn | None = None
    phrase: Phrase | None = None
    made_of: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """One field. ``code``: its type as in ``struct``; ``writer``: ``master`` or ``worker``;
    ``unit`` and ``text``: its help; ``kind``: its type as a metric, ``counter`` or ``gauge``,
    empty for a field that is no metric.

    ``formula`` makes the value with the key ``name``; None: the field is no key. ``key_text``: the
    explanation of that key, where it is another than ``text``. ``column``: where tables show it.
    ``phrase``: how ``show`` tells it.
    """

    name: str
    code: str
    unit: str
    writer: str
    text: str
    kind: str = ""
    formula: Formula | None = None
    key_text: str = ""
    column: TableColumn | None = None
    phrase: Phrase | None = None


# fmt: off
HEAD = (
    Field("magic", "Q", "", "master", "version of the layout"),
    Field("pid", "Q", "", "master", "process id of the master"),
    Field("began", "d", "s", "master", "when the master started (Unix time)", "gauge"),
    Field("state", "Q", "", "master", "state of the master: see STATES"),
    Field("rows", "Q", "", "master", "number of rows, from the first one on, that may be in use"),
    Field("target", "Q", "", "master", "number of workers that the master wants to run", "gauge"),
    Field("generation", "Q", "", "master", "generation that the workers should have", "gauge"),
    Field("reloads", "Q", "", "master", "completed reloads", "counter"),
    Field("failures", "Q", "", "master", "failed reloads", "counter"),
    Field("restarts", "Q", "", "master", "workers replaced because they died", "counter"),
    Field("workers_fd", "Q", "", "master", "the master's descriptor of the workers' part"),
    Field("leader_token", "Q", "", "master", "fencing token of the leader; 0: no worker leads",
          "gauge"),
    Field("leader", "Q", "", "master", "serial number of the worker that leads; 0: none"),
)

FIELDS = (
    Field("worker", "Q", "", "master", "serial number of the worker that owns the row; 0: free"),
    Field("slot", "Q", "", "master", "number of the slot, from 0; a replacement has the same"),
    Field("generation", "Q", "", "master", "generation of the worker; counts reloads from 1"),
    Field("pid", "Q", "", "master", "process id of the worker"),
    Field("state", "Q", "", "master", "state of the worker: see WORKER_STATES"),
    Field("born", "d", "s", "master", "when it was forked (Unix time)"),
    Field("ends", "Q", "", "master", "1: the service ends, no other worker takes over"),
    Field("outdated", "Q", "", "master", "1: a reload or a recycling replaces the worker"),

    Field("sequence", "Q", "", "worker", "odd while the fields below are being written"),
    Field("deadline", "d", "s", "worker",
          "monotonic time by which the next heartbeat must have come"),
    Field("beat", "d", "s", "worker", "monotonic time of the last heartbeat"),
    Field("requests", "Q", "", "worker", "requests answered since the worker started", "counter",
          formula=total, column=TableColumn("requests", workers=9, place=6, page_title="Answered"),
          phrase=Phrase("requests", place=1)),
    Field("in_flight", "Q", "", "worker", "requests being answered", "gauge",
          formula=total,
          column=TableColumn("in flight", apps=7, workers=6, place=2, page_title="In flight"),
          phrase=Phrase("in flight", place=5)),
    Field("connections", "Q", "", "worker", "open connections", "gauge",
          formula=total,
          column=TableColumn("open", workers=12, place=7, page_title="Connections",
                             needs_requests=False),
          phrase=Phrase("accepted", "{} open", place=11)),
    Field("oldest", "d", "s", "worker",
          "start of the longest request in flight (monotonic); 0: none",
          formula=largest_age, key_text="age of the oldest request in flight",
          column=TableColumn("oldest", workers=8, place=5, page_title="Oldest"),
          phrase=Phrase("in flight", "the oldest for {}", place=6, omits_zero=True)),
    Field("accepted", "Q", "", "worker", "connections accepted", "counter", formula=total,
          phrase=Phrase("accepted", place=10, noun="connection")),
    Field("accept_wait", "d", "s", "worker",
          "time in the listen queue, of the connections that were measured", "counter",
          formula=mean_wait, key_text="mean time that connections waited in the listen queue",
          phrase=Phrase("accepted", "after {} in the queue on average", place=12)),
    Field("accept_asked", "Q", "", "worker",
          "connections whose time in the listen queue was measured", "counter"),
    Field("answered_1xx", "Q", "", "worker",
          "requests that switched to another protocol", "counter"),
    Field("answered_2xx", "Q", "", "worker", "requests answered with success", "counter"),
    Field("answered_3xx", "Q", "", "worker", "requests answered with a redirection", "counter"),
    Field("answered_4xx", "Q", "", "worker", "requests answered with a client error", "counter"),
    Field("answered_5xx", "Q", "", "worker", "requests answered with a server error", "counter"),
    Field("unanswered", "Q", "", "worker",
          "requests whose client disconnected before the response began", "counter",
          formula=total,
          phrase=Phrase("answered", "{} left before", place=4, separator="; ", omits_zero=True)),
    Field("sent", "Q", "bytes", "worker", "bytes of response bodies", "counter", formula=total,
          phrase=Phrase("sent", "{} in bodies", place=9)),
    Field("busy", "d", "s", "worker",
          "time in which the worker could not have begun another request", "counter",
          formula=total),
    Field("lag", "d", "s", "worker",
          "lateness of the event loop, maximum of the last second", "gauge",
          formula=largest_lag, phrase=Phrase("loop lag", place=13)),
    Field("took", "d", "s", "worker", "sum of the durations of all requests"),
    Field("shares", "Q", "", "worker", "1: the worker takes connections that siblings hand off"),
    Field("rate", "d", "1/s", "worker", "requests per second, recently", "gauge",
          formula=total_rate, key_text="requests per second, of about the last 5 seconds",
          column=TableColumn("req/s", apps=3, workers=2, place=1, page_title="Requests/s",
                             is_sort_key=True),
          phrase=Phrase("requests", "{} a second", place=2)),
    Field("working", "Q", "", "worker",
          "pieces of work in progress that the app marked with prefork.busy()", "gauge"),
    Field("due", "d", "s", "worker", "monotonic time for which the next heartbeat is planned"),
    Field("uncounted", "Q", "", "worker", "a bit for each field that no process counts"),
    Field("store_dropped", "Q", "", "worker",
          "entries that the worker removed from the store because it was full", "counter",
          formula=total),
    Field("hidden_load", "Q", "", "worker", "load of the worker while siblings see none"),
    Field("expected", "Q", "", "worker",
          "requests that new connections are expected to send; they are part of the load"),
    Field("lease", "Q", "", "worker", "the lease of the leader on a server: see LEASE_STATES"),
    Field("lease_token", "Q", "", "worker", "fencing token of the lease; 0: it is not held"),
    Field("lease_until", "d", "s", "worker", "when the lease ends (CLOCK_BOOTTIME)"),
)
"""The fields of a row. The master's record has those whose writer is ``master``."""
# fmt: on

STATES = ("", "starting", "running", "reloading", "frozen", "stopping", "failing")
LEASE_STATES = ("", "unused", "waiting", "held", "elsewhere", "unavailable")
"""The state of the lease, as a worker that its master names knows it: there is no server that
grants one; the app has not asked who leads; the server waits for the end of the last lease; this
worker leads; a worker of another master does; the server does not answer.
"""
WORKER_STATES = ("", "spawning", "booting", "ready", "draining", "hung", "killed")

# fmt: off
_VALUES_WITHOUT_FIELD = (
    Value("p50", "s",
          "time within which half of all requests were answered since the worker began; exact to "
          "6 %; for an app: of all requests of its workers, not of the workers' quantiles",
          quantile_of_times,
          TableColumn("p50", apps=8, workers=7, place=3, is_sort_key=True),
          Phrase("latency", "p50 {}", place=7), made_of="times"),
    Value("p99", "s", "the same for 99 of 100 requests",
          quantile_of_times,
          TableColumn("p99", apps=4, workers=3, place=4, is_sort_key=True),
          Phrase("latency", "p99 {}", place=8), made_of="times"),
    Value("answered", "", 'answered requests by class: {"2xx": 12, ...}', totals_by_class,
          phrase=Phrase("answered", place=3), made_of="answered_2xx"),
    Value("silent", "s",
          "time since the last heartbeat, or since the next one is due: an idle worker beats "
          "rarely",
          longest_silence, made_of="beat"),
    Value("leads", "",
          "1: prefork.leader() is true in this worker; for an app: 0 while no worker leads",
          total, TableColumn("leads", workers=16, place=8, page_title="Leads",
                             needs_requests=False), made_of="beat"),
)
# fmt: on


def values_of(fields: Iterable[Field]) -> Iterator[Value]:
    """Yield the values that are declared with fields."""
    for field in fields:
        if field.formula is not None:
            text = field.key_text or field.text
            yield Value(field.name, field.unit, text, field.formula, field.column, field.phrase)


def place_of(value: Value) -> int:
    """Return the order of the value's column from left to right."""
    return value.column.place if value.column is not None else LAST


VALUES = tuple(sorted((*values_of(FIELDS), *_VALUES_WITHOUT_FIELD), key=place_of))
"""All values, those with a column in the order of the columns."""
