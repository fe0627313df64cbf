"""Memory by address: mappings of files that hold no descriptor, and comparisons as quick as a copy.

`mmap.mmap` keeps a duplicate of the descriptor for as long as the mapping lives (before Python 3.13), and
cannot map memory anew at an address. So the C library is called, through `_ctypes`: `ctypes`, a layer over
it, takes ten times as long to load.
"""

from __future__ import annotations

import _ctypes
import mmap
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = [
    "Address",
    "Int",
    "Long",
    "Memory",
    "TooShortError",
    "address_of",
    "c_function",
    "equal",
    "make_private",
    "map_file",
    "memory_at",
    "populate",
]

_MAP_FIXED = 0x10  # on Linux and macOS
_POPULATE_WRITE = 23  # <linux/mman.h>, since 5.14: faults all pages in at once instead of one by one


class _Byte(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "B"


class Int(_ctypes._SimpleCData):  # type: ignore[type-arg]
    """`int` of C."""

    _type_ = "i"


class Long(_ctypes._SimpleCData):  # type: ignore[type-arg]
    """`long` of C."""

    _type_ = "l"


class _Size(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "L"


class Address(_ctypes._SimpleCData):  # type: ignore[type-arg]
    """A pointer of C."""

    _type_ = "P"


class _Object(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "O"


class _Buffer(_ctypes.Structure):
    """`Py_buffer`."""

    _fields_ = [  # noqa: RUF012  # ctypes reads it so
        ("buf", Address),
        ("obj", Address),
        ("len", Long),
        ("itemsize", Long),
        ("readonly", Int),
        ("ndim", Int),
        *((name, Address) for name in ("format", "shape", "strides", "suboffsets", "internal")),
    ]


def c_function(name: str, returns: Any, *takes: Any, python: bool = False) -> Any:
    """Return a function of the C library, or of Python's own (`python`), which is called with the GIL."""
    flags = _ctypes.FUNCFLAG_USE_ERRNO | (_ctypes.FUNCFLAG_PYTHONAPI if python else _ctypes.FUNCFLAG_CDECL)

    class Function(_ctypes.CFuncPtr):
        _flags_ = flags
        _restype_ = returns
        _argtypes_ = takes

    return Function(_ctypes.dlsym(_PROCESS, name))


_PROCESS = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]
_FAILED = (1 << 8 * _ctypes.sizeof(Address)) - 1
_mmap = c_function("mmap", Address, Address, _Size, Int, Int, Int, Long)
_munmap = c_function("munmap", Int, Address, _Size)
_madvise = c_function("madvise", Int, Address, _Size, Int)
_memcmp = c_function("memcmp", Int, Address, Address, _Size)
_get_buffer = c_function("PyObject_GetBuffer", Int, _Object, Address, Int, python=True)
_release_buffer = c_function("PyBuffer_Release", None, Address, python=True)


class TooShortError(OSError):
    """A file is shorter than it was said to be."""


class Memory(_ctypes.Array):  # type: ignore[type-arg]
    """Memory at an address, which exports its bytes as a buffer; its subclasses have a size.

    Attributes
    ----------
    is_mapping : bool
        Whether it is unmapped when the last view of it is freed.
    on_freed : callable or None
        Called then, in any thread. Arrays refer to this object and not to the memoryviews between, so nothing
        else can tell.
    """

    _type_ = _Byte
    _length_ = 0
    is_mapping = False
    on_freed: Callable[[], object] | None = None

    def __del__(self, unmap: Any = _munmap, address: Any = _ctypes.addressof) -> None:
        if self.is_mapping:
            unmap(address(self), self._length_)
        if self.on_freed is not None:
            self.on_freed()


_types: dict[int, Any] = {}
_MAX_TYPES = 256


def _type_of(size: int) -> Any:
    """Return the type of memory of a size; blocks have few different sizes, constants may have many."""
    found = _types.get(size)
    if found is None:
        if len(_types) >= _MAX_TYPES:
            _types.clear()
        found = _types[size] = type("Memory", (Memory,), {"_length_": size})
    return found


def _map(address: int, size: int, fd: int, private: bool, writable: bool) -> int:
    flags = (mmap.MAP_PRIVATE if private else mmap.MAP_SHARED) | (_MAP_FIXED if address else 0)
    mapped: int = _mmap(address, size, mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0), flags, fd, 0)
    if mapped == _FAILED:
        number = _ctypes.get_errno()
        raise OSError(number, f"{size} bytes cannot be mapped: {os.strerror(number)}")
    return mapped


def map_file(fd: int, size: int, *, private: bool = False, writable: bool = True) -> Memory:
    """Return a file as memory.

    Parameters
    ----------
    fd : int
        Its descriptor, which may be closed afterwards.
    size : int
        How much of it, in bytes.
    private : bool
        Whether what is written here stays here.
    writable : bool
        Whether it may be written to; if not, a write ends the process, so no writable view may leave.

    Raises
    ------
    TooShortError
        If it is shorter than that.
    OSError
        If it cannot be mapped.
    """
    if os.fstat(fd).st_size < size:  # to touch what is not there would end the process
        raise TooShortError(f"the file is shorter than the {size} bytes that it was said to have")
    memory: Memory = _type_of(size).from_address(_map(0, size, fd, private, writable))
    memory.is_mapping = True
    return memory


def memory_at(memory: Memory) -> Memory:
    """Return another object over the same memory, which keeps that one alive and is freed by itself."""
    again: Memory = _type_of(memory._length_).from_buffer(memory)
    return again


def make_private(memory: Memory, fd: int) -> None:
    """Make a shared mapping private, in place and in one step: from then on what is written to it stays here.

    Parameters
    ----------
    memory : Memory
        The mapping.
    fd : int
        The file that it maps.
    """
    _map(_ctypes.addressof(memory), memory._length_, fd, True, True)


def populate(memory: Memory) -> None:
    """Fault all pages in for writing, at once instead of one by one, where that is possible."""
    _madvise(_ctypes.addressof(memory), memory._length_, _POPULATE_WRITE)


def address_of(view: Any) -> int:
    """Return the address of a contiguous buffer.

    Examples
    --------
    >>> data = bytearray(100)
    >>> address_of(memoryview(data)[10:]) - address_of(memoryview(data))
    10
    """
    try:
        return _ctypes.addressof(_Byte.from_buffer(view))
    except TypeError:  # it is read-only
        about = _Buffer()
        _get_buffer(view, _ctypes.byref(about), 0)
        address: int = about.buf
        _release_buffer(_ctypes.byref(about))
        return address


def equal(view: Any, memory: Memory, offset: int) -> bool:
    """Return whether memory contains the same bytes as a buffer, from an offset on.

    Examples
    --------
    >>> memory = _type_of(8).from_buffer(bytearray(b"abcdefgh"))
    >>> equal(b"cde", memory, 2), equal(b"cde", memory, 3)
    (True, False)
    """
    return not _memcmp(address_of(view), _ctypes.addressof(memory) + offset, len(view))
