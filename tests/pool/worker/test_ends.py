"""How a worker exits, and what does not end it."""

import os
import signal
import subprocess
import sys
import textwrap

import psutil
import pytest

from tests.pool.conftest import exits, killed_with_parent
from tests.pool.worker.harness import DEADLINE_S
from wpc_magic.pool.wire import protocol


def wait_exited(pid):
    """Wait until a process has exited, which may be our child."""
    process = psutil.Process(pid) if psutil.pid_exists(pid) else None
    if process is not None:
        process.wait(DEADLINE_S)


def test_an_interrupt_from_outside_does_nothing_to_an_idle_or_busy_worker(worker):
    worker.define("import os, signal\ndef f():\n os.kill(os.getpid(), signal.SIGINT)\n return 1")
    worker.process.signal(signal.SIGINT)
    assert worker.request(protocol.Ping(1), protocol.Pong).token == 1
    assert worker.call("f") == 1
    os.killpg(worker.pid, signal.SIGINT)
    assert worker.call("f") == 1


def test_the_kill_of_a_busy_worker_leaves_the_sequence_number_on_its_page(worker):
    worker.define("def f():\n print('here')\n import threading\n threading.Event().wait()")
    seq = worker.send("f")
    worker.until(lambda: worker.printed == "here\n")
    worker.process.kill()
    assert worker.wait_exit() == -signal.SIGKILL
    assert worker.process.page.running()[0] == seq


def test_a_crash_in_native_code_says_where(worker):
    worker.define("import ctypes\ndef f(): ctypes.string_at(0)")
    worker.send("f")
    assert worker.wait_exit() == -signal.SIGSEGV
    text = worker.process.dump.read()
    assert "Segmentation fault" in text
    assert " in f" in text
    assert worker.stderr() == "", "it does not appear in the output of functions"


@pytest.mark.parametrize("code", [0, 3])
def test_a_function_that_ends_its_process_ends_it(worker, code):
    worker.define("import os\ndef f(code): os._exit(code)", "f")
    worker.send("f", code)
    assert worker.wait_exit() == code


def test_answers_that_were_written_before_a_death_are_still_there(worker):
    worker.define("import os\ndef f(n):\n if n == 5: os._exit(1)\n return n", "f")
    seqs = [worker.send("f", n) for n in range(8)]
    assert worker.wait_exit() == 1
    assert [worker.outcomes.get(seq) for seq in seqs] == [0, 1, 2, 3, 4, None, None, None]


@pytest.mark.parametrize("channel", ["calls", "control"])
@pytest.mark.parametrize(
    "junk",
    [b"\xff" * 100, b"\x01\x77" + b"\0" * 60, b"\x02\0\xff\xff" + b"\xff" * 60],
    ids=["kind", "flags", "sizes"],
)
def test_bytes_that_are_no_frame_end_the_worker_with_a_message(worker, channel, junk):
    getattr(worker, channel).send([junk])
    assert worker.wait_exit() == 70
    assert "channel cannot be served any more: BadFrame" in worker.stderr()


def test_bytes_that_are_no_frame_end_a_worker_that_runs_coroutines(worker):
    worker.define("import asyncio\nasync def f():\n print('here')\n await asyncio.Event().wait()")
    worker.send("f")
    worker.until(lambda: worker.printed == "here\n")
    worker.calls.send([b"\xff" * 100])
    assert worker.wait_exit() == 70


def test_a_frame_that_holds_no_message_is_an_event_and_nothing_else(worker):
    from wpc_magic.pool.wire.channel import frame

    worker.define("def f(): return 1")
    worker.calls.send(frame(protocol.MESSAGE, 0, 0, 0, b"no pickle"))
    assert "UnpicklingError" in worker.wait_event("malformed_parent_message").details["what"]
    worker.messages.clear()
    worker.calls.send(frame(protocol.VALUE, 0, 0, 0, b""))
    worker.wait_event("malformed_parent_message")
    worker.control.send(frame(protocol.MESSAGE, 0, 0, 0, b"no pickle"))
    worker.wait_event("malformed_control_request")
    worker.send_message(protocol.Pong(1), worker.control)
    worker.send_message(protocol.Pong(1))
    assert worker.request(protocol.Ping(2), protocol.Pong).token == 2
    assert worker.call("f") == 1


def test_a_function_that_closes_all_descriptors_ends_its_worker_honestly(worker):
    worker.define("import os\ndef f(): os.closerange(3, 1000)", "f")
    worker.send("f")
    assert worker.wait_exit() in (70, -signal.SIGKILL)


def test_a_fork_whose_child_returns_does_not_serve(worker):
    worker.define(
        """
        import os, sys
        def f(how):
            pid = os.fork()
            if pid == 0:
                print('from the child')
                if how == 'raise': raise ValueError('in the child')
                if how == 'exit': sys.exit(9)
                return 'child'
            _, status = os.waitpid(pid, 0)
            return os.waitstatus_to_exitcode(status)
        async def g(): return f('return')
        """,
        "f",
        "g",
    )
    assert worker.call("f", "return") == 0
    assert worker.call("f", "raise") == 1
    assert worker.call("f", "exit") == 9
    assert worker.call("g") == 0
    assert os.read(worker.process.stdout_fd, 1000) == b"from the child\n" * 4
    assert "ValueError: in the child" in worker.stderr()
    assert worker.printed == ""


def test_processes_of_multiprocessing_work_inside_a_function(worker):
    worker.define(
        """
        import multiprocessing
        def square(x): return x * x
        def f():
            with multiprocessing.get_context('fork').Pool(2) as pool:
                return pool.map(square, range(5))
        """,
        "f",
    )
    assert worker.call("f") == [0, 1, 4, 9, 16]


def test_what_a_worker_has_started_ends_with_it(worker):
    worker.define(
        """
        import os, subprocess
        def f():
            return subprocess.Popen(['sleep', '1000']).pid
        def die(): os._exit(1)
        """,
        "f",
        "die",
    )
    pid = worker.call("f")
    child = psutil.Process(pid)
    worker.send("die")
    assert worker.wait_exit() == 1
    child.wait(DEADLINE_S)


def orphan(body):
    """Run a program that starts a worker, prints pids, and is killed; return the pids."""
    program = textwrap.dedent(
        """
        import os, signal, sys
        from tests.pool.worker.harness import WorkerHarness
        worker = WorkerHarness()
        worker.define('''
        import ctypes, subprocess, threading
        def f(how):
            print(subprocess.Popen(['sleep', '1000']).pid)
            if how == 'wait': threading.Event().wait()
            if how == 'native': ctypes.PyDLL(None).sleep(1000)
        ''', 'f')
        """
    ) + textwrap.dedent(body)
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert process.returncode == -signal.SIGKILL, process.stderr
    return [int(word) for word in process.stdout.split()]


@pytest.mark.parametrize("how", ["idle", "wait", pytest.param("native", marks=killed_with_parent)])
def test_a_worker_ends_with_the_pools_process_however_busy_it_is(how):
    pids = orphan(
        f"""
        seq = worker.send('f', {how!r})
        worker.until(lambda: worker.printed)
        print(worker.pid, worker.printed, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert len(pids) == 2
    for pid in pids:
        wait_exited(pid)


def test_a_worker_whose_channels_are_closed_ends(worker):
    worker.define("def f(): pass")
    worker.control.close()
    assert exits(worker.process)
    assert worker.process.reap() == -signal.SIGKILL


def test_a_worker_whose_call_channel_alone_is_closed_ends_quietly(worker):
    worker.define("def f(): pass")
    worker.calls.close()
    assert exits(worker.process)
    assert worker.process.reap() == 0
    assert worker.stderr() == ""
