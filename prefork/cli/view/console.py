"""The terminal as rich draws on it: tables and colours are ours, the texts in them are not."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from prefork.printable import printable_text


class PrintableConsole(Console):
    """A console that takes no text for markup (``[red]``) or an emoji (``:smile:``), and makes each
    printable: a str before its width is measured, any other while it is drawn, where what has no
    room in its column is cut off."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **settings)

    def render_str(self, text: str, **how: Any) -> Text:
        """What rich makes of a str, to measure it and to draw it."""
        return super().render_str(printable_text(text), **how)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The pieces of text and control codes; the latter come from rich alone."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable_text(text), style, control)
