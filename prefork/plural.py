"""Numbers with their noun: ``1 worker``, ``2 workers``. PURE."""

from collections.abc import Callable


def pluralize(number: int, one: str, many: str = "", show: Callable[[int], str] = str) -> str:
    """The number, as ``show`` writes it, and ``one`` (noun) or ``many`` (default: ``one`` with an
    s). Both may go on, where the verb differs: ``line was lost``, ``lines were lost``."""
    return f"{show(number)} {one if number == 1 else many or one + 's'}"
