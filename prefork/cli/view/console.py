"""The console that rich draws on: tables and colours are prefork's, the texts in them are not."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from prefork.printable import printable_text


class PrintableConsole(Console):
    """A rich console that prints texts as they are, with control characters escaped.

    It takes no text for markup (``[red]``) or an emoji (``:smile:``). A str is made printable
    before its width is measured; other renderables are made printable while they are drawn, and
    what has no room in its column is cut off.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **settings)

    def render_str(self, text: str, **how: Any) -> Text:
        """Return the text that rich measures and draws for a str."""
        return super().render_str(printable_text(text), **how)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield pieces of text and control codes; the control codes come from rich alone."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable_text(text), style, control)
