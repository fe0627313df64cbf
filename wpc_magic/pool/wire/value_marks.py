"""Marks in a pickle: where the value of a call is to stand among the arguments of another one."""

from __future__ import annotations

from _thread import _local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["FutureInValueError", "Marks", "as_it_is", "value_of"]


class FutureInValueError(TypeError):
    """The future of a call is in a value that is pickled, and stands for nothing there.

    Attributes
    ----------
    future : object
        It.
    """

    def __init__(self, message: str, future: object = None) -> None:
        super().__init__(message)
        self.future = future


class Marks(_local):
    """What the marks that are being unpickled in this thread stand for.

    Attributes
    ----------
    values : sequence
        The values, by the numbers of the marks.
    """

    values: Sequence[Any] = ()


MARKS = Marks()


def value_of(number: int, call: str) -> Any:
    """Return what a mark stands for: pickle calls this where the value is to stand.

    Parameters
    ----------
    number : int
        Which value.
    call : str
        The call that it is the value of, for those who show the arguments as text.
    """
    return MARKS.values[number]


def as_it_is(value: Any) -> Any:
    """Return a value: stands for the future of a call whose value was there when it was pickled."""
    return value
