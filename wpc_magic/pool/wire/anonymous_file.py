"""Anonymous files: memory without a name, freed by the kernel when its last user closes it."""

from __future__ import annotations

import errno
import os

__all__ = ["anonymous_file", "reserve"]

_REFUSED = (errno.ENOSYS, errno.EPERM, errno.EACCES)  # an old kernel, or a sandbox
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
_ZEROS = 1 << 20


def anonymous_file(size: int, name: str = "wpc-block", in_memory: bool = True) -> int:
    """Return the descriptor of a new file without a name, which therefore cannot be left behind.

    Parameters
    ----------
    size : int
        In bytes. On a disk all of it is reserved: otherwise a disk that fills up later would end whoever
        writes to a mapping of it.
    name : str
        The label that ``/proc`` shows.
    in_memory : bool
        Whether to create a memfd; otherwise, and where the system has or allows none, an unnamed temporary
        file.

    Raises
    ------
    OSError
        If there is no room for it, or no descriptor.
    """
    fd = _memory(name) if in_memory else -1
    on_disk = fd < 0
    if on_disk:
        fd = _temporary_file()
    try:
        os.ftruncate(fd, size)
        if on_disk:
            reserve(fd, 0, size)
    except BaseException:
        os.close(fd)
        raise
    return fd


def reserve(fd: int, offset: int, size: int) -> None:
    """Have the system allocate a part of a file that was not written to yet; what it contains is zero.

    Parameters
    ----------
    fd : int
        The file.
    offset, size : int
        The part, in bytes.

    Raises
    ------
    OSError
        If there is no room for it.
    """
    if size <= 0:
        return
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, offset, size)
            return
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
    zeros = memoryview(bytes(min(size, _ZEROS)))
    end = offset + size
    while offset < end:
        offset += os.pwrite(fd, zeros[: end - offset], offset)


def _memory(name: str) -> int:
    """Return the descriptor of a memfd, or -1 if the system has none for us."""
    if not hasattr(os, "memfd_create"):
        return -1
    try:
        return os.memfd_create(name, os.MFD_CLOEXEC)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        return -1


def _temporary_file() -> int:
    """Return the descriptor of an unnamed temporary file, which only its owner may read."""
    import tempfile

    if hasattr(os, "O_TMPFILE"):
        # It never has a name: this process may be killed between creating a named file and unlinking it. So
        # the folder is not asked of `gettempdir` either, which tries some by such a file.
        folder = tempfile.tempdir or os.environ.get("TMPDIR") or "/tmp"
        try:
            return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError:
            pass  # the file system does not support it; or the disk is full, which `mkstemp` reports
    fd, path = tempfile.mkstemp(prefix="wpc")
    os.unlink(path)
    return fd
