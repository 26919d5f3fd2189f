"""Times of planned restarts: cron expressions, and when the next one is. PURE.

    minute hour day month weekday, or second minute hour day month weekday, or a word (@daily)

Both are by the local clock. When it is put forward, what would fall into the hour that is missing
happens right after it; when it is put back, a time of day happens once, and what is to happen every
hour or minute goes on in between (Debian's rules, which cronsim follows).
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
    """Expressions from a list, or from text with semicolons between them; ``off``: none.

    Raises ValueError.
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
    """The first time after ``moment``, in its time zone; None: there is none within 50 years."""
    from cronsim import CronSim  # noqa: PLC0415 - few need it

    times = CronSim(NICKNAMES.get(expression, expression), moment)
    # In an hour that comes again cronsim may first name a time of the hour before.
    return next((at for at in times if at.timestamp() > moment.timestamp()), None)


def first_time_after(expressions: Sequence[str], moment: datetime) -> tuple[datetime, str] | None:
    """The first time of any of them, and whose it is."""
    # By the moment, not by what the clock shows, which may show the same hour twice.
    found = [(at.timestamp(), at, e) for e in expressions if (at := next_time_after(e, moment))]
    return min(found)[1:] if found else None
