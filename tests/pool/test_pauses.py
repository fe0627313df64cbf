"""A program that is stopped for a while (Ctrl-Z) and goes on: no call pays for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.pool.conftest import HELD, PATIENCE_S, ROOT

PROGRAM = f"""
import concurrent.futures, sys
from wpc_magic.pool import WorkerProcedureCall
pool = WorkerProcedureCall()
pool.define_worker_functions({HELD!r})
pool.start_workers(1)
how, door = sys.argv[1:]
future = pool.call.held.options(timeout_ms=2000)(door, "in time")
try:
    if how == "wait":
        concurrent.futures.wait([future])
    print(future.result())
finally:
    pool.stop_workers()
"""


@pytest.fixture(params=["result", "wait"])
def program(request: pytest.FixtureRequest, door: Any) -> Iterator[subprocess.Popen[str]]:
    """A program that waits for a call with a timeout of two seconds."""
    arguments = [sys.executable, "-c", PROGRAM, request.param, door.path]
    program = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    )
    yield program
    program.send_signal(signal.SIGCONT)
    program.kill()
    program.communicate()


def stop(program: subprocess.Popen[str]) -> None:
    program.send_signal(signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(program.pid, os.WUNTRACED)[1])


def let_time_pass(seconds: float) -> None:
    """Wait: that time passes while the program is stopped is what these tests are about."""
    threading.Event().wait(seconds)


def test_a_call_that_ended_while_the_program_was_stopped_has_its_value(
    program: subprocess.Popen[str], door: Any
) -> None:
    visit = door.wait()
    stop(program)
    visit.let_go()
    let_time_pass(2.5)
    program.send_signal(signal.SIGCONT)
    assert program.communicate(timeout=PATIENCE_S) == ("in time\n", None)


def test_a_call_goes_on_that_had_time_left_when_the_program_was_stopped(
    program: subprocess.Popen[str], door: Any
) -> None:
    visit = door.wait()
    stop(program)
    let_time_pass(2.5)
    program.send_signal(signal.SIGCONT)
    visit.let_go()
    assert program.communicate(timeout=PATIENCE_S) == ("in time\n", None)
