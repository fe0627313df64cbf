"""Durations as text."""

from __future__ import annotations

__all__ = ["shown_s", "shown_us"]


def shown_s(seconds: float) -> str:
    """Return a duration in a unit that makes the number short.

    Examples
    --------
    >>> shown_s(0.0421), shown_s(3.4), shown_s(200), shown_s(7500)
    ('42 ms', '3 s', '3 min 20 s', '2 h 5 min')
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def shown_us(seconds: float) -> str:
    """Return a duration that may be very short.

    Examples
    --------
    >>> shown_us(2e-7), shown_us(3.1e-6), shown_us(0.0042), shown_us(3.4)
    ('0.2 µs', '3 µs', '4.2 ms', '3.4 s')
    """
    for unit, factor, least in (("µs", 1e6, 0.95), ("ms", 1e3, 9.95)):
        value = seconds * factor
        if value < 999.5:
            return f"{value:.1f} {unit}" if value < least else f"{value:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 60 else shown_s(seconds)
