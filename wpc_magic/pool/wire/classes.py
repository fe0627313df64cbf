"""Classes that are pickled by value, and the processes that own them.

cloudpickle sends a class of ``__main__`` with its state, and unpickling sets that state on the class of the
same origin, if there is one. So an instance that comes back from a worker would put the notebook's own class
back to what the worker had: its counters, its methods with other globals. Here a class is *owned* by the
process in which it was defined; what arrives finds it, and leaves it as it is. A class that has *arrived*
takes the state that arrives.

cloudpickle itself is not changed: the pickles name the two functions below, and one of `functions`, which
both sides import.
"""

from __future__ import annotations

import io
import sys
from types import CodeType, FunctionType, MemberDescriptorType
from weakref import WeakSet

from wpc_magic.pool.wire.functions import set_function_state
from wpc_magic.pool.wire.lazy_import import interpreter_path_first

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["dumps", "make_class", "set_class_state"]


def _cloudpickle() -> Any:
    if "cloudpickle" not in sys.modules:
        with interpreter_path_first:
            from cloudpickle import cloudpickle
    else:
        from cloudpickle import cloudpickle  # waits if another thread is still loading it
    return cloudpickle


_by_value = _cloudpickle()
_class_state_setter = getattr(_by_value, "_class_setstate", None)
_function_state_setter = getattr(_by_value, "_function_setstate", None)

_arrived: WeakSet[type] = WeakSet()


def make_class(
    maker: Callable[..., type], tracker_id: str | None, first: tuple[Any, ...], extra: Any
) -> type:
    """Return the class of that id; if there is none yet, make it without its state.

    A class that is here is not made again: its bases' ``__init_subclass__`` would see a second one.

    Parameters
    ----------
    maker : callable
        cloudpickle's function that makes a class or an Enum.
    tracker_id : str or None
        The id that cloudpickle gave the class in the process that owns it.
    first : tuple
        The arguments of `maker` before the id.
    extra : object
        The argument of `maker` after it.
    """
    known = _by_value._DYNAMIC_CLASS_TRACKER_BY_ID.get(tracker_id)
    if known is not None:
        return known  # type: ignore[no-any-return]
    made = maker(*first, None, extra)
    # It is marked before other threads can find it, so that each of them sets its state before using it.
    _arrived.add(made)
    return _by_value._lookup_class_or_track(tracker_id, made)  # type: ignore[no-any-return]


def set_class_state(cls: type, state: Any) -> None:
    """Set the state of a class that has arrived; leave one that is owned here."""
    if cls in _arrived:
        _by_value._class_setstate(cls, state)


def _slots(cls: type) -> list[str]:
    """Return the names of the slots that a class really has, whatever ``__slots__`` was."""
    own = vars(cls)
    names = [
        name
        for name, value in own.items()
        if isinstance(value, MemberDescriptorType) and value.__objclass__ is cls
    ]
    for name in ("__dict__", "__weakref__"):
        if getattr(own.get(name), "__objclass__", None) is cls:
            names.append(name)
    return names


_NO_FILE = "<dynamic-code>"


def _reduce_code(code: CodeType) -> Any:
    """Do what cloudpickle does, and keep the name of the file: a traceback finds its lines by that."""
    maker, args = _by_value._code_reduce(code)
    return maker, tuple(code.co_filename if each == _NO_FILE else each for each in args)


class _Pickler(_by_value.Pickler):  # type: ignore[misc, name-defined]
    """cloudpickle's pickler; classes keep their owner and their slots, and code the name of its file."""

    def __init__(self, file: io.BytesIO, buffer_callback: Callable[[Any], bool] | None) -> None:
        # As one dict: in cloudpickle's own `ChainMap` each object is looked for by code in Python.
        table: dict[type, Any] = {}
        for each in reversed(_by_value.Pickler.dispatch_table.maps):
            table.update(each)
        table[CodeType] = _reduce_code
        self.dispatch_table = table  # first: the next line reads it
        super().__init__(file, protocol=5, buffer_callback=buffer_callback)

    def reducer_override(self, obj: Any) -> Any:
        if not issubclass(type(obj), _KINDS):  # as cloudpickle's own does, which is asked for each object
            return NotImplemented
        reduced = _reduce(self, obj)
        if reduced is NotImplemented:
            return reduced
        if reduced[-1] is _function_state_setter:
            return (*reduced[:-1], set_function_state)
        if reduced[-1] is not _class_state_setter:
            return reduced
        maker, (*first, tracker_id, extra), state, *_ = reduced
        if "__slots__" in vars(obj) and maker is _by_value._make_skeleton_class:
            # cloudpickle leaves the slots out, and its class has a ``__dict__``: what is then pickled
            # cannot be set on an instance of the original, which has none.
            slots = _slots(obj)
            if slots or not hasattr(
                obj, "_fields"
            ):  # the metaclass of `typing.NamedTuple` refuses any `__slots__`
                first[3]["__slots__"] = tuple(slots)
            for name in slots:  # a private one has another name there than in `__slots__`
                state[0].pop(name, None)
        return make_class, (maker, tracker_id, tuple(first), extra), state, None, None, set_class_state


_KINDS = (type, FunctionType)
_reduce = _by_value.Pickler.reducer_override


def dumps(value: object, buffer_callback: Callable[[Any], bool] | None = None) -> bytes:
    """Return `value` as a pickle, with what cannot be imported in it by value.

    Parameters
    ----------
    value : object
        Any value that cloudpickle supports.
    buffer_callback : callable, optional
        As in `pickle.Pickler`.

    Examples
    --------
    >>> import pickle
    >>> pickle.loads(dumps(lambda x: x + 1))(1)
    2
    """
    file = io.BytesIO()
    _Pickler(file, buffer_callback).dump(value)
    return file.getvalue()
