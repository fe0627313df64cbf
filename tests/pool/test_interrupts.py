"""Thousands of interrupts of a waiting caller: no reply is lost, and the state stays consistent.

The program below runs in a separate process; another one sends it a signal at random times, some microseconds
to a millisecond apart. It keeps a ledger: each call records in its worker that it ran, so that calls whose
future was lost before it was assigned to a variable (which no library can prevent) are counted too.
"""

from __future__ import annotations

import concurrent.futures
import json
import select
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest

from tests.pool.conftest import ROOT, run
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.interrupts import hold

INTERRUPTS = {"SIGINT": 10_000, "SIGTERM": 3_000, "SIGALRM": 3_000, "SIGUSR1": 3_000}
SECONDS = 120  # it takes about ten; if it takes too long, the number of interrupts shows it

SENDER = """
import os, random, select, signal, sys
rng = random.Random(20240607)
pid, signum = map(int, sys.argv[1:])
sys.stdin.readline()
while not select.select([0], [], [], rng.random() ** 3 * 0.001)[0]:  # until the other end is closed
    os.kill(pid, signum)
"""

PROGRAM = """
import collections, concurrent.futures, json, os, signal, subprocess, sys, threading, time

SIGNAL = signal.Signals[sys.argv[4]]
signal.signal(SIGNAL, signal.SIG_IGN)
from wpc_magic.pool import WorkerProcedureCall

LIMIT, SECONDS = int(sys.argv[1]), float(sys.argv[2])


class Interrupt(BaseException):
    pass


Raised = KeyboardInterrupt if SIGNAL == signal.SIGINT else Interrupt
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
raised = received = 0


def on_interrupt(signum, frame):
    global armed, received, raised
    received += 1
    if armed:
        armed = False  # one at a time: the next one raises after the last has been handled
        raised += 1
        raise Raised


def outcome_of(future):
    "Return the value or the error of a call, no matter how often this is interrupted."
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
        except Raised:
            pass


def wait_for_all(futures):
    "Wait as the standard library does, which acquires all their locks; return at the first interrupt."
    global armed
    try:
        armed = True
        concurrent.futures.wait(futures)
        armed = False
    except Raised:
        pass


def submit(name, *args):
    "Submit a call; return its future, or None if an interrupt came first."
    global armed
    try:
        armed = True
        future = pool.call[name](*args)
        armed = False
        return future
    except Raised:
        return None


sender = subprocess.Popen(
    [sys.executable, "-c", sys.argv[3], str(os.getpid()), str(int(SIGNAL))],
    stdin=subprocess.PIPE,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)
signal.signal(SIGNAL, on_interrupt)
sender.stdin.write(b"go\\n")
sender.stdin.flush()

n = kept = lost = wrong = 0
names = ["note", "note", "note", "fails", "later"]
until = time.monotonic() + SECONDS
while received < LIMIT and time.monotonic() < until:
    batch = []
    for _ in range(1 + n % 4):  # one, or several at once
        n += 1
        name = names[n % len(names)]
        future = submit(name, n)
        if future is None:
            lost += 1
        else:
            kept += 1
            batch.append((name, n, future))
    if n % 3 == 0:
        wait_for_all([future for _, _, future in batch])
    for name, number, future in batch:
        outcome = outcome_of(future)
        if (outcome.args if name == "fails" else (outcome,)) != (number,):
            wrong += 1

sender.kill()
sender.wait()
sender.stdin.close()
armed = False
signal.signal(SIGNAL, signal.SIG_IGN)

# A call that no thread awaits in `result` is answered only if the driver's thread polls its channel.
unawaited = [pool.call.note(-1 - k) for k in range(20)]
told = threading.Semaphore(0)
for future in unawaited:
    future.add_done_callback(lambda _: told.release())
not_polled = sum(not told.acquire(timeout=30) for _ in unawaited)
reports = {n: f.result() for n, f in pool.broadcast("report").items()}
ran = collections.Counter(number for report in reports.values() for number in report)
snapshot = pool.snapshot()
driver = pool._driver
ledger = {
    "received": received,
    "raised": raised,
    "made": n,
    "kept": kept,
    "lost": lost,
    "wrong": wrong,
    "not_polled": not_polled,
    "twice": sum(count > 1 for count in ran.values()),
    "ran": sum(number > 0 for number in ran),
    "in_flight": snapshot.in_flight,
    "queued": snapshot.queued,
    "ended": snapshot.calls + snapshot.items,
    "restarts": sum(worker.restarts for worker in snapshot.workers),
    "locked": driver.lock.locked(),
    "owners": sum(link.owner is not None for link in driver.parts.links.values()),
    "handler": signal.getsignal(SIGNAL) == signal.SIG_IGN,
    "unsettled": len(driver.unsettled),
}
pool.stop_workers()
ledger["threads"] = threading.active_count()
print(json.dumps(ledger))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", INTERRUPTS)
def test_thousands_of_random_interrupts_lose_no_reply_and_leave_nothing_torn(name: str) -> None:
    number = INTERRUPTS[name]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(number), str(SECONDS), SENDER, name],
        capture_output=True,
        text=True,
        timeout=170,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    ledger = json.loads(done.stdout)
    assert ledger["received"] >= number, ledger
    assert ledger["raised"] > number // 4, f"the interrupts raise often enough: {ledger}"
    assert ledger["kept"] + ledger["lost"] == ledger["made"], ledger
    # Every call whose future we hold ran once and was answered once; any other call, at most once.
    assert ledger["wrong"] == 0, ledger
    assert ledger["twice"] == 0, ledger
    assert ledger["kept"] <= ledger["ran"] <= ledger["made"], ledger
    # The pool's own counters agree: all that ran has ended, and nothing is in flight.
    assert ledger["ended"] == ledger["ran"] + 20 + 2, ledger
    assert (ledger["in_flight"], ledger["queued"]) == (0, 0), ledger
    assert ledger["restarts"] == 0, ledger
    # No lock is held, every channel is polled, no waiter is registered; the signal handler is restored.
    assert ledger["not_polled"] == 0, ledger
    assert not ledger["locked"], ledger
    assert ledger["owners"] == 0, ledger
    assert ledger["unsettled"] == 0, ledger
    assert ledger["handler"], ledger
    assert ledger["threads"] == 1, ledger


NOT_IN_POOL = '"wpc_magic" not in sys._current_frames()[threading.main_thread().ident].f_code.co_filename'

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
    # As soon as the main thread runs code of the pool.
    ready.wait()
    while NOT_YET:
        pass
    os.kill(os.getpid(), signal.SIGINT)
    while not interrupted.wait(1):  # Python misses one that arrives just before it begins to wait
        os.kill(os.getpid(), signal.SIGINT)

interrupted = threading.Event()
threading.Thread(target=interrupt).start()
try:
    ready.set()
    WAIT
except KeyboardInterrupt:
    interrupted.set()
    print("interrupted")
EXPECT
door.close()
pool.stop_workers()
os.rmdir(folder) if not os.listdir(folder) else (os.unlink(folder + "/door"), os.rmdir(folder))
""".replace("NOT_YET", NOT_IN_POOL)


def test_an_interrupt_ends_the_waiting_and_not_the_call() -> None:
    done = run(
        ALONE.replace("WAIT", "future.result()").replace("EXPECT", "visit.let_go(); print(future.result())")
    )
    assert (done.stdout, done.stderr) == ("interrupted\nended\n", "")


@pytest.mark.parametrize("size", [1, 1_000_000])
def test_an_interrupt_ends_waiting_for_room_and_the_call_is_not_made(size: int) -> None:
    program = ALONE.replace(
        "WorkerProcedureCall()", "WorkerProcedureCall(max_pending_calls_per_worker=1, saturation='wait')"
    ).replace(NOT_IN_POOL, "not pool._driver.condition.waiters")
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
    first.release()  # in the order of acquisition, as `concurrent.futures.wait` does
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


class Misses:
    """A lock and a poll set for which Python misses the signal: their first wait is not ended by it."""

    def __init__(self) -> None:
        self.waits: list[float | None] = []

    def acquire(self, blocking: bool, seconds: float) -> bool:
        self.waits.append(seconds)
        return len(self.waits) > 2

    def poll(self, milliseconds: float | None) -> list[tuple[int, int]]:
        return [(3, 1)] if self.acquire(True, -1 if milliseconds is None else milliseconds / 1000) else []


@pytest.mark.parametrize("wait", [lambda each: hold.acquire(each), lambda each: hold.poll(each)])
def test_the_main_thread_waits_in_slices_so_that_no_signal_waits_for_the_end(wait: Any) -> None:
    misses = Misses()
    assert wait(misses)
    assert misses.waits == [hold.LOOK_S] * 3
    misses = Misses()
    thread = threading.Thread(target=wait, args=(misses,))
    thread.start()
    thread.join()
    assert [each for each in misses.waits if each != -1] == [], "handlers do not run there"


def test_a_wait_in_slices_ends_with_its_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold, "LOOK_S", 0.001)
    lock = threading.Lock()
    with lock:
        assert not hold.acquire(lock, 0.01)
        assert not hold.acquire(lock, 0)
    assert hold.acquire(lock, 0)
    assert hold.poll(select.poll(), 0.01) == []
