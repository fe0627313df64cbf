"""Where the microseconds of a blocking call go: ``python -m tests.benchmarks.where``.

The steps are timed separately in a loop, with warm caches, and each result is the minimum of several rounds.
The total is measured with real calls, as the processor time of the calling thread. The rest is the cost of
wake-ups: cold caches, and system calls.
"""

from __future__ import annotations

import socket
import sys
import time
import timeit
from collections.abc import Callable
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from statistics import median

from wpc_magic import WorkerProcedureCall
from wpc_magic.pool.core.calls import Call
from wpc_magic.pool.futures import CallFuture
from wpc_magic.pool.interrupts.hold import hold, restore
from wpc_magic.pool.wire.channel import Reader, frame
from wpc_magic.pool.wire.codec import decode, encode
from wpc_magic.pool.wire.protocol import CALL, VALUE

ROUNDS, CALLS = 7, 2000


def echo(end: Connection) -> None:
    """Send back each message, until one is None."""
    while (value := end.recv()) is not None:
        end.send(value)


def each_us(step: Callable[[], object], number: int = 20_000) -> float:
    """Return the time of a step in microseconds: the minimum of several rounds."""
    return min(timeit.repeat(step, number=number, repeat=5)) / number * 1e6


def of_a_call(step: Callable[[], object]) -> tuple[float, float]:
    """Return the median wall time of a call, and processor time of this thread, in microseconds."""
    wall, cpu = [], []
    for _ in range(ROUNDS):
        began, used = time.perf_counter(), time.thread_time()
        for _ in range(CALLS):
            step()
        wall.append((time.perf_counter() - began) / CALLS * 1e6)
        cpu.append((time.thread_time() - used) / CALLS * 1e6)
    return median(wall), median(cpu)


def steps(pool: WorkerProcedureCall) -> dict[str, float]:
    """Return the time of each step in the caller's thread, in microseconds."""
    driver = pool._driver
    state, dispatcher = driver.core.state, driver.core.dispatcher
    slot = state.slots[1]
    body, _ = encode(((5,), {}))
    ours, theirs = socket.socketpair()
    answer = frame(VALUE, 0, 100, 1, encode(5)[0])[0]
    reader = Reader(theirs)

    def decide() -> None:
        call = Call(1, "f", body)
        dispatcher.submit(call, 1.0)
        state.sends.clear()
        dispatcher.answered(slot, call.seq, 1000, True, 1.0)

    def settle() -> None:
        CallFuture(Call(1, "f", body), driver).settle((VALUE, answer, (), 1))

    def read() -> None:
        ours.send(answer)
        reader.read()

    found = {
        "encode the arguments": each_us(lambda: encode(((5,), {}))),
        "decide: submit and settle in the core": each_us(decide),
        "make the frame": each_us(lambda: frame(CALL, 2, 1, 1, body)),
        "make and settle the future": each_us(settle),
        "hold signal handlers back, twice": 2 * each_us(lambda: restore(hold())),
        "send and read a frame, without a wake-up": each_us(read),
        "decode the value": each_us(lambda: decode(body)),
    }
    ours.close()
    theirs.close()
    return found


def main() -> None:
    """Print the table."""
    with WorkerProcedureCall() as pool:
        pool.define_worker_function(worker_func="def f(x): return x")
        pool.start_workers(1)
        ours, theirs = Pipe()
        process = Process(target=echo, args=(theirs,), daemon=True)
        process.start()
        call = pool.call.f

        def ping() -> None:
            ours.send(((5,), {}))
            ours.recv()

        for _ in range(CALLS):
            ping(), call(5).result()
        bare, bare_cpu = of_a_call(ping)
        wall, cpu = of_a_call(lambda: call(5).result())
        found = steps(pool)
        ours.send(None)
        process.join()
    rows = [
        *((f"  {name}", us) for name, us in found.items()),
        ("  the rest: calls between these, and what is cold after a wake-up", cpu - sum(found.values())),
        ("processor time of the caller", cpu),
        ("a call, from its making to its value", wall),
        ("a Pipe there and back, for comparison", bare),
        ("  of it processor time of the caller", bare_cpu),
    ]
    for name, us in rows:
        sys.stdout.write(f"{us:7.2f} µs  {name}\n")


if __name__ == "__main__":
    main()
