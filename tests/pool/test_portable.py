"""A pool without memfd, pidfd, eventfd, and signals for a parent's end; `make portable` runs all tests so."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.pool.conftest import PATIENCE_S, ROOT, wait_until_dead

PROGRAM = """
import os, signal
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import WorkerCrashedError
pool = WorkerProcedureCall()
pool.define_worker_functions('''
import os
def missing(): return [hasattr(os, name) for name in ("memfd_create", "pidfd_open", "eventfd")], os.getpid()
def back(data): return bytes(data)
def dies(): os._exit(3)
''')
pool.start_workers(2)
assert pool.call.missing().result()[0] == [False] * 3
data = bytes(range(256)) * 8192
assert pool.call.back(bytearray(data)).result() == data
try:
    pool.call.dies.options(worker_id=1)().result()
except WorkerCrashedError as error:
    assert error.exitcode == 3, error
else:
    raise AssertionError("it has not died")
print(*[future.result()[1] for future in pool.broadcast("missing").values()], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have none of these anyway")
def test_calls_crashes_and_ends_are_the_same_without_what_only_newer_linux_has() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests/portable")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.stderr == ""
    left = [int(word) for word in done.stdout.split()]
    assert len(left) == 2
    for pid in left:
        wait_until_dead(pid)
