"""Parse the cron expressions of planned restarts, and compute when the next one is due. PURE.

    minute hour day month weekday, or second minute hour day month weekday, or a nickname (@daily)

Times are local times. The package cronsim follows Debian's rules for daylight saving time: when the
clock is put forward, times in the missing hour are moved to right after it; when the clock is put
back, a fixed time of day happens once, and an expression for every hour or minute continues
throughout. In the hour that comes twice cronsim may return a time that has already passed;
``next_time_after`` skips those.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from prefork.errors import INCOMPLETE_ENVIRONMENT, MachineError

EXPECTED = "a time such as 0 4 * * * (minute hour day month weekday)"

NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_ARBITRARY_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)


def parse(raw: object) -> tuple[str, ...]:
    """Return the expressions in a list, or in a text with semicolons between them; ``off``: none.

    Raises ValueError, which says what was expected.
    """
    items = raw if isinstance(raw, list | tuple) else [raw]
    expressions: list[str] = []
    for item in items:
        if not isinstance(item, str):
            raise ValueError(f"{EXPECTED}, in quotes")
        expressions += [" ".join(part.split()) for part in item.split(";")]
    if expressions in (["off"], [""]):
        return ()
    return tuple(dict.fromkeys(map(_validate, expressions)))


def _validate(expression: str) -> str:
    try:
        from cronsim import CronSimError  # noqa: PLC0415 - few need it
    except ImportError as error:
        raise MachineError(f"{error}; {INCOMPLETE_ENVIRONMENT}") from error
    try:
        if next_time_after(expression, _ARBITRARY_MOMENT) is not None:
            return expression
    except CronSimError as error:
        why = str(error).lower()
        raise ValueError(f"{EXPECTED}; of {expression!r} cron says: {why}") from None
    raise ValueError(f"{EXPECTED}; {expression!r} never comes")


def next_time_after(expression: str, moment: datetime) -> datetime | None:
    """Return the first time of an expression after ``moment``, in the time zone of ``moment``.

    None means that there is none within 50 years.
    """
    from cronsim import CronSim  # noqa: PLC0415 - few need it

    times = CronSim(NICKNAMES.get(expression, expression), moment)
    # In the hour that comes twice, cronsim may first return a time of its first pass.
    return next((at for at in times if at.timestamp() > moment.timestamp()), None)


def first_time_after(expressions: Sequence[str], moment: datetime) -> tuple[datetime, str] | None:
    """Return the first time after ``moment`` of any expression, and that expression.

    None means that no expression has a time within 50 years.
    """
    # Compared by timestamp, because the local clock shows one hour twice when it is put back.
    found = [(at.timestamp(), at, e) for e in expressions if (at := next_time_after(e, moment))]
    return min(found)[1:] if found else None
