"""Calls, chunks and coroutines in one worker, without a pool."""

import asyncio
import math
import operator
import os

import numpy as np
import pytest

from tests.pool.worker.harness import Failed
from wpc_magic.pool.wire import protocol
from wpc_magic.pool.wire.codec import encode
from wpc_magic.pool.wire.status_page import ANSWERED, BEGUN, SINCE


def test_a_function_of_a_cell_is_called_with_arguments_and_keywords(worker):
    worker.define("def join(a, b, *, sep='-'): return f'{a}{sep}{b}'")
    assert worker.call("join", 1, 2) == "1-2"
    assert worker.call("join", 1, b=2, sep="+") == "1+2"


def test_calls_are_answered_in_their_order(worker):
    worker.define("def same(x): return x")
    seqs = [worker.send("same", n) for n in range(500)]
    assert [worker.outcome(seq) for seq in seqs] == list(range(500))


def test_an_answer_says_how_long_the_function_ran(worker):
    worker.define("def busy():\n import time\n t = time.monotonic()\n while time.monotonic() - t < .02: pass")
    seq = worker.send("busy")
    worker.outcome(seq)
    assert worker.ran[seq] >= 20_000_000


def test_the_status_page_tells_what_runs_and_what_has_ended(worker):
    worker.define("def quick(): pass")
    worker.call("quick")
    worker.call("quick")
    words = worker.process.page.words
    assert words[BEGUN] == 2
    assert words[ANSWERED] >= 1  # it is recorded just after the answer was sent
    assert words[SINCE] > 0
    assert worker.process.page.running() == (2, words[SINCE])


def test_a_chunk_comes_back_as_one_answer(worker):
    worker.define("def add(a, b): return a + b")
    assert worker.outcome(worker.send_chunk("add", [(1, 2), (3, 4)])) == ([3, 7], {})
    assert worker.outcome(worker.send_chunk("add", [])) == ([], {})


@pytest.mark.parametrize("how", ["raise ValueError('no')", "raise SystemExit(3)", "raise KeyboardInterrupt"])
def test_a_failing_item_of_a_chunk_keeps_the_values_before_it(worker, how):
    worker.define(f"def only_small(n):\n    if n > 1: {how}\n    return n")
    values, failures = worker.outcome(worker.send_chunk("only_small", [(0,), (1,), (2,), (3,)]))
    assert values == [0, 1]
    assert list(failures) == [2]
    assert failures[2].name == how.split()[1].partition("(")[0]


def test_a_chunk_whose_second_value_cannot_be_sent_keeps_the_others(worker):
    worker.define("def maybe(n):\n import threading\n return n if n != 1 else threading.Lock()")
    values, failures = worker.outcome(worker.send_chunk("maybe", [(0,), (1,), (2,)]))
    assert values == [0, None, 2]
    assert "lock" in failures[1].message
    assert "cannot be sent" in failures[1].note


@pytest.mark.parametrize("how", ["raise ValueError('no')", "raise SystemExit(3)", "next(iter([]))"])
def test_a_whole_chunk_goes_on_after_an_item_that_fails(worker, how):
    worker.define(f"def only_even(n):\n    if n % 2: {how}\n    return n")
    values, failures = worker.outcome(worker.send_chunk("only_even", [(n,) for n in range(5)], whole=True))
    assert values == [0, None, 2, None, 4]
    assert list(failures) == [1, 3]


def test_a_whole_chunk_of_coroutines_has_all_their_outcomes(worker):
    worker.define("async def only_even(n):\n    assert n % 2 == 0\n    return n")
    values, failures = worker.outcome(worker.send_chunk("only_even", [(n,) for n in range(4)], whole=True))
    assert (values, sorted(failures)) == ([0, None, 2, None], [1, 3])  # they end in any order


def test_importable_functions_and_builtins_and_lambdas_are_called(worker):
    import cloudpickle

    worker.install(
        worker.function("hypot", "module", payload=b"math", path="hypot"),
        worker.function("join", "module", payload=b"os", path="path.join"),
        worker.function("double", "pickle", payload=cloudpickle.dumps(lambda x: 2 * x)),
        worker.function("getter", "pickle", payload=cloudpickle.dumps(operator.itemgetter(1))),
    )
    assert worker.call("hypot", 3, 4) == math.hypot(3, 4)
    assert worker.call("join", "a", "b") == os.path.join("a", "b")
    assert worker.call("double", 4) == 8
    assert worker.call("getter", "xyz") == "y"


def test_a_revision_that_is_not_there_fails_the_call_and_nothing_else(worker):
    worker.define("def f(): return 1")
    worker.names["ghost"] = worker.names["f"]._replace(key=77)
    assert type(worker.error("ghost")).__name__ == "RequirementMissingError"
    assert type(worker.error("f", 1)).__name__ == "TypeError"
    assert worker.call("f") == 1


def test_an_epoch_that_is_not_there_fails_the_call_and_nothing_else(worker):
    worker.define("def f(): return 1")
    with pytest.raises(Failed, match="epoch 99"):
        worker.outcome(worker.send("f", epoch=99))
    assert worker.call("f") == 1


def test_large_arrays_cross_both_ways_and_can_be_written_to(worker):
    worker.define("def half(a):\n    a[0] = 7\n    return a[: len(a) // 2], a")
    sent = np.arange(1_000_000)
    part, whole = worker.call("half", sent)
    assert sent[0] == 0
    assert part[0] == 7
    assert (whole[1:] == sent[1:]).all()
    part[1] = 9


def test_64_mb_both_ways_with_several_in_flight_stop_nobody(worker):
    worker.define("def same(a): return a")
    sent = np.ones(8 * 1024 * 1024)
    seqs = [worker.send("same", sent) for _ in range(3)] + [worker.send("same", sent.tobytes())]
    assert all(worker.outcome(seq).nbytes == sent.nbytes for seq in seqs[:3])
    assert len(worker.outcome(seqs[3])) == sent.nbytes


def test_what_is_changed_after_a_call_was_sent_does_not_reach_the_worker(worker):
    worker.define("def total(a): return float(a.sum())")
    array = np.ones(4 * 1024 * 1024)
    seq = worker.send("total", array)
    assert worker.calls.outbox, "this test needs an array that does not fit into the socket"
    array[:] = 5
    assert worker.outcome(seq) == len(array)


def test_a_value_that_cannot_be_sent_says_which_kind_it_is(worker):
    worker.define("def gen(): yield 1\ndef ok(): return 1")
    with pytest.raises(Failed) as caught:
        worker.call("gen")
    assert "generator" in caught.value.failure.note
    assert worker.call("ok") == 1


def test_coroutines_interleave(worker):
    worker.define(
        """
        import asyncio
        gate = None
        async def wait():
            global gate
            gate = asyncio.Event()
            await gate.wait()
            return 'opened'
        async def open_it():
            gate.set()
        """,
        "wait",
        "open_it",
    )
    first, second = worker.send("wait"), worker.send("open_it")
    assert worker.outcome(second) is None
    assert worker.outcome(first) == "opened"
    assert worker.began == [first, second]


def test_a_plain_function_runs_between_the_steps_of_a_coroutine_and_may_run_a_loop_of_its_own(worker):
    worker.define(
        """
        import asyncio
        gates = []
        async def wait():
            gates.append(asyncio.Event())
            print('here')
            await gates[0].wait()
            return 1
        def plain():
            async def inner():
                await asyncio.sleep(0)
                return 2
            value = asyncio.run(inner())
            gates[0].set()
            return value
        """,
        "wait",
        "plain",
    )
    first = worker.send("wait")
    worker.until(lambda: "here\n" in worker.printed)
    assert worker.call("plain") == 2
    assert worker.outcome(first) == 1


def test_a_chunk_of_coroutines_runs_side_by_side(worker):
    worker.define(
        """
        import asyncio
        here = set()
        async def meet(n, of):
            here.add(n)
            while len(here) < of: await asyncio.sleep(0)
            return n
        """,
        "meet",
    )
    assert worker.outcome(worker.send_chunk("meet", [(0, 3), (1, 3), (2, 3)])) == ([0, 1, 2], {})


@pytest.mark.parametrize(
    "how", ["SystemExit(1)", "KeyboardInterrupt()", "ValueError(1)", "asyncio.CancelledError()"]
)
def test_a_coroutine_that_raises_anything_ends_its_own_call_only(worker, how):
    worker.define(
        f"""
        import asyncio
        gate = asyncio.Event()
        async def wait():
            await gate.wait()
            return 'ok'
        async def bad():
            await asyncio.sleep(0)
            raise {how}
        async def open_it(): gate.set()
        """,
        "wait",
        "bad",
        "open_it",
    )
    first = worker.send("wait")
    assert type(worker.error("bad")) is type(eval(how, {"asyncio": asyncio}))
    worker.call("open_it")
    assert worker.outcome(first) == "ok"


def test_a_coroutine_whose_value_cannot_be_sent_fails_its_call(worker):
    worker.define("import threading\nasync def lock(): return threading.Lock()\nasync def ok(): return 1")
    with pytest.raises(Failed, match="lock"):
        worker.call("lock")
    assert worker.call("ok") == 1


def test_a_call_that_is_revoked_in_time_never_runs_and_no_other_is_lost(worker, tmp_path):
    worker.define(
        """
        import os, select
        seen = []
        def wait(path):
            seen.append('wait')
            open(path).read()
        def mark(n): seen.append(n)
        def all_seen(): return seen
        """,
        "wait",
        "mark",
        "all_seen",
    )
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    blocker = worker.send("wait", str(gate))
    seqs = [worker.send("mark", n) for n in range(6)]
    with gate.open("w"):  # returns when the function has opened it
        revoked = (seqs[1], seqs[3], blocker)
        assert worker.request(protocol.Revoke(revoked), protocol.Revoked).seqs == (seqs[1], seqs[3])
        assert worker.request(protocol.Revoke((seqs[1],)), protocol.Revoked).seqs == ()
        assert worker.request(protocol.Ping(5), protocol.Pong).token == 5  # while it is busy
    assert worker.call("all_seen") == ["wait", 0, 2, 4, 5]
    assert not {seqs[1], seqs[3]} & set(worker.outcomes)
    assert worker.request(protocol.Revoke((seqs[0],)), protocol.Revoked).seqs == ()


def test_each_call_is_either_run_or_revoked_however_they_race(worker):
    worker.define("ran = []\ndef mark(n): ran.append(n)\ndef all_ran(): return ran", "mark", "all_ran")
    revoked = []
    for _ in range(40):
        seqs = [worker.send("mark", worker.seq + 1) for _ in range(50)]
        answer = worker.request(protocol.Revoke(tuple(reversed(seqs))), protocol.Revoked)
        revoked += answer.seqs
    ran = worker.call("all_ran")
    assert sorted(ran + revoked) == list(range(1, worker.seq))
    assert {seq for seq in worker.outcomes if seq != worker.seq} == set(ran)


def test_a_worker_that_leaves_while_idle_ends_by_itself(worker):
    worker.define("def f(): return 1")
    assert worker.call("f") == 1
    assert worker.shut_down() == 0


def test_leaving_runs_what_was_registered_at_exit(worker, tmp_path):
    worker.define("import atexit\ndef f(path): atexit.register(lambda: open(path, 'w').close())", "f")
    worker.call("f", str(tmp_path / "mark"))
    worker.send_message(protocol.Shutdown())
    assert worker.wait_exit() == 0
    assert (tmp_path / "mark").exists()


def test_a_busy_function_is_interrupted_when_its_worker_leaves_and_can_clean_up(worker):
    worker.define(
        """
        import threading
        def hang():
            print('here')
            try:
                threading.Event().wait()
            finally:
                print('cleaned')
        """,
        "hang",
    )
    seq = worker.send("hang")
    behind = worker.send("hang")
    worker.until(lambda: "here\n" in worker.printed)
    assert worker.shut_down() == 0
    assert worker.outcomes[seq].failure.name == "wpc_magic.pool.errors.CallInterrupted"
    assert worker.printed == "here\ncleaned\n"
    assert behind not in worker.outcomes


def test_a_function_that_swallows_an_interrupt_gets_another(worker):
    worker.define(
        """
        import threading
        def stubborn():
            print('here')
            for _ in range(3):
                try: threading.Event().wait()
                except BaseException: pass
            return 'left'
        """,
        "stubborn",
    )
    seq = worker.send("stubborn")
    worker.until(lambda: "here\n" in worker.printed)
    assert worker.shut_down() == 0
    assert worker.outcomes[seq] == "left"


def test_coroutines_are_cancelled_when_their_worker_leaves(worker):
    worker.define(
        """
        import asyncio
        async def wait():
            print('here')
            try: await asyncio.Event().wait()
            finally: print('cleaned')
        """,
        "wait",
    )
    seq = worker.send("wait")
    worker.until(lambda: "here\n" in worker.printed)
    assert worker.shut_down() == 0
    assert type(worker.outcomes[seq].error) is asyncio.CancelledError
    assert worker.printed == "here\ncleaned\n"
    assert "never" not in worker.stderr()


def test_calls_of_a_new_epoch_wait_for_the_coroutines_of_the_old_one_and_keep_their_order(worker):
    worker.define(
        """
        import asyncio
        gate = asyncio.Event()
        async def wait():
            await gate.wait()
            return EPOCH
        async def open_it(): gate.set()
        def now(n): return (n, EPOCH)
        """,
        "wait",
        "open_it",
        "now",
        needs=("EPOCH",),
    )
    constant = protocol.Constant("EPOCH", encode(1)[0], ())
    old = worker.install(constant)
    new = worker.install(constant._replace(payload=encode(2)[0]))
    first = worker.send("wait", epoch=old)
    worker.send("open_it", epoch=old)
    seqs = [worker.send("now", n, epoch=new) for n in range(5)]
    assert worker.outcome(first) == 1
    assert [worker.outcome(seq) for seq in seqs] == [(n, 2) for n in range(5)]
    assert [seq for seq in worker.outcomes if seq in seqs] == seqs
