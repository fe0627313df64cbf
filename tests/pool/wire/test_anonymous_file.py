"""Anonymous files: no other user can read them, and they cannot be left behind."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest

from wpc_magic.pool.wire.anonymous_file import anonymous_file

HAS_TMPFILE = hasattr(os, "O_TMPFILE")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def check(fd: int, folder: Path) -> None:
    """Check that a file is private to its owner, unnamed and not inheritable; close it."""
    try:
        about = os.fstat(fd)
        assert about.st_size == 12_345
        assert stat.S_IMODE(about.st_mode) & 0o077 == 0
        assert about.st_uid == os.geteuid()
        assert about.st_nlink == 0
        assert not os.get_inheritable(fd)
        assert list(folder.iterdir()) == []
        os.pwrite(fd, b"x", 12_344)
        assert os.pread(fd, 2, 12_343) == b"\0x"
    finally:
        os.close(fd)


def test_a_temporary_file_is_its_owners_alone_and_has_no_name(folder: Path) -> None:
    fd = anonymous_file(12_345, in_memory=False)
    assert os.fstat(fd).st_dev == os.stat(folder).st_dev
    check(fd, folder)


@pytest.mark.skipif(not HAS_TMPFILE, reason="this system has no unnamed files")
@pytest.mark.parametrize("is_known", [True, False])
def test_a_temporary_file_never_has_a_name_that_a_sudden_death_could_leave(
    folder: Path, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    def mkstemp(*args: Any, **options: Any) -> Any:
        raise AssertionError("the process may be killed between this and the unlink")

    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
    if not is_known:  # `gettempdir` would look for the folder, and write to it
        monkeypatch.setattr(tempfile, "tempdir", None)
        monkeypatch.setattr(tempfile, "gettempdir", mkstemp)
        monkeypatch.setenv("TMPDIR", str(folder))
    check(anonymous_file(12_345, in_memory=False), folder)


def test_where_no_file_can_be_made_without_a_name_it_is_unlinked_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS, and on file systems that refuse."""
    real = os.open

    def refuses(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if HAS_TMPFILE and flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "Operation not supported")
        return real(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", refuses)
    check(anonymous_file(12_345, in_memory=False), folder)


def test_memory_is_closed_to_programs_that_are_started(folder: Path) -> None:
    fd = anonymous_file(12_345)
    try:
        assert not os.get_inheritable(fd)
        assert os.fstat(fd).st_nlink == 0
    finally:
        os.close(fd)


def test_a_size_that_cannot_be_is_an_error_and_nothing_stays_open(folder: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for in_memory in (True, False):
        with pytest.raises(OverflowError):
            anonymous_file(1 << 63, in_memory=in_memory)
    assert len(os.listdir("/proc/self/fd")) == before
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
def test_where_memory_is_refused_a_temporary_file_takes_its_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """An old kernel does not have it, and a sandbox may forbid it."""

    def refuses(name: str, flags: int = 0) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "memfd_create", refuses, raising=False)
    fd = anonymous_file(12_345)
    assert os.fstat(fd).st_dev == os.stat(folder).st_dev
    check(fd, folder)


def test_where_only_a_descriptor_is_missing_nothing_else_is_tried(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(name: str, flags: int = 0) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "memfd_create", refuses, raising=False)
    with pytest.raises(OSError, match="Too many open files"):
        anonymous_file(12_345)


@pytest.mark.parametrize("has_fallocate", ["allocates", "refuses", "lacks"])
def test_a_file_on_a_disk_has_no_holes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, has_fallocate: str
) -> None:
    """To write to a hole through a mapping would end the process if the disk is full."""

    def refuses(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    if has_fallocate == "refuses":
        monkeypatch.setattr(os, "posix_fallocate", refuses, raising=False)
    elif has_fallocate == "lacks":
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    fd = anonymous_file(3_000_000, in_memory=False)
    try:
        assert os.fstat(fd).st_blocks * 512 >= 3_000_000
        assert os.fstat(fd).st_size == 3_000_000
        assert set(os.pread(fd, 3_000_000, 0)) == {0}
    finally:
        os.close(fd)


def test_a_disk_without_room_is_an_error_at_once_and_nothing_stays_open(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_room, raising=False)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="No space left"):
        anonymous_file(12_345, in_memory=False)
    assert len(os.listdir("/proc/self/fd")) == before
    assert list(folder.iterdir()) == []
