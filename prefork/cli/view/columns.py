"""Tables that fit: of their columns, a narrow terminal shows those that are wanted most."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from prefork.printable import printable_text

GAP = 2
"""Between two columns."""

Thing = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """``cell`` makes its text of the thing that a row is about. ``wanted``: 1 is shown in any case,
    the highest is left out first. ``optional``: left out as well where all rows have a dash."""

    name: str
    priority: int
    cell: Callable[[Thing], Text | str]
    right: bool = True
    optional: bool = False


def fit_columns(
    columns: Sequence[Column], things: Sequence[Thing], width: int | None
) -> list[Column]:
    """Those that have room beside each other in ``width`` cells; None: there is room for all."""
    widths = {column.name: _width(column, things) for column in columns}
    shown = [column for column in columns if not column.optional or _says(column, things)]
    while width is not None and sum(widths[column.name] + GAP for column in shown) - GAP > width:
        least = max(shown, key=lambda column: column.priority)
        if least.priority == 1:
            break
        shown.remove(least)
    return shown


def build_table(
    columns: Sequence[Column],
    things: Sequence[Thing],
    width: int | None,
    chosen: Callable[[Thing], bool] = lambda _thing: False,
    all_of: Sequence[Thing] = (),
) -> Table:
    """A row for each thing; the chosen one is reversed. ``width``: see ``fitting``; ``all_of``:
    these are the part of them that a screen has room for, and the others get the same columns."""
    made = Table(
        box=None if all_of else box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, GAP if all_of else GAP - 1, 0, 0),  # a box puts a place between two columns
        header_style="dim" if all_of else "",
    )
    shown = fit_columns(columns, every := all_of or things, width)
    for column in shown:
        made.add_column(
            column.name,
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=_width(column, every) if column.priority > 1 else None,
        )
    for thing in things:
        cells = [column.cell(thing) for column in shown]
        made.add_row(*cells, style="reverse" if chosen(thing) else "")
    return made


def _width(column: Column, things: Sequence[Thing]) -> int:
    return max(cell_len(text) for text in (column.name, *_texts(column, things)))


def _says(column: Column, things: Sequence[Thing]) -> bool:
    return any(text not in ("", "-") for text in _texts(column, things))


def _texts(column: Column, things: Sequence[Thing]) -> list[str]:
    return [printable_text(str(column.cell(thing))) for thing in things]
