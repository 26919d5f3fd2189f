"""Markdown as lines for a terminal or a pipe, drawn by rich.

Design
------
- **A pipe gets the same lines without colours,** at most PIPE_WIDTH wide. Rejected: tables as wide
  as their longest cells for the sake of grep; people read pipes in editors and CI logs, where rows
  of a thousand characters are no table.
- **A table whose names do not fit becomes a list,** in which no name is cut in two: each row begins
  with its first cell, and the others follow below it with their headings.
- **rich's own look is changed where it is made for a page:** its first heading is centred, and the
  background of its code hides the text on a terminal of another colour.
"""

import io
import sys
from typing import ClassVar

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.constrain import Constrain
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement, Paragraph, TableElement
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

from prefork.cli.view.console import PrintableConsole

TEXT_WIDTH = 90
"""The most characters of a line of text."""

PIPE_WIDTH = 100
"""The most characters of a line in a pipe, but for blocks of code, which are not wrapped."""

MAX_LINES = 6
"""The most lines of a cell of a table."""

UNDERLINES = {"h1": "=", "h2": "-"}
"""The characters of the lines below headings in a pipe, which has no bold letters."""

THEME = Theme(
    {
        "markdown.code": "cyan",
        "markdown.code_block": "cyan",
        "markdown.h1": "bold underline",
        "markdown.h2": "bold",
        "markdown.h3": "bold",
        "markdown.table.header": "bold",
        "markdown.table.border": "dim",
        "markdown.link_url": "underline",
        "markdown.item.bullet": "bold",
    }
)


class _LeftHeading(Heading):
    """A heading that begins at the left margin. The text of its sections is not indented."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = self.text.copy()
        text.justify = "left"
        yield from console.render(text, options.update(width=min(TEXT_WIDTH, options.max_width)))
        if self.tag in UNDERLINES and not console.is_terminal:
            yield Segment(UNDERLINES[self.tag] * text.cell_len)
            yield Segment.line()


class _NarrowParagraph(Paragraph):
    """A paragraph whose lines have at most TEXT_WIDTH characters."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(TEXT_WIDTH, options.max_width)
        yield from console.render(self.text, options.update(width=width))


class _IndentedCode(CodeBlock):
    """A block of code, indented and in one colour. Its lines are not wrapped, to be copied."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        style = console.get_style("markdown.code_block")
        for line in str(self.text).rstrip().split("\n"):
            yield Segment(f"    {line}".rstrip(), style)
            yield Segment("\n")


class _NameTable(TableElement):
    """A table whose first column, which has the names, is not wrapped; or a list."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = [[cell.content for cell in row.cells] for row in self.body.rows] if self.body else []
        cells = self.header.row.cells if self.header and self.header.row else []
        headings = [cell.content for cell in cells]
        if not _fits([headings, *rows], options.max_width):
            yield from _list_rows(headings, rows, options)
            return
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, style="markdown.table.border")
        for number, cell in enumerate(cells):
            heading = cell.content.copy()
            heading.stylize("markdown.table.header")
            table.add_column(heading, no_wrap=number == 0, justify=cell.justify)
        for row in rows:
            table.add_row(*row)
        yield table


def _fits(rows: list[list[Text]], width: int) -> bool:
    """Return whether a table has room: its names in half of the width, and each word elsewhere.

    A cell of more than MAX_LINES lines is a paragraph, which is easier to read in a list.
    """
    names, *others = (list(column) for column in zip(*rows, strict=True))
    longest: int = max(cell.cell_len for cell in names)
    words = [
        max(len(word) for cell in column for word in f"{cell} ".split(" ")) for column in others
    ]
    room = (width - longest) // max(1, len(others)) - 2
    most = max((cell.cell_len for column in others for cell in column), default=0)
    has_room = longest + sum(words) + 2 * len(words) < width and most <= MAX_LINES * room
    return longest * 2 < width and has_room


def _list_rows(
    headings: list[Text], rows: list[list[Text]], options: ConsoleOptions
) -> RenderResult:
    """Yield each row as its first cell and, below it, the other cells with their headings."""
    width = min(TEXT_WIDTH, options.max_width)
    for number, (name, *others) in enumerate(rows):
        if number:
            yield Text("")
        yield Text.assemble(name, overflow="ignore")
        for heading, cell in zip(headings[1:], others, strict=True):
            if cell.plain:
                text = Text.assemble((f"{heading}: ", "markdown.table.header"), cell)
                yield Constrain(Padding(text, (0, 0, 0, 4)), width)


class _PlainMarkdown(Markdown):
    """rich's Markdown with the elements of this module."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _LeftHeading,
        "paragraph_open": _NarrowParagraph,
        "fence": _IndentedCode,
        "code_block": _IndentedCode,
        "table_open": _NameTable,
    }


def render_markdown(text: str) -> str:
    """Return the lines of a Markdown text, for the terminal that stdout is, or for a pipe."""
    is_terminal = sys.stdout.isatty()
    console = PrintableConsole(
        file=io.StringIO(),
        force_terminal=is_terminal,
        width=None if is_terminal else PIPE_WIDTH,
        theme=THEME,
        legacy_windows=False,
    )
    with console.capture() as capture:
        console.print(_PlainMarkdown(text, hyperlinks=False), crop=False)
    return "\n".join(line.rstrip() for line in capture.get().rstrip().split("\n")) + "\n"
