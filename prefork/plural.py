"""Write a number together with its noun: ``1 worker``, ``2 workers``. PURE."""

from collections.abc import Callable


def pluralize(number: int, one: str, many: str = "", show: Callable[[int], str] = str) -> str:
    """Return ``number`` followed by the noun in the form that fits it: ``1 worker``, ``2 workers``.

    ``one`` is the singular form. ``many`` is the plural form, by default ``one`` with an s. Both
    may continue with the verb, where that differs as well: ``line was lost``, ``lines were lost``.
    ``show`` converts the number to text; the default is ``str``.
    """
    return f"{show(number)} {one if number == 1 else many or one + 's'}"
