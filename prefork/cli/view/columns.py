"""Tables that leave out their least important columns where the terminal is narrow.

Design
------
- **prefork decides which columns fit, not rich,** which would squeeze all of them. Each column has
  a priority, and a pipe gets all columns. ``scripts/screens`` makes the pictures of the
  documentation with the same functions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from prefork.printable import printable_text

COLUMN_GAP = 2
"""Cells between two columns."""

Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    ``cell`` makes the text of a row from the item that the row shows. ``priority``: columns with 1
    are always shown; of the others, the one with the highest number is left out first.
    ``optional``: left out as well where all rows have a dash.
    """

    name: str
    priority: int
    cell: Callable[[Item], Text | str]
    align_right: bool = True
    optional: bool = False


def fit_columns(
    columns: Sequence[Column], items: Sequence[Item], width: int | None
) -> list[Column]:
    """Return the columns that fit beside each other into ``width`` cells; None: all columns fit."""
    widths = {column.name: _width(column, items) for column in columns}
    shown = [column for column in columns if not column.optional or _has_values(column, items)]
    while width is not None and _total_width(shown, widths) > width:
        dropped = max(shown, key=lambda column: column.priority)
        if dropped.priority == 1:
            break
        shown.remove(dropped)
    return shown


def _total_width(columns: Sequence[Column], widths: Mapping[str, int]) -> int:
    return sum(widths[column.name] + COLUMN_GAP for column in columns) - COLUMN_GAP


def build_table(
    columns: Sequence[Column],
    items: Sequence[Item],
    width: int | None,
    is_selected: Callable[[Item], bool] = lambda _item: False,
    fit_items: Sequence[Item] = (),
) -> Table:
    """Return a table with a row for each item; the selected one is drawn reversed.

    ``width``: see ``fit_columns``. ``fit_items``: all items, when ``items`` are the part of them
    that a screen has room for; the columns are chosen by all, so that they do not move when the
    part changes.
    """
    built = Table(
        box=None if fit_items else box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        # With a box, rich adds one cell between two columns.
        padding=(0, COLUMN_GAP if fit_items else COLUMN_GAP - 1, 0, 0),
        header_style="dim" if fit_items else "",
    )
    shown = fit_columns(columns, measured := fit_items or items, width)
    for column in shown:
        built.add_column(
            column.name,
            justify="right" if column.align_right else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=_width(column, measured) if column.priority > 1 else None,
        )
    for item in items:
        cells = [column.cell(item) for column in shown]
        built.add_row(*cells, style="reverse" if is_selected(item) else "")
    return built


def _width(column: Column, items: Sequence[Item]) -> int:
    return max(cell_len(text) for text in (column.name, *_cell_texts(column, items)))


def _has_values(column: Column, items: Sequence[Item]) -> bool:
    """Return whether a row of the column shows more than a dash."""
    return any(text not in ("", "-") for text in _cell_texts(column, items))


def _cell_texts(column: Column, items: Sequence[Item]) -> list[str]:
    return [printable_text(str(column.cell(item))) for item in items]
