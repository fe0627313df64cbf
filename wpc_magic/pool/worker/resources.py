"""The resources of a process: one object for each, made when it is needed, checked, and closed at the end.

A resource is a definition that names three functions of the registry, which are definitions, too. So its
object belongs to an epoch as theirs do: where one of them, or something that they need, changes, the next
epoch has a binding of its own, and the object of the old one is closed when no epoch refers to it any more.
"""

from __future__ import annotations

from wpc_magic.pool.errors import RequirementMissingError
from wpc_magic.pool.wire.protocol import Function, Resource
from wpc_magic.pool.worker.namespaces import Binding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, KeysView, Mapping
    from typing import Any, Protocol

    class Runner(Protocol):
        """Runs the code that makes, checks and closes resources."""

        def run(self, record: Resource, during: str, function: Any, *args: Any) -> Any:
            """Make or check one before a call; where that is a coroutine, await it."""

        def close(self, record: Resource, function: Any, *args: Any) -> None:
            """Close one, whatever that raises."""

        def lost(self, record: Resource, error: BaseException | None) -> None:
            """Report that one does not work any more."""


__all__ = ["LocalRunner", "NotMade", "Resources"]


class NotMade:
    """Stands for a resource that is not made: code that is loaded, or does not name it, may meet it."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __refuse(self, *_: Any) -> Any:
        raise RequirementMissingError(
            f"the resource {self._name!r} is made for calls of functions that name it: it is not there while "
            f"a cell is loaded. Elsewhere, context.resources.{self._name} makes it"
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # whoever only inspects it
            raise AttributeError(name)
        self.__refuse()

    __call__ = __enter__ = __aenter__ = __getitem__ = __iter__ = __len__ = __bool__ = __refuse


class _Made:
    """An object that was made, and what closes and checks it: its own epoch's, also when that is gone."""

    __slots__ = ("binding", "check", "close", "made_with", "value")

    def __init__(self, binding: Binding, value: Any, close: Any, check: Any, made_with: list[_Made]) -> None:
        self.binding = binding
        self.value = value
        self.close = close
        self.check = check
        self.made_with = made_with


class Resources:
    """The objects that were made, and what each function needs of them.

    Parameters
    ----------
    publish : callable
        Given a name and its `Binding`, has all code find its value.
    runner : Runner, optional
        Runs the code of resources; without it, as in the parent process, nothing is made before it is needed.
    """

    def __init__(self, publish: Callable[[str, Binding], None], runner: Runner | None = None) -> None:
        self._publish = publish
        self._makes_eager = runner is not None
        self._runner: Runner = LocalRunner() if runner is None else runner
        self._made: list[_Made] = []  # in the order in which they were made
        self._being_made: list[str] = []
        self._names: Mapping[str, Binding] = {}  # of the active epoch
        self._needed: dict[int, tuple[str, ...]] = {}  # by the key of a function

    def use(self, names: Mapping[str, Binding]) -> bool:
        """Switch to an epoch; return whether it has resources."""
        self._names = names
        self._needed.clear()
        return any(type(binding.record) is Resource for binding in names.values())

    def forget_outdated(self, names: dict[str, Binding], changed: Collection[str]) -> None:
        """Give an epoch bindings of its own for the resources that changed definitions go into."""
        for name, binding in list(names.items()):
            if type(binding.record) is Resource and not _reached([name], names).isdisjoint(changed):
                names[name] = Binding(binding.record, NotMade(name))

    def eager(self, names: Mapping[str, Binding]) -> list[str]:
        """Return the resources that are to be made now."""
        if not self._makes_eager:
            return []
        return [
            name
            for name, binding in names.items()
            if type(binding.record) is Resource and binding.record.eager and type(binding.value) is NotMade
        ]

    def needed_by(self, key: int) -> tuple[str, ...]:
        """Return the resources that a function of the active epoch needs, also through other functions."""
        found = self._needed.get(key)
        if found is None:
            self._needed = {
                binding.record.key: self._needed_of(name)
                for name, binding in self._names.items()
                if type(binding.record) is Function
            }
            found = self._needed.setdefault(key, ())  # of a function that is not registered
        return found

    def _needed_of(self, name: str) -> tuple[str, ...]:
        return self.among([name])

    def among(self, wanted: Iterable[str]) -> tuple[str, ...]:
        """Return the resources of the active epoch among definitions, and what these need."""
        names = self._names
        reached = _reached(list(wanted), names, through_resources=False)
        return tuple(need for need in reached if need in names and type(names[need].record) is Resource)

    def ensure(
        self, needed: Iterable[str], names: Mapping[str, Binding], *, within_call: bool = False
    ) -> None:
        """Make what is not made yet, or does not work any more.

        Parameters
        ----------
        needed : iterable of str
            The resources.
        names : mapping
            The definitions of their epoch.
        within_call : bool
            Whether a call has begun, so that no coroutine can be awaited.

        Raises
        ------
        BaseException
            Whatever making one raises, with a note that names it.
        """
        checked: dict[str, _Made] = {}
        for name in needed:
            self._ensure(name, names, checked, within_call)

    def _ensure(
        self, name: str, names: Mapping[str, Binding], checked: dict[str, _Made], within_call: bool
    ) -> _Made:
        if name in checked:
            return checked[name]
        binding = names[name]
        record: Resource = binding.record
        if name in self._being_made:
            chain = " -> ".join([*self._being_made[self._being_made.index(name) :], name])
            raise RequirementMissingError(f"these resources need each other: {chain}")
        self._being_made.append(name)
        try:
            own = [each for each in (record.make, record.close, record.check) if each]
            reached = _reached(own, names, through_resources=False)
            parts = [
                self._ensure(need, names, checked, within_call)
                for need in reached
                if need in names and type(names[need].record) is Resource
            ]
            made = next((each for each in self._made if each.binding is binding), None)
            if made is not None and not (within_call or self._works(made, parts)):
                self._close(made)
                made = None
            if made is None:
                made = self._make(name, names, parts, within_call)
        finally:
            self._being_made.pop()
        checked[name] = made
        return made

    def _works(self, made: _Made, parts: list[_Made]) -> bool:
        """Return whether an object still works, and is made with what is in use now."""
        if any(one is not other for one, other in zip(made.made_with, parts, strict=True)):
            return False
        if made.check is None:
            return True
        record = made.binding.record
        try:
            answer = self._runner.run(record, "check", made.check, made.value)
        except Exception as error:
            self._runner.lost(record, error)
            return False
        if answer is False:
            self._runner.lost(record, None)
        return answer is not False

    def _make(self, name: str, names: Mapping[str, Binding], parts: list[_Made], within_call: bool) -> _Made:
        binding = names[name]
        record: Resource = binding.record
        factory = names[record.make].value
        try:
            if within_call:
                value = _without_waiting(record, factory())
            else:
                value = self._runner.run(record, "make", factory)
        except BaseException as error:
            error.add_note(f"while the resource {name} was made")
            raise
        close, check = (names[each].value if each in names else None for each in (record.close, record.check))
        made = _Made(binding, value, close, check, parts)
        self._made.append(made)
        binding.value = value
        self._publish(name, binding)
        return made

    def close_unused(self, epochs: Collection[Mapping[str, Binding]]) -> None:
        """Close the objects that no epoch refers to, the latest first."""
        for made in reversed(self._made.copy()):
            name = made.binding.record.name
            if not any(names.get(name) is made.binding for names in epochs):
                self._close(made)

    def close_all(self) -> None:
        """Close all objects, the latest first."""
        while self._made:
            self._close(self._made[-1])

    def _close(self, made: _Made) -> None:
        """Close an object, and those that were made with it before."""
        for other in reversed(self._made.copy()):
            if any(part is made for part in other.made_with) and other in self._made:
                self._close(other)
        self._made.remove(made)
        record = made.binding.record
        if made.close is not None:
            self._runner.close(record, made.close, made.value)
        made.binding.value = NotMade(record.name)
        if self._names.get(record.name) is made.binding:
            self._publish(record.name, made.binding)


class LocalRunner:
    """Runs the code of resources in the parent process, where an event loop may run already."""

    def run(self, record: Resource, during: str, function: Any, *args: Any) -> Any:
        """See `Runner`."""
        return _without_waiting(record, function(*args))

    def close(self, record: Resource, function: Any, *args: Any) -> None:
        """See `Runner`."""
        try:
            self.run(record, "close", function, *args)
        except Exception:  # nobody waits for it
            from logging import getLogger

            getLogger("wpc_magic").warning("the resource %s could not be closed", record.name, exc_info=True)

    def lost(self, record: Resource, error: BaseException | None) -> None:
        """See `Runner`."""


def _without_waiting(record: Resource, value: Any) -> Any:
    """Return a value that is no coroutine."""
    from types import CoroutineType

    if type(value) is not CoroutineType:
        return value
    value.close()
    raise RequirementMissingError(
        f"the code of the resource {record.name!r} is async: it runs in a worker, before a call whose "
        f"function names it"
    )


def _reached(
    names: list[str], definitions: Mapping[str, Binding], *, through_resources: bool = True
) -> KeysView[str]:
    """Return the names that definitions need, and their own, in order; also those that are not there."""
    reached = dict.fromkeys(names)
    pending = list(names)
    for name in pending:  # it grows during the iteration
        binding = definitions.get(name)
        if binding is None:
            continue
        record = binding.record
        needs: Iterable[str] = ()
        if type(record) is Function:
            needs = record.needs
        elif type(record) is Resource and through_resources:
            needs = (record.make, record.close, record.check)
        pending += [need for need in needs if need and need not in reached]
        reached.update(dict.fromkeys(need for need in needs if need))
    return reached.keys()
