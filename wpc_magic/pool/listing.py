"""Lists that the getters return: their repr is one line."""

from __future__ import annotations

from typing import Any, TypeVar

from .frames import frame_of, with_times

__all__ = ["History", "Listing"]

Item = TypeVar("Item")
_MAX_NAMES = 8


class Listing(list[Item]):
    """A list whose repr says how many items of what kind it has, and the names of the first.

    Examples
    --------
    >>> class Named:
    ...     def __init__(self, name): self.name = name
    >>> Listing([Named("clean"), Named("fit")], "function")
    <2 functions: clean, fit>
    >>> Listing([], "constant")
    <no constants>
    """

    def __init__(self, items: list[Item], kind: str) -> None:
        super().__init__(items)
        self.kind = kind

    def __repr__(self) -> str:
        if not self:
            return f"<no {_plural(self.kind)}>"
        names = [_name(item) for item in self[:_MAX_NAMES]]
        more = f" and {len(self) - _MAX_NAMES} more" if len(self) > _MAX_NAMES else ""
        what = self.kind if len(self) == 1 else _plural(self.kind)
        return f"<{len(self)} {what}: {', '.join(names)}{more}>"

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), (list(self), self.kind)


class History(Listing[Item]):
    """A listing of what happened, oldest first: its repr names the latest.

    Parameters
    ----------
    items : list
        What happened; each has a `timestamp`.
    kind : str
        What one of them is called.
    of : type
        The class of them.
    """

    def __init__(self, items: list[Item], kind: str, of: type[Item]) -> None:
        super().__init__(items, kind)
        self.of = of

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), (list(self), self.kind, self.of)

    def __repr__(self) -> str:
        if not self:
            return super().__repr__()
        return f"<{len(self)} {self.kind}{'s' * (len(self) > 1)}, the latest: {_name(self[-1])}>"

    def to_pandas(self) -> Any:
        """Return it as a DataFrame, a row each; times are in UTC.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        return with_times(frame_of(self, self.of), ("timestamp",))


def _plural(word: str) -> str:
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"


def _name(item: object) -> str:
    for attribute in ("name", "alias", "event_name"):
        found = getattr(item, attribute, None)
        if isinstance(found, str):
            return found
    return str(item)
