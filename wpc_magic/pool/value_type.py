"""The type of what a call gives: ``CallFuture[int]``, ``ResultStream[str]``, ``MapResults[float]``.

It is for type checkers only; the classes themselves are as they would be without it. Where it is not given it
is ``Any``: a plain ``CallFuture`` in an annotation is right, too, with ``mypy --strict``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from typing_extensions import TypeVar  # type checkers know it without its being installed

    Value = TypeVar("Value", covariant=True, default=Any)
else:
    from typing import TypeVar

    Value = TypeVar("Value", covariant=True)

__all__ = ["Value"]
