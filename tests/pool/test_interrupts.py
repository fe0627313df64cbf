"""Ten thousand interrupts of a caller that waits: no reply is lost, and nothing is left in a wrong state.

The program below runs in a process of its own; another one sends it SIGINT at random moments, some
microseconds to a millisecond apart. It keeps a ledger: each call writes down in its worker that it ran, so
that calls whose future was lost between the pool and a variable (which no library can prevent) are accounted
too.
"""

from __future__ import annotations

import concurrent.futures
import json
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest

from tests.pool.conftest import ROOT, run
from wpc_magic.pool import WorkerProcedureCall

INTERRUPTS = 10_000
SECONDS = 60  # it takes about ten; where it takes longer, the number of interrupts tells

SENDER = """
import os, random, select, signal, sys
dice = random.Random(20240607)
pid = int(sys.argv[1])
sys.stdin.readline()
while not select.select([0], [], [], dice.random() ** 3 * 0.001)[0]:  # until the other end is gone
    os.kill(pid, signal.SIGINT)
"""

PROGRAM = """
import collections, concurrent.futures, json, os, signal, subprocess, sys, threading, time

signal.signal(signal.SIGINT, signal.SIG_IGN)
from wpc_magic.pool import WorkerProcedureCall

LIMIT, SECONDS = int(sys.argv[1]), float(sys.argv[2])
pool = WorkerProcedureCall()
pool.define_worker_functions('''
ran = []


def note(n):
    ran.append(n)
    return n


def fails(n):
    ran.append(n)
    raise ValueError(n)


async def later(n):
    import asyncio
    await asyncio.sleep(0)
    ran.append(n)
    return n


def report():
    return ran
''')
pool.start_workers(2)

armed = False
raised = came = 0


def on_interrupt(signum, frame):
    global armed, came, raised
    came += 1
    if armed:
        armed = False  # one at a time: the next one comes when the last has been dealt with
        raised += 1
        raise KeyboardInterrupt


def ask(future):
    "Return the value or the error of a call, however often that is interrupted."
    global armed
    while True:
        try:
            armed = True
            try:
                outcome = future.result()
            except ValueError as error:
                outcome = error
            armed = False
            return outcome
        except KeyboardInterrupt:
            pass


def stand_by(futures):
    "Wait for all in the way of the standard library, which takes all their locks; at most once interrupted."
    global armed
    try:
        armed = True
        concurrent.futures.wait(futures)
        armed = False
    except KeyboardInterrupt:
        pass


def make(name, *args):
    "Make a call; None if it was interrupted before its future was there."
    global armed
    try:
        armed = True
        future = pool.call[name](*args)
        armed = False
        return future
    except KeyboardInterrupt:
        return None


sender = subprocess.Popen(
    [sys.executable, "-c", sys.argv[3], str(os.getpid())],
    stdin=subprocess.PIPE,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)
signal.signal(signal.SIGINT, on_interrupt)
sender.stdin.write(b"go\\n")
sender.stdin.flush()

n = kept = lost = wrong = 0
names = ["note", "note", "note", "fails", "later"]
until = time.monotonic() + SECONDS
while came < LIMIT and time.monotonic() < until:
    batch = []
    for _ in range(1 + n % 4):  # alone, and several at once
        n += 1
        name = names[n % len(names)]
        future = make(name, n)
        if future is None:
            lost += 1
        else:
            kept += 1
            batch.append((name, n, future))
    if n % 3 == 0:
        stand_by([future for _, _, future in batch])
    for name, number, future in batch:
        outcome = ask(future)
        if (outcome.args if name == "fails" else (outcome,)) != (number,):
            wrong += 1

sender.kill()
sender.wait()
sender.stdin.close()
armed = False
signal.signal(signal.SIGINT, signal.SIG_IGN)

# A call that nobody waits for in `result` is answered only if its channel is read by the pool itself.
nobody = [pool.call.note(-1 - k) for k in range(20)]
left_out = len(concurrent.futures.wait(nobody, timeout=30).not_done)
reports = {n: f.result() for n, f in pool.broadcast("report").items()}
ran = collections.Counter(number for report in reports.values() for number in report)
snapshot = pool.snapshot()
driver = pool._driver
books = {
    "came": came,
    "raised": raised,
    "made": n,
    "kept": kept,
    "lost": lost,
    "wrong": wrong,
    "left_out": left_out,
    "twice": sum(count > 1 for count in ran.values()),
    "ran": sum(number > 0 for number in ran),
    "in_flight": snapshot.in_flight,
    "queued": snapshot.queued,
    "ended": snapshot.done + snapshot.failed,
    "restarts": sum(worker.restarts for worker in snapshot.workers),
    "locked": driver.lock.locked(),
    "owners": sum(link.owner is not None for link in driver._links.values()),
    "handler": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
}
pool.stop_workers()
books["threads"] = threading.active_count()
print(json.dumps(books))
"""


@pytest.mark.slow
def test_ten_thousand_random_interrupts_lose_no_reply_and_leave_nothing_torn() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(INTERRUPTS), str(SECONDS), SENDER],
        capture_output=True,
        text=True,
        timeout=150,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    books = json.loads(done.stdout)
    assert books["came"] >= INTERRUPTS, books
    assert books["raised"] > INTERRUPTS // 4, f"they hit where they may raise: {books}"
    assert books["kept"] + books["lost"] == books["made"], books
    # Every call that we hold the future of ran once and was answered once; one that we do not hold, at most.
    assert books["wrong"] == 0, books
    assert books["twice"] == 0, books
    assert books["kept"] <= books["ran"] <= books["made"], books
    # The pool's own books say the same: all that ran has ended, and nothing is under way.
    assert books["ended"] == books["ran"] + 20 + 2, books
    assert (books["in_flight"], books["queued"]) == (0, 0), books
    assert books["restarts"] == 0, books
    # No lock is held, no socket is left out, no waiter is still entered; the signal's handler is back.
    assert books["left_out"] == 0, books
    assert not books["locked"], books
    assert books["owners"] == 0, books
    assert books["handler"], books
    assert books["threads"] == 1, books


IN_OUR_CODE = '"wpc_magic" not in sys._current_frames()[threading.main_thread().ident].f_code.co_filename'

ALONE = """
import os, signal, sys, threading
from tests.pool.conftest import HELD, Door
from wpc_magic.pool import WorkerProcedureCall
import tempfile
folder = tempfile.mkdtemp(prefix="t-")
door = Door(folder + "/door")
pool = WorkerProcedureCall()
pool.define_worker_functions(HELD)
pool.start_workers(1)
future = pool.call.held(door.path, "ended")
visit = door.wait()

ready = threading.Event()

def interrupt():
    # As soon as the main thread is in the pool's code.
    ready.wait()
    while NOT_YET:
        pass
    os.kill(os.getpid(), signal.SIGINT)
    while not came.wait(1):  # Python overlooks one that comes just before it begins to wait
        os.kill(os.getpid(), signal.SIGINT)

came = threading.Event()
threading.Thread(target=interrupt).start()
try:
    ready.set()
    WAIT
except KeyboardInterrupt:
    came.set()
    print("interrupted")
EXPECT
door.close()
pool.stop_workers()
os.rmdir(folder) if not os.listdir(folder) else (os.unlink(folder + "/door"), os.rmdir(folder))
""".replace("NOT_YET", IN_OUR_CODE)


def test_an_interrupt_ends_the_waiting_and_not_the_call() -> None:
    done = run(
        ALONE.replace("WAIT", "future.result()").replace("EXPECT", "visit.let_go(); print(future.result())")
    )
    assert (done.stdout, done.stderr) == ("interrupted\nended\n", "")


@pytest.mark.parametrize("size", [1, 1_000_000])
def test_an_interrupt_ends_waiting_for_room_and_the_call_is_not_made(size: int) -> None:
    program = ALONE.replace(
        "WorkerProcedureCall()", "WorkerProcedureCall(max_pending_calls_per_worker=1, saturation='wait')"
    ).replace(IN_OUR_CODE, "not pool._driver.gates.closed")
    done = run(
        program.replace("WAIT", f"pool.call.held(door.path, bytes({size}))").replace(
            "EXPECT",
            "visit.let_go(); print(future.result(), pool.snapshot().in_flight, pool.snapshot().queued)",
        )
    )
    assert (done.stdout, done.stderr) == ("interrupted\nended 0 0\n", "")


def test_an_interrupt_while_a_definition_is_under_way_leaves_the_old_one() -> None:
    program = ALONE.replace(
        "future = pool.call.held",
        "pool.define_worker_function(worker_func='def f(): return 1')\nfuture = pool.call.held",
    ).replace("visit = door.wait()", "visit = door.wait(); visit.let_go(); future.result()")
    slow = (
        "pool.define_worker_functions('import socket\\nway = socket.socket(socket.AF_UNIX)\\n"
        "way.connect(' + repr(door.path) + ')\\nway.recv(1)\\ndef f(): return 2')"
    )
    done = run(program.replace("WAIT", slow).replace("EXPECT", "door.close(); print(pool.call.f().result())"))
    assert (done.stdout, done.stderr) == ("interrupted\n1\n", "")


def test_an_interrupt_while_futures_are_locked_comes_when_none_is_any_more(
    pool: WorkerProcedureCall, door: Any
) -> None:
    futures = [pool.call.held(door.path, n) for n in range(2)]
    visits = [door.wait() for _ in futures]
    first, second = (future._condition for future in futures)
    first.acquire()
    signal.raise_signal(signal.SIGINT)
    second.acquire()
    first.release()  # in the order of their taking, as `concurrent.futures.wait` does
    with pytest.raises(KeyboardInterrupt):
        second.release()
    for visit in visits:
        visit.let_go()
    assert [future.result() for future in futures] == [0, 1]


def test_calls_of_other_threads_go_on_while_the_main_one_is_interrupted(
    pool: WorkerProcedureCall, door: Any
) -> None:
    pool.define_worker_function(worker_func="def double(x): return 2 * x")
    future = pool.call.held(door.path, "ended")
    visit = door.wait()

    def work() -> list[int]:
        found = [pool.call.double(n).result() for n in range(300)]
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return found

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        working = threads.submit(work)
        with pytest.raises(KeyboardInterrupt):
            future.result()
        assert working.result() == [2 * n for n in range(300)]
    visit.let_go()
    assert future.result() == "ended"


def test_a_handler_of_the_users_own_is_called_and_stays(pool: WorkerProcedureCall, door: Any) -> None:
    called = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: called.set())
    try:
        future = pool.call.held(door.path, "ended")
        visit = door.wait()

        def later() -> None:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            called.wait(60)
            visit.let_go()

        thread = threading.Thread(target=later)
        thread.start()
        assert future.result() == "ended"
        thread.join()
        assert called.is_set()
    finally:
        signal.signal(signal.SIGINT, before)
