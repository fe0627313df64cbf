"""What a function starts inside a worker, and a program that forks, disturb nobody and leave nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

HEAD = """
import asyncio, concurrent.futures, gc, logging, os, subprocess, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks where there are threads
logging.getLogger("asyncio").setLevel(logging.ERROR)  # its debug mode warns of a slow machine
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import NestedCallError
from tests.pool.conftest import HELD, Door

def say(text):
    os.write(1, f"{text}\\n".encode())  # one write: two processes may have something to say

def started(source):
    pool = WorkerProcedureCall()
    pool.define_worker_functions(HELD + source + "\\ndef double(x): return 2 * x\\n")
    pool.start_workers(2)
    return pool

def nothing_is_left():
    gc.collect()
    try:
        left = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        say("nothing is left")
    else:
        say(f"a child is left: {left}")
"""


def run(program: str, *arguments: str) -> list[str]:
    """Run a program of its own that may not warn of anything; return the lines that it has to say."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", "-c", HEAD + program, *arguments],
        capture_output=True,
        text=True,
        timeout=150,
        cwd=ROOT,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout.splitlines()


# -- what a function starts -----------------------------------------------------------------------------

WORK = {
    "threads": (
        "with concurrent.futures.ThreadPoolExecutor(8) as threads:\n"
        "    return list(threads.map(square, range(4)))"
    ),
    "programs": (
        "programs = [subprocess.Popen([sys.executable, '-c', f'print({n} ** 2)'], stdout=subprocess.PIPE)\n"
        "            for n in range(4)]\n"
        "return [int(program.communicate()[0]) for program in programs]"
    ),
    "a forked pool": (
        "with multiprocessing.get_context('fork').Pool(2) as pool:\n    return pool.map(square, range(4))"
    ),
    "a spawned pool": (
        "with multiprocessing.get_context('spawn').Pool(2) as pool:\n"
        "    return pool.starmap(pow, [(n, 2) for n in range(4)])"
    ),
    "a forked executor": (
        "with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context('fork')) as executor:\n"
        "    return list(executor.map(square, range(4)))"
    ),
    "a spawned executor": (
        "with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context('spawn')) as executor:\n"
        "    return list(executor.map(pow, range(4), [2] * 4))"
    ),
    "a pool of its own": (
        "from wpc_magic.pool import WorkerProcedureCall\n"
        "with WorkerProcedureCall() as pool:\n"
        "    pool.define_worker_function(worker_func='def power(n): return n ** 2')\n"
        "    pool.start_workers(2)\n"
        "    return [pool.call.power(n).result() for n in range(4)]"
    ),
}
INSIDE = """
source = '''
import concurrent.futures, multiprocessing, os, subprocess, sys
def square(n): return n * n
def work():
''' + "".join(f"    {line}\\n" for line in sys.argv[1].splitlines()) + '''
def children():
    found = []
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as file:
                stat = file.read().rpartition(")")[2].split()
            with open(f"/proc/{entry}/cmdline") as file:
                line = file.read()
        except OSError:
            continue
        if int(stat[1]) == os.getpid() and "resource_tracker" not in line:  # which Python itself keeps
            found.append((entry, stat[0], line))
    return found
'''
pool = started(source)
one, two, other = pool.call.work(), pool.call.work(), pool.call.double(4)
say(one.result())
say(two.result())
say((other.result(), pool.call.double(5).result()))
say(sum(map(len, (future.result() for future in pool.broadcast("children").values()))))
say([worker.restarts for worker in pool.snapshot().workers])
pool.stop_workers()
del pool, one, two, other
nothing_is_left()
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc, of Linux")
@pytest.mark.parametrize("what", WORK)
def test_a_function_may_use(what: str) -> None:
    assert run(INSIDE, WORK[what]) == [
        "[0, 1, 4, 9]",
        "[0, 1, 4, 9]",
        "(8, 10)",
        "0",  # processes that a worker still has, dead or alive
        "[0, 0]",
        "nothing is left",
    ]


# -- forks of the program -------------------------------------------------------------------------------

AFTER = ["0", "(2, 4, 'under way', 6)", "nothing is left"]


@pytest.mark.parametrize("end", ["os._exit(0)", "sys.exit(0)", "fall off"])
def test_a_fork_of_the_program_may_end_in_any_way(end: str) -> None:
    program = """
import shutil, tempfile
folder = tempfile.mkdtemp(prefix="t-")
door = Door(folder + "/door")
pool = started("")
before, under_way = pool.call.double(1), pool.call.held(door.path, "under way")
visit = door.wait()
child = os.fork()
if child == 0:
    visit._connection.close()
    door._listener.close()
    if sys.argv[1] == "os._exit(0)":
        os._exit(0)
    elif sys.argv[1] == "sys.exit(0)":
        sys.exit(0)
else:
    meanwhile = pool.call.double(2).result()
    say(os.waitpid(child, 0)[1])
    visit.let_go()
    say((before.result(), meanwhile, under_way.result(), pool.call.double(3).result()))
    door.close()
    shutil.rmtree(folder)
    pool.stop_workers()
    del pool, before, under_way, visit, door
    nothing_is_left()
"""
    assert run(program, end) == AFTER


LEAVES = """
import shutil, tempfile
folder = tempfile.mkdtemp(prefix="t-")
door = Door(folder + "/door")
with started("") as pool:
    under_way = pool.call.held(door.path, "under way")
    visit = door.wait()
    child = os.fork()
    if child == 0:
        visit._connection.close()
        door._listener.close()
    else:
        say(os.waitpid(child, 0)[1])
        visit.let_go()
if child:
    say(under_way.result())
    door.close()
    shutil.rmtree(folder)
    del pool, under_way, visit, door
    nothing_is_left()
"""


def test_a_fork_that_leaves_the_block_of_a_pool_waits_for_none_of_its_calls() -> None:
    assert run(LEAVES) == ["0", "under way", "nothing is left"]


ASKS = """
import shutil, tempfile
folder = tempfile.mkdtemp(prefix="t-")
door = Door(folder + "/door")
pool = started("")
ended, under_way = pool.call.double(1), pool.call.held(door.path, "under way")
assert ended.result() == 2
visit = door.wait()
async def awaits(): return await under_way
child = os.fork()
if child == 0:
    say(ended.result())
    for ask in (under_way.result, under_way.exception, under_way.cancel, lambda: asyncio.run(awaits())):
        try:
            say(ask())
        except NestedCallError:
            say("not here")
    with started("") as own:
        say(own.call.double(21).result())
    os._exit(0)
say(os.waitpid(child, 0)[1])
visit.let_go()
say(under_way.result())
door.close()
shutil.rmtree(folder)
pool.stop_workers()
del pool, under_way, visit, door
nothing_is_left()
"""


def test_a_fork_that_asks_for_a_call_of_its_parents_is_told_and_may_have_a_pool_of_its_own() -> None:
    assert run(ASKS) == ["2", *["not here"] * 4, "42", "0", "under way", "nothing is left"]


REUSES = """
import atexit, shutil, tempfile
folder = tempfile.mkdtemp(prefix="t-")
door = Door(folder + "/door")
pool = started("")
calls = [pool.call.held(door.path, n) for n in range(4)]
visits = [door.wait(), door.wait()]
heard = []
pool.on_worker_event(listener=heard.append)
calls[1].add_done_callback(heard.append)
waits = threading.Thread(target=calls[0].result)
waits.start()
while not calls[0].wakers:
    pass
async def awaits(): return await calls[2]
loop = asyncio.new_event_loop()
task = loop.create_task(awaits())
loop.run_until_complete(asyncio.sleep(0))
child = os.fork()
if child == 0:
    # They have the numbers of what the fork has closed.
    files = [open(folder + f"/{n}", "w+b", buffering=0) for n in range(80)]
    pool.stop_workers()
    atexit._run_exitfuncs()
    del pool, calls, task
    gc.collect()
    say([file.read() for file in files if os.fstat(file.fileno()).st_size])
    say((heard, [thread.name for thread in threading.enumerate() if thread.name.startswith("wpc")]))
    os._exit(0)
say(os.waitpid(child, 0)[1])
for visit in visits + [door.wait() for _ in range(2) if not visits.pop().let_go()]:
    visit.let_go()
say(loop.run_until_complete(task))
say([call.result() for call in calls])
waits.join()
loop.close()
pool.stop_workers()
door.close()
shutil.rmtree(folder)
del pool, calls, task, visits, visit, door
nothing_is_left()
"""


def test_nothing_of_a_pool_acts_in_a_fork_neither_at_its_exit_nor_in_finalizers() -> None:
    assert run(REUSES) == ["[]", "([], [])", "0", "2", "[0, 1, 2, 3]", "nothing is left"]


LOCKED = """
import shutil, tempfile
folder = tempfile.mkdtemp(prefix="t-")
door = Door(folder + "/door")
pool = started("def prints(x): print('hello'); return x")
driver, shown, go_on = pool._driver, threading.Event(), threading.Event()
def show(output):
    shown.set()
    go_on.wait()
pool.output_sink = show
printing = pool.call.prints.options(worker_id=1)("printed")
printing.add_done_callback(lambda future: None)  # so the pool reads and shows by itself
shown.wait()
under_way = pool.call.held.options(worker_id=2)(door.path, bytes(2_000_000))  # in a block
visit = door.wait()
links = list(driver.parts.links.values())
locks = [driver.memory.store._lock, *(link.process._lock for link in links),
         *(link.receiver.cache._lock for link in links)]
held, over = threading.Event(), threading.Event()
def hold():
    for lock in locks:
        lock.acquire()
    held.set()
    over.wait()
    for lock in locks:
        lock.release()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    say("forked")
    driver.output.finish()
    say("and nothing to show")
    os._exit(0)
alarm = threading.Timer(60, os.kill, (child, 9))
alarm.start()
say(os.waitpid(child, 0)[1])
alarm.cancel()
over.set(), go_on.set(), thread.join()
visit.let_go()
say(len(under_way.result()))
door.close()
shutil.rmtree(folder)
pool.stop_workers()
del pool, under_way, printing, visit, door, driver, links, locks, alarm, thread
nothing_is_left()
"""


def test_a_fork_does_not_wait_for_what_other_threads_had_locked() -> None:
    assert run(LOCKED) == ["forked", "and nothing to show", "0", "2000000", "nothing is left"]


# -- arrays of values and arguments, in forks -----------------------------------------------------------

VALUES = """
import numpy as np
SIZE = 500_000
pool = started("def make(n):\\n    import numpy as np\\n    return np.full(500_000, float(n))")

def contents(array):
    return sorted(set(array.tolist()))

def fork_with(array, meanwhile):
    "Let a child look at the array, write to half of it, and look again when this process has gone on."
    wrote, go_on = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            first = contents(array)
            array[: SIZE // 2] = -1.0
            os.write(wrote[1], b".")
            os.read(go_on[0], 1)
            say((first, contents(array)))
        finally:
            os._exit(0)
    os.read(wrote[0], 1)
    meanwhile()
    os.write(go_on[1], b".")
    os.waitpid(child, 0)
    for fd in (*wrote, *go_on):
        os.close(fd)

array = pool.call.make(7).result()

def write():
    say(contents(array))
    array[SIZE // 2 :] = 8.0

fork_with(array, write)
say(contents(array))
fork_with(array, lambda: array.fill(9.0))

def drop_and_go_on():
    global array
    del array  # now its block could be used again
    for n in range(100, 120):
        assert (pool.call.make(n).result() == n).all()

array = pool.call.make(5).result()
fork_with(array, drop_and_go_on)
say(all((pool.call.make(n).result() == n).all() for n in range(5)))
pool.stop_workers()
del pool
nothing_is_left()
"""


def test_an_array_that_a_call_returned_is_private_to_the_program_and_to_each_fork_of_it() -> None:
    assert run(VALUES) == [
        "[7.0]",
        "([7.0], [-1.0, 7.0])",
        "[7.0, 8.0]",
        "([7.0, 8.0], [-1.0, 8.0])",
        "([5.0], [-1.0, 5.0])",
        "True",
        "nothing is left",
    ]


ARGUMENTS = """
import numpy as np
pool = started('''
import os
children, go_on = [], os.pipe()

def forks(array):
    "Let a child write to the array, and look at it when this worker has gone on; return what is here."
    wrote, seen = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            array[:1000] = -1.0
            os.write(wrote[1], b".")
            os.read(go_on[0], 1)
            os.write(seen[1], repr(sorted(set(array.tolist()))).encode())
        finally:
            os._exit(0)
    children.append((child, seen[0]))
    os.read(wrote[0], 1)
    return sorted(set(array.tolist()))

def ends():
    (child, seen) = children.pop()
    os.write(go_on[1], b".")
    os.waitpid(child, 0)
    return os.read(seen, 1000).decode()

def same(array):
    return array
''')
for retries in (0, 1):  # with a retry, the block is mapped privately from the start
    forks, same, ends = (pool.call[name].options(retries=retries, worker_id=1)
                         for name in ("forks", "same", "ends"))
    say(forks(np.full(500_000, 5.0)).result())
    for n in range(10):
        assert (same(np.full(500_000, float(n))).result() == n).all()
    say(ends().result())
pool.stop_workers()
del pool, forks, same, ends
nothing_is_left()
"""


def test_an_argument_is_private_to_its_function_and_to_each_fork_of_its_worker() -> None:
    assert run(ARGUMENTS) == [*["[5.0]", "[-1.0, 5.0]"] * 2, "nothing is left"]


# -- many at once ---------------------------------------------------------------------------------------

MANY = """
pool = started("")

async def gather(start):
    return await asyncio.gather(*(pool.call.double(n) for n in range(start, start + 50)))

def in_thread(start):
    return [pool.call.double(n).result() for n in range(start, start + 50)]

def forks(start):
    child = os.fork()
    if child == 0:
        os._exit(0)
    return os.waitpid(child, 0)[1]

with concurrent.futures.ThreadPoolExecutor(12) as threads:
    calls = [(n, threads.submit(way, n)) for n in range(0, 200, 50)
             for way in (in_thread, lambda n: asyncio.run(gather(n)))]
    children = [threads.submit(forks, n) for n in range(8)]
    say(all(each.result() == [2 * n for n in range(start, start + 50)] for start, each in calls))
    say([each.result() for each in children])
pool.stop_workers()
del pool, calls, children
nothing_is_left()
"""


def test_threads_and_loops_may_call_while_others_fork() -> None:
    assert run(MANY) == ["True", str([0] * 8), "nothing is left"]
