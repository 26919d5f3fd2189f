"""What ``prefork monit`` shows, drawn from what is known: nothing here asks anybody.

From top to bottom: the apps, the workers of the chosen one, its log, what the last key did, the
keys. A low terminal leaves parts out, a narrow one columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.text import Text

from prefork.cli.registry.app_state import App
from prefork.cli.view.app_columns import APP_COLUMNS, WORKER_COLUMNS
from prefork.cli.view.columns import Column, Thing, build_table
from prefork.cli.view.details import app_warnings
from prefork.observe.log_records import Record

FRAME = 3
"""Lines of a part that are none of its rows: two of its frame, and the table's head."""

KEYS = (
    "↑ ↓ choose   space more workers   r reload   + - scale   s stop   q quit",
    "↑ ↓ choose  r reload  + - scale  s stop  q quit",
    "↑ ↓  reload  + -  stop  quit",
)
"""The longest that fits is shown."""


@dataclass(frozen=True, slots=True)
class ScreenState:
    """What is known. ``log`` None: there is no file; ``page``: of the workers; ``said``: how the
    last key went."""

    apps: Sequence[App]
    selected: str = ""
    log: Sequence[Record] | None = ()
    message: str = ""
    page: int = 0

    @property
    def selected_app(self) -> App | None:
        """The chosen one."""
        return next((app for app in self.apps if app["name"] == self.selected), None)


def draw(view: ScreenState, width: int, height: int) -> Layout:
    """The whole screen."""
    app, screen = view.selected_app, Layout()
    room = height - 2
    share = room if height < 12 else max(FRAME + 1, room // 3)
    apps = min(len(view.apps) + FRAME, share)
    parts = [Layout(_apps(view, width, apps - FRAME), size=apps)]
    room -= apps
    if app is not None and app.get("workers") and height >= 16:
        workers = min(len(app["workers"]) + FRAME, max(FRAME + 1, room // 2))
        parts.append(Layout(_workers(app, view.page, width, workers - FRAME), size=workers))
        room -= workers
    if app is not None and room >= 3:
        parts.append(
            Layout(
                Panel(_log(view.log, room - 2), title="log", title_align="left", padding=0),
                size=room,
            )
        )
        room = 0
    if room > 0:
        parts.append(Layout(Text(" "), size=room))
    screen.split_column(*parts, Layout(_footer(view, width), size=2))
    return screen


def _apps(view: ScreenState, width: int, rows: int) -> Panel:
    if not view.apps:
        return Panel("no apps; start one with `prefork start myapp:main`", padding=0)
    at = next((i for i, app in enumerate(view.apps) if app is view.selected_app), 0)
    begin = max(0, min(at - rows // 2, len(view.apps) - rows))
    return _part("prefork", APP_COLUMNS, view.apps, begin, rows, width, view.selected)


def _workers(app: App, page: int, width: int, rows: int) -> Panel:
    workers = app["workers"]
    pages = -(-len(workers) // rows)
    return _part(str(app["name"]), WORKER_COLUMNS, workers, page % pages * rows, rows, width)


def _part(
    title: str,
    columns: Sequence[Column],
    things: Sequence[Thing],
    begin: int,
    rows: int,
    width: int,
    chosen: str = "",
) -> Panel:
    """Some rows of a table in a frame. Which columns fit is asked of all, so that none moves."""
    some = things[begin : begin + rows]
    if len(some) < len(things):
        title += f" ({begin + 1}-{begin + len(some)} of {len(things)})"
    made = build_table(
        columns,
        some,
        width - 2,
        chosen=lambda thing: thing.get("name") == chosen != "",
        all_of=things,
    )
    return Panel(made, title=Text(title), title_align="left", padding=0, border_style="cyan")


def _log(records: Sequence[Record] | None, rows: int) -> RenderableType:
    if records is None:
        return Text("its log goes to its own terminal", "dim")
    lines = [_line(record) for record in list(records)[-rows:]]
    return Group(*lines)


def _line(record: Record) -> Text:
    who = "" if record.slot is None else f"{record.slot} {record.stream} "
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{record.time[11:19]} {who}", "dim")
    # Whatever else the app prints, it cannot move our cursor.
    line.append("".join(c if c.isprintable() else "·" for c in record.text.expandtabs(4)))
    return line


def _footer(view: ScreenState, width: int) -> Group:
    app = view.selected_app
    said = (
        Text(view.message, "yellow")
        if view.message
        else next(iter(app_warnings([app] if app else [])), Text())
    )
    said.no_wrap, said.overflow = True, "ellipsis"
    fit = [keys for keys in KEYS if len(keys) <= width] or [KEYS[-1]]
    return Group(said, Text(fit[0], "dim", no_wrap=True, overflow="ellipsis"))
