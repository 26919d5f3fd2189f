"""Numbers as people read them: sizes, durations, rates, counts. An unknown number is a dash."""

import time


def format_age(moment: float | None) -> str:
    """Return the time since ``moment`` (seconds since 1970), in at most two units; None: a dash."""
    return "-" if moment is None else format_span(time.time() - moment)


def format_span(seconds: float) -> str:
    """Return a duration in whole seconds, in at most two units: ``1h 59m``."""
    whole = int(max(0.0, seconds))
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {whole % 60}s" if minutes else f"{whole}s"


def format_bytes(amount: float | None) -> str:
    """Return a number of bytes with the unit k, m or g (powers of 1024); None: a dash."""
    if amount is None:
        return "-"
    if amount < 2**20:
        return f"{amount / 2**10:.1f}k"
    return f"{amount / 2**20:.1f}m" if amount < 2**30 else f"{amount / 2**30:.2f}g"


def format_duration(seconds: float | None) -> str:
    """Return a duration with two or three digits, from µs to hours; None and 0: a dash."""
    if not seconds:
        return "-"
    if seconds < 0.9995e-3:
        return f"{seconds * 1e6:.0f}µs"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.1f}ms" if seconds < 9.95e-3 else f"{seconds * 1e3:.0f}ms"
    return f"{seconds:.1f}s" if seconds < 59.95 else format_span(seconds)


def format_rate(amount: float | None) -> str:
    """Return a number per second, with one decimal below 10; None: a dash."""
    if amount is None:
        return "-"
    return f"{amount:.1f}" if 0 < amount < 9.95 else f"{amount:,.0f}"


def format_percent(amount: float | None) -> str:
    """Return a percentage without decimals; None: a dash."""
    return "-" if amount is None else f"{amount:.0f}"


def format_count(amount: int | None) -> str:
    """Return a count with thousands separators; None: a dash."""
    return "-" if amount is None else f"{amount:,}"
