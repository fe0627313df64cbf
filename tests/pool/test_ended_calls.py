"""Nothing that a call has used stays when it has ended, however it ended."""

from __future__ import annotations

import gc
import sys
import time
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest

from tests.pool.conftest import PATIENCE_S, Begun
from wpc_magic.pool import WorkerProcedureCall

MB = 1 << 20

SOURCE = """
import asyncio, gc, os, sys, weakref

gc.disable()  # nothing is freed by it

class Local:
    pass

alive = weakref.WeakSet()

def local():
    new = Local()
    alive.add(new)
    return new

def left():
    return len(alive)

def opened(path):
    with open(path, "w") as pipe:
        pipe.write("1")

def ends(how, argument, begun):
    held = local()
    try:
        if how == "interrupted":
            opened(begun)
            while True:
                pass
        raise KeyError(how)
    except KeyError as error:
        kept = error  # a cycle: the frame, this, its traceback
        if how == "another":
            raise ValueError(how)
        if how == "exit":
            sys.exit(how)
        raise
    except BaseException:
        if how == "swallowed":
            return
        raise

async def ends_later(how, argument, begun):
    held = local()
    if how == "interrupted":
        opened(begun)
        while True:
            pass
    if how == "cancelled":
        opened(begun)
        await asyncio.sleep(3600)
    return ends(how, argument, begun)
"""


@pytest.fixture
def pool(make_pool: Callable[..., WorkerProcedureCall]) -> WorkerProcedureCall:
    return make_pool(1, SOURCE)


def leased(pool: WorkerProcedureCall) -> int:
    """Return how many blocks of arguments workers hold."""
    return sum(len(link.sender._leases) for link in pool._driver.parts.links.values())


@pytest.mark.parametrize("name", ["ends", "ends_later"])
@pytest.mark.parametrize("how", ["raises", "another", "exit"])
def test_the_variables_of_a_call_that_fails_are_freed(pool: WorkerProcedureCall, name: str, how: str) -> None:
    for _ in range(3):
        assert pool.call[name](how, np.ones(MB), "").exception() is not None
    assert pool.call.left().result() == 0
    pool.call.left().result()  # its answer delivers the releases
    assert leased(pool) == 0


@pytest.mark.parametrize("name", ["ends", "ends_later"])
@pytest.mark.parametrize("how", ["interrupted", "cancelled"])
def test_the_variables_of_a_call_that_is_cancelled_are_freed(
    pool: WorkerProcedureCall, folder: Path, name: str, how: str
) -> None:
    how = how if name == "ends_later" else "interrupted"
    for n in range(2):
        begun = Begun(folder / f"begun{n}")
        call = pool.call[name](how, np.ones(MB), begun.path)
        begun.wait()
        assert call.cancel()
        begun.close()
        with pytest.raises(CancelledError):
            call.result()
        assert pool.call.left().result() == 0
    pool.call.left().result()
    assert leased(pool) == 0


def test_the_blocks_of_a_call_that_fails_are_released_with_its_answer(pool: WorkerProcedureCall) -> None:
    for _ in range(3):
        assert pool.call.ends("raises", np.ones(MB), "").exception() is not None
        assert leased(pool) == 0


@pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="a frame keeps that of a generator's caller")
def test_an_error_keeps_nothing_of_who_has_asked_for_it(pool: WorkerProcedureCall) -> None:
    class Asked:
        pass

    def ask(how: str) -> tuple[BaseException, weakref.ref[Asked]]:
        asked = Asked()
        future = pool.call.ends(how, 0, "")
        error = future.exception(PATIENCE_S)
        return error, weakref.ref(asked)

    gc.disable()
    try:
        for how in ("raised", "another"):
            error, ref = ask(how)
            assert error.__traceback__ is not None
            assert ref() is None
    finally:
        gc.enable()


def test_the_variables_of_items_that_fail_are_freed(pool: WorkerProcedureCall) -> None:
    for name in "ends", "ends_later":
        for _ in range(2):
            with pytest.raises(KeyError):
                list(pool.map(name, ["raises"] * 4, [np.ones(MB)] * 4, [""] * 4))
    deadline = time.monotonic() + PATIENCE_S
    while pool.call.left().result() or leased(pool):  # coroutines beside the one that failed clean up first
        assert time.monotonic() < deadline
