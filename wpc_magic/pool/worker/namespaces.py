"""The globals of functions, and the names of the registry in them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

__all__ = ["Binding", "Namespace", "NeededBinding"]


class Binding:
    """A loaded definition.

    Attributes
    ----------
    record : object
        What the pool has sent.
    value : object
        The object.
    namespace : Namespace or None
        The namespace of a function.
    per_call : callable or None
        Makes the value of a constant for one call, if calls must not share it.
    """

    __slots__ = ("namespace", "per_call", "record", "value")

    is_for_all = True  # whether code finds it that does not name it

    def __init__(
        self,
        record: Any,
        value: Any,
        namespace: Namespace | None = None,
        per_call: Callable[[], Any] | None = None,
    ) -> None:
        self.record = record
        self.value = value
        self.namespace = namespace
        self.per_call = per_call


class NeededBinding(Binding):
    """A definition that is made when the first code needs it, and that only code finds which names it.

    Parameters
    ----------
    record : object
        What the pool has sent.
    make : callable
        Makes the object.
    """

    __slots__ = ("_made", "_make")

    is_for_all = False

    def __init__(self, record: Any, make: Callable[[], Any]) -> None:
        self.record = record
        self.namespace = self.per_call = None
        self._make: Callable[[], Any] | None = make
        self._made: Any = None

    @property
    def value(self) -> Any:
        """The object."""
        if self._make is not None:
            self._made, self._make = self._make(), None
        return self._made


class Namespace:
    """The globals of a cell's module, or of a function outside any cell.

    Parameters
    ----------
    name : str
        The module's name; for a function outside any cell, a name of its own.
    global_names : dict
        The globals.
    needs : iterable of str
        Names that the registry provides, also if the cell has defined them itself: as in a notebook, callers
        of a registered function see its latest definition.
    own : dict
        What the cell has defined itself.
    open_to_all : bool
        Whether all other names of the registry are provided, too: code may name them in a text only
        (``df.query("x > @LIMIT")``, SQL, ``eval``).
    bound : iterable of str
        The names that the registry has provided already.
    """

    __slots__ = ("bound", "globals", "name", "needs", "open_to_all", "own")

    def __init__(
        self,
        name: str,
        global_names: dict[str, Any],
        needs: Iterable[str],
        own: dict[str, Any],
        open_to_all: bool = False,
        bound: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.globals = global_names
        self.needs = frozenset(needs)
        self.own = own
        self.open_to_all = open_to_all
        self.bound = set(bound)

    def bind(self, names: Mapping[str, Binding]) -> None:
        """Bind the names of an epoch."""
        self.update({**dict.fromkeys(self.bound - names.keys()), **names})

    def release(self, names: Mapping[str, Binding]) -> None:
        """Provide no names any more; those of `names` are found among the builtins. Not to be used again."""
        for name in self.bound:
            if name in self.own and name not in names:
                self.globals[name] = self.own[name]
            else:
                self.globals.pop(name, None)
        self.bound.clear()
        self.globals, self.own = {}, {}

    def update(self, changes: Mapping[str, Binding | None]) -> None:
        """Bind names that have changed; None: the registry has the name no more."""
        for name, binding in changes.items():
            if name in self.needs or (
                self.open_to_all and name not in self.own and (binding is None or binding.is_for_all)
            ):
                if binding is not None:
                    self.globals[name] = binding.value
                    self.bound.add(name)
                elif name in self.bound:
                    self.bound.discard(name)
                    if name in self.own:
                        self.globals[name] = self.own[name]
                    else:
                        self.globals.pop(name, None)
