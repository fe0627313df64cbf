"""Memory without a name: nobody else reads it, and nothing can be left behind of it."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest

from wpc_magic.pool.wire.nameless import nameless_file

HAS_TMPFILE = hasattr(os, "O_TMPFILE")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def check(fd: int, folder: Path) -> None:
    """Check that a file is its owner's alone, has no name, and stays here; close it."""
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
    fd = nameless_file(12_345, in_memory=False)
    assert os.fstat(fd).st_dev == os.stat(folder).st_dev
    check(fd, folder)


@pytest.mark.skipif(not HAS_TMPFILE, reason="this system makes no files without a name")
def test_a_temporary_file_never_has_a_name_that_a_sudden_death_could_leave(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mkstemp(*args: Any, **options: Any) -> Any:
        raise AssertionError("between this and the unlink the process may be killed")

    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
    check(nameless_file(12_345, in_memory=False), folder)


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
    check(nameless_file(12_345, in_memory=False), folder)


def test_memory_is_closed_to_programs_that_are_started(folder: Path) -> None:
    fd = nameless_file(12_345)
    try:
        assert not os.get_inheritable(fd)
        assert os.fstat(fd).st_nlink == 0
    finally:
        os.close(fd)


def test_a_size_that_cannot_be_is_an_error_and_nothing_stays_open(folder: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for in_memory in (True, False):
        with pytest.raises(OverflowError):
            nameless_file(1 << 63, in_memory=in_memory)
    assert len(os.listdir("/proc/self/fd")) == before
    assert list(folder.iterdir()) == []
