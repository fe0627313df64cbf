"""An array that all processes of a pool have in common: a NumPy array over the memory of a region."""

from __future__ import annotations

from wpc_magic.pool.shared.lock import SharedLock
from wpc_magic.pool.shared.region import find_region
from wpc_magic.pool.wire.native import address_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wpc_magic.pool.shared.region import Region

__all__ = ["open_array"]

_kinds: dict[str, Any] = {}


def open_array(
    region: Region, shape: tuple[int, ...], dtype: Any, offset: int = 0, strides: Any = None
) -> Any:
    """Return an array over the memory of a region; this imports NumPy.

    Parameters
    ----------
    region : Region
        The memory.
    shape, dtype, strides : object
        As of NumPy's arrays.
    offset : int
        Where it begins in the data of the region, in bytes.
    """
    kind = _kinds.get("array")
    if kind is None:
        kind = _kinds["array"] = _make_kind()
    array = kind(shape, dtype, region.data, offset, strides)
    array._region = region
    return array


def _view(number: int, name: str, shape: tuple[int, ...], dtype: Any, offset: int, strides: Any) -> Any:
    return open_array(find_region(number, name), shape, dtype, offset, strides)


def _make_kind() -> Any:
    """Return the class, whose base NumPy has to be there for."""
    import numpy as np

    class SharedArray(np.ndarray):
        """An array that all processes of a pool read and write in place.

        What is computed from it is a plain array. Slices of it are shared, too. As an argument or a value it
        travels as a reference: nothing is copied.

        Attributes
        ----------
        lock : SharedLock
            ``with grid.lock:`` keeps others out who write so, too.
        """

        _region: Region | None

        def __array_finalize__(self, origin: Any) -> None:
            self._region = getattr(origin, "_region", None)

        def _start(self) -> int | None:
            """Return where it begins in the data of its region; None: it is a copy, or empty."""
            region = self._region
            if region is None or not self.size:
                return None
            start: int = self.__array_interface__["data"][0] - address_of(region.data)
            return start if 0 <= start < len(region.data) else None

        @property
        def lock(self) -> SharedLock:
            if self._region is None or (self.size and self._start() is None):
                raise AttributeError("this array is a copy of a shared one, which has no lock")
            return SharedLock(self._region)

        def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
            if array is self:  # it was the output
                return array
            if return_scalar:
                return array[()]
            return array.view(np.ndarray)

        def __getitem__(self, index: Any) -> Any:
            found = super().__getitem__(index)
            if type(found) is SharedArray and found._start() is None:  # a copy
                return found.view(np.ndarray)
            return found

        def copy(self, order: Any = "C") -> Any:
            """Return a copy, which is a plain array."""
            return np.array(self, order=order, copy=True)

        def __deepcopy__(self, memo: Any) -> Any:
            return self.copy()

        def __reduce_ex__(self, protocol: Any) -> Any:
            start = self._start()
            if start is None or self._region is None:
                return self.view(np.ndarray).__reduce_ex__(protocol)
            where = self._region.number, self._region.name
            return _view, (*where, self.shape, self.dtype, start, self.strides)

    SharedArray.__module__ = __name__
    SharedArray.__qualname__ = "SharedArray"
    return SharedArray
