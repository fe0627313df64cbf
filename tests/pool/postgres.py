"""A real PostgreSQL server in a temporary folder, run by a user that is not root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "pg-p@ss/word-7"  # which a URL has to quote
_USERS = ("postgres", "nobody")


def _programs() -> Path | None:
    """Return the folder of the server's programs: Debian has them beside the path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    return next(
        (each for each in folders if (each / "initdb").exists()), Path(found).parent if found else None
    )


def _user() -> str | None:
    """Return the user to be, if this one is root: the server refuses that."""
    if os.getuid() != 0:
        return None
    return next(name for name in _USERS if name in {each.pw_name for each in pwd.getpwall()})


@contextmanager
def server() -> Iterator[str]:
    """Run a server; yield the part of a URL after the password. It listens at a Unix socket only."""
    programs = _programs()
    if programs is None:
        why = "PostgreSQL is not installed. To run this test: sudo apt-get install postgresql"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    user = _user()
    # That user cannot enter the folder of the test run.
    folder = Path(tempfile.mkdtemp(prefix="wpc-pg-", dir=None if user is None else "/tmp"))

    def run(program: str, *args: str) -> None:
        subprocess.run(
            [str(programs / program), *args],
            user=user,
            cwd=folder,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    try:
        (folder / "password").write_text(PASSWORD)
        if user is not None:
            for path in (folder, folder / "password"):
                shutil.chown(path, user)
        data = str(folder / "data")
        run(
            *("initdb", "-D", data, "-U", "tester", "-A", "scram-sha-256", "--no-sync", "-E", "UTF8"),
            *("--locale=C", f"--pwfile={folder / 'password'}"),
        )
        options = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=20"
        run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
