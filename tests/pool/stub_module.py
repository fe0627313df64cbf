"""A module with a function, to be registered by reference."""

from __future__ import annotations

from fractions import Fraction

Table = dict[str, Fraction]


def scaled(by: Fraction, table: Table | None = None) -> Fraction:
    """Return it scaled."""
    return by * len(table or "1")
