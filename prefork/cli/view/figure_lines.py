"""The lines of ``show`` about the figures of all workers together.

They follow from the phrases that the values are declared with (wire/fields.py). A value that a
master of another version does not know has no phrase.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from prefork.cli.view.app_columns import FORMATS
from prefork.cli.view.units import format_count
from prefork.plural import pluralize
from prefork.wire.fields import LAST, VALUES, Phrase, Value


def _place(value: Value) -> int:
    return value.phrase.place if value.phrase is not None else LAST


_IN_ORDER = [
    (value, value.phrase) for value in sorted(VALUES, key=_place) if value.phrase is not None
]


def figure_lines(figures: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of the lines.

    ``figures``: the values since the workers began. There is no line before the first connection,
    and none for an app without figures.
    """
    if not figures.get("accepted") and not figures.get("requests"):
        return
    lines: dict[str, str] = {}
    for value, phrase in _IN_ORDER:
        figure = figures.get(value.key)
        if figure is None or (phrase.omits_zero and not figure):
            continue
        text = phrase.text.format(_format_figure(value, phrase, figure))
        before = lines.get(phrase.line)
        lines[phrase.line] = text if before is None else f"{before}{phrase.separator}{text}"
    yield from lines.items()


def _format_figure(value: Value, phrase: Phrase, figure: Any) -> str:
    if isinstance(figure, Mapping):
        parts = (f"{name} {format_count(count)}" for name, count in figure.items() if count)
        return ", ".join(parts) or "-"
    show = FORMATS[value.unit]
    return pluralize(figure, phrase.noun, show=show) if phrase.noun else show(figure)
