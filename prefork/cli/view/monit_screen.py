"""The screen of ``prefork monit``, drawn from its state: nothing here asks a master.

From top to bottom: the apps, the workers of the selected app, its log, the outcome of the last key,
the keys. A low terminal leaves out parts, a narrow one columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.text import Text

from prefork.cli.registry.app_state import App
from prefork.cli.view.app_columns import APP_COLUMNS, WORKER_COLUMNS
from prefork.cli.view.columns import Column, Item, build_table
from prefork.cli.view.details import app_warnings
from prefork.observe.log_records import Record

FRAME_LINES = 3
"""Lines of a part that are none of its rows: two of its frame, and the head of the table."""

KEY_HINTS = (
    "↑ ↓ choose   space more workers   r reload   + - scale   s stop   q quit",
    "↑ ↓ choose  r reload  + - scale  s stop  q quit",
    "↑ ↓  reload  + -  stop  quit",
)
"""The keys, from the longest text to the shortest. The longest that fits is shown."""


@dataclass(frozen=True, slots=True)
class ScreenState:
    """The state that a screen shows.

    ``apps``: their descriptions; ``selected``: the name of one; ``log``: its last records, None: it
    logs to no file; ``message``: the outcome of the last key; ``page``: of the workers.
    """

    apps: Sequence[App]
    selected: str = ""
    log: Sequence[Record] | None = ()
    message: str = ""
    page: int = 0

    @property
    def selected_app(self) -> App | None:
        """The description of the selected app; None: there is none."""
        return next((app for app in self.apps if app["name"] == self.selected), None)


def draw(state: ScreenState, width: int, height: int) -> Layout:
    """Return the whole screen."""
    app, screen = state.selected_app, Layout()
    lines_left = height - 2
    share = lines_left if height < 12 else max(FRAME_LINES + 1, lines_left // 3)
    apps = min(len(state.apps) + FRAME_LINES, share)
    parts = [Layout(_apps_panel(state, width, apps - FRAME_LINES), size=apps)]
    lines_left -= apps
    if app is not None and app.get("workers") and height >= 16:
        workers = min(len(app["workers"]) + FRAME_LINES, max(FRAME_LINES + 1, lines_left // 2))
        parts.append(
            Layout(_workers_panel(app, state.page, width, workers - FRAME_LINES), size=workers)
        )
        lines_left -= workers
    if app is not None and lines_left >= 3:
        parts.append(
            Layout(
                Panel(
                    _render_log(state.log, lines_left - 2),
                    title="log",
                    title_align="left",
                    padding=0,
                ),
                size=lines_left,
            )
        )
        lines_left = 0
    if lines_left > 0:
        parts.append(Layout(Text(" "), size=lines_left))
    screen.split_column(*parts, Layout(_footer(state, width), size=2))
    return screen


def _apps_panel(state: ScreenState, width: int, rows: int) -> Panel:
    if not state.apps:
        return Panel("no apps; start one with `prefork start myapp:main`", padding=0)
    index = next((i for i, app in enumerate(state.apps) if app is state.selected_app), 0)
    first = max(0, min(index - rows // 2, len(state.apps) - rows))
    return _panel("prefork", APP_COLUMNS, state.apps, first, rows, width, state.selected)


def _workers_panel(app: App, page: int, width: int, rows: int) -> Panel:
    workers = app["workers"]
    pages = -(-len(workers) // rows)
    return _panel(str(app["name"]), WORKER_COLUMNS, workers, page % pages * rows, rows, width)


def _panel(
    title: str,
    columns: Sequence[Column],
    items: Sequence[Item],
    first: int,
    rows: int,
    width: int,
    selected: str = "",
) -> Panel:
    """Return some rows of a table in a frame.

    The columns are chosen by all rows, so that none moves when other rows are shown.
    """
    shown = items[first : first + rows]
    if len(shown) < len(items):
        title += f" ({first + 1}-{first + len(shown)} of {len(items)})"
    built = build_table(
        columns,
        shown,
        width - 2,
        is_selected=lambda item: item.get("name") == selected != "",
        fit_items=items,
    )
    return Panel(built, title=Text(title), title_align="left", padding=0, border_style="cyan")


def _render_log(records: Sequence[Record] | None, rows: int) -> RenderableType:
    if records is None:
        return Text("its log goes to its own terminal", "dim")
    lines = [_log_line(record) for record in list(records)[-rows:]]
    return Group(*lines)


def _log_line(record: Record) -> Text:
    origin = "" if record.slot is None else f"{record.slot} {record.stream} "
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{record.time[11:19]} {origin}", "dim")
    # Control characters would move the cursor of this screen.
    line.append("".join(c if c.isprintable() else "·" for c in record.text.expandtabs(4)))
    return line


def _footer(state: ScreenState, width: int) -> Group:
    app = state.selected_app
    message = (
        Text(state.message, "yellow")
        if state.message
        else next(iter(app_warnings([app] if app else [])), Text())
    )
    message.no_wrap, message.overflow = True, "ellipsis"
    fitting = [keys for keys in KEY_HINTS if len(keys) <= width] or [KEY_HINTS[-1]]
    return Group(message, Text(fitting[0], "dim", no_wrap=True, overflow="ellipsis"))
