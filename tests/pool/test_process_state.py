"""What one function changes in its worker, and the next one finds as it was."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from tests.pool.conftest import Begun
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.driver.output import OutputText

SOURCE = """
import asyncio, os, signal, sys

LOOP = None

def own(*args):
    pass

def changes_handler(how):
    signal.signal(signal.SIGINT, {"default": signal.SIG_DFL, "ignored": signal.SIG_IGN, "own": own}[how])

def changes_streams(how):
    sys.stdout = sys.stderr = None if how == "None" else open(os.devnull, "w")

def changes_and_fails(how):
    changes_handler("default")
    changes_streams("None")
    raise ValueError(how)

async def changes_later(how):
    changes_handler("default")
    changes_streams("None")

def report(begun):
    with open(begun, "w") as pipe:
        pipe.write("1")

def works(begun):
    print("works")
    print("as usual", file=sys.stderr)
    try:
        report(begun)
        while True:
            pass
    finally:
        print("cleaned up")

async def keeps_loop(begun=None):
    global LOOP
    LOOP = asyncio.get_running_loop()
    if begun is not None:
        try:
            report(begun)
            await asyncio.sleep(3600)
        finally:
            print("ended")
    return "kept"

def closes_loop():
    LOOP.close()

def has_no_loop():
    try:
        asyncio._get_running_loop() or asyncio.get_event_loop_policy()._local._loop.close()
    except AttributeError:
        return True

async def redirects(begun, go):
    class Lines(list):
        write = list.append
    before, sys.stdout = sys.stdout, Lines()
    report(begun)
    await go_on.wait() if go else None
    print("to the list")
    lines, sys.stdout = list(sys.stdout), before
    return lines

go_on = asyncio.Event()

def quick():
    go_on.set()
"""


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *(("changes_handler", how) for how in ("default", "ignored", "own")),
        *(("changes_streams", how) for how in ("None", "file")),
        ("changes_and_fails", ""),
        ("changes_later", ""),
    ],
)
def test_the_next_function_can_be_stopped_and_is_shown(
    make_pool: Callable[..., WorkerProcedureCall], begun: Begun, name: str, how: str
) -> None:
    pool = make_pool(1, SOURCE, interrupt_grace_ms=60_000)
    printed: list[OutputText] = []
    pool.output_sink = printed.append
    pool.call[name](how).exception()
    call = pool.call.works(begun.path)
    begun.wait()
    call.cancel()
    with pytest.raises(CancelledError):
        call.result()
    assert pool.call.keeps_loop().result() == "kept"
    pool.stop_workers()
    assert "".join(each.text for each in printed) == "works\nas usual\ncleaned up\n"
    assert not any(
        event.event_name == "worker_exited" and event.severity == "error" for event in pool.events()
    )


def test_a_loop_that_a_function_has_closed_is_replaced(
    make_pool: Callable[..., WorkerProcedureCall], folder: Path
) -> None:
    pool = make_pool(1, SOURCE)
    pid = pool.snapshot().workers[0].pid
    assert pool.call.keeps_loop().result() == "kept"
    assert pool.call.closes_loop().result() is None
    assert pool.call.keeps_loop().result() == "kept"
    two = [Begun(folder / "one"), Begun(folder / "two")]
    waiting = [pool.call.keeps_loop(each.path) for each in two]
    for each in two:
        each.wait()
        each.close()
    assert pool.call.closes_loop().result() is None
    for call in waiting:
        with pytest.raises(RuntimeError, match="another function has closed the event loop"):
            call.result()
    assert pool.call.keeps_loop().result() == "kept"
    assert pool.snapshot().workers[0].pid == pid


def test_a_worker_whose_loop_was_closed_leaves_as_usual(
    make_pool: Callable[..., WorkerProcedureCall],
) -> None:
    pool = make_pool(1, SOURCE)
    pool.call.keeps_loop().result()
    pool.call.closes_loop().result()
    pool.stop_workers()
    (exit,) = [event for event in pool.events() if event.event_name == "worker_exited"]
    assert exit.details["exitcode"] == 0


def test_the_loop_of_coroutines_is_nobodys_current_one(make_pool: Callable[..., WorkerProcedureCall]) -> None:
    pool = make_pool(1, SOURCE)
    assert pool.call.keeps_loop().result() == "kept"
    assert pool.call.has_no_loop().result() is True


def test_what_a_coroutine_has_changed_stays_until_it_has_ended(
    make_pool: Callable[..., WorkerProcedureCall], begun: Begun
) -> None:
    pool = make_pool(1, SOURCE)
    redirected = pool.call.redirects(begun.path, True)
    begun.wait()
    pool.call.quick().result()
    assert "".join(redirected.result()) == "to the list\n"
