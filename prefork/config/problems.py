"""Collect what is wrong with settings, to report all of it at once. PURE."""

from types import TracebackType

from prefork.errors import UsageError

SEPARATOR = "\n  and "
"""Stands between two problems in the text of one error."""


class Problems:
    """A context manager that keeps the texts of each UsageError raised within it, once each.

    ``raise_all`` raises one UsageError with all texts, if there are any.
    """

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}

    def __enter__(self) -> "Problems":
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> bool:
        if not isinstance(error, UsageError):
            return False
        self._texts |= dict.fromkeys(str(error).split(SEPARATOR))
        return True

    def __bool__(self) -> bool:
        return bool(self._texts)

    def raise_all(self) -> None:
        """Raise UsageError with all texts; do nothing if there are none."""
        if self._texts:
            raise UsageError(SEPARATOR.join(self._texts))
