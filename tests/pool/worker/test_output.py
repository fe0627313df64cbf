"""What functions print, and uncaught exceptions."""

import io
import os

import pytest

from wpc_magic.pool.worker.output import Output, TaggedStream


def test_text_carries_its_call_and_its_stream_and_comes_before_the_answer(worker):
    worker.define("import sys\ndef f(n):\n print('out', n)\n print('err', n, file=sys.stderr)")
    seqs = [worker.send("f", n) for n in range(20)]
    worker.outcome(seqs[-1])
    for n, seq in enumerate(seqs):
        assert worker.by_call[seq, "stdout"] == f"out {n}\n"
        assert worker.by_call[seq, "stderr"] == f"err {n}\n"


def test_text_without_a_line_end_comes_while_the_function_still_runs(worker, tmp_path):
    worker.define("def f(path):\n print('waiting', end='')\n open(path).read()\n print(' done')", "f")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    seq = worker.send("f", str(gate))
    worker.until(lambda: worker.printed == "waiting")
    gate.open("w").close()
    worker.outcome(seq)
    assert worker.printed == "waiting done\n"


def test_a_large_output_comes_whole(worker):
    worker.define("def f():\n for n in range(20000): print(n)\n print('x' * 3_000_000)")
    worker.call("f")
    assert worker.printed == "".join(f"{n}\n" for n in range(20000)) + "x" * 3_000_000 + "\n"


def test_threads_that_print_side_by_side_lose_nothing(worker):
    worker.define(
        """
        import threading
        def f():
            def work(n):
                for m in range(300): print(f'<{n}.{m}>')
            threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
            for t in threads: t.start()
            for t in threads: t.join()
        """,
        "f",
    )
    seq = worker.send("f")
    worker.outcome(seq)
    text = worker.by_call[seq, "stdout"]
    assert all(text.count(f"<{n}.{m}>") == 1 for n in range(6) for m in range(300))
    assert text.count("\n") == 1800


def test_coroutines_that_interleave_keep_their_text_apart(worker):
    worker.define(
        """
        import asyncio
        here = set()
        async def f(n):
            here.add(n)
            while len(here) < 3: await asyncio.sleep(0)
            for _ in range(5):
                print(n)
                await asyncio.sleep(0)
        """,
        "f",
    )
    seqs = [worker.send("f", n) for n in range(3)]
    for n, seq in enumerate(seqs):
        worker.outcome(seq)
        assert worker.by_call[seq, "stdout"] == f"{n}\n" * 5


def test_text_with_lone_surrogates_comes_through(worker):
    worker.define("def f(): print('a\\udc80b')")
    worker.call("f")
    assert worker.printed == "a\udc80b\n"


def test_a_finalizer_and_a_signal_handler_that_print_stop_nothing(worker):
    worker.define(
        """
        import gc, signal
        class Loud:
            def __init__(self): self.me = self
            def __del__(self): print('gone')
        def f(n):
            for _ in range(50): Loud()
            return [[] for _ in range(2000)]
        def ticking():
            signal.signal(signal.SIGALRM, lambda *a: print('tick'))
            signal.setitimer(signal.ITIMER_REAL, .0005, .0005)
        def quiet(): signal.setitimer(signal.ITIMER_REAL, 0)
        """,
        "f",
        "ticking",
        "quiet",
    )
    worker.call("ticking")
    for n in range(60):
        worker.call("f", n)
    worker.call("quiet")
    assert worker.printed.count("gone") > 2000
    assert "tick" in worker.printed


def test_a_handler_that_prints_while_text_is_sent_starts_no_sending_of_its_own():
    """A signal that comes again before its text is sent would fill the stack otherwise."""
    sent, depth = [], []

    def send(message):
        depth.append(len(depth))
        assert len(depth) == 1
        output.write("stdout", "tick")  # as the handler of a signal that arrives now
        output.write("stdout", "\n")
        sent.append(message.text)
        depth.pop()

    output = Output(send, lambda: 1)
    output._flush_scheduled = True  # no thread: the text of the handler stays until it is asked for
    output.write("stdout", "first\n")
    output.flush()
    output.flush()
    assert sent == ["first\n", "tick\n", "tick\n"]


def test_native_text_goes_to_the_descriptors_and_bytes_are_the_calls(worker):
    worker.define(
        """
        import os, sys
        def f():
            os.write(1, b'raw')
            sys.stderr.buffer.write(b'bytes')
            sys.stderr.flush()
            sys.__stderr__.write('around it')
            sys.__stderr__.flush()
        """,
        "f",
    )
    worker.call("f")
    assert os.read(worker.process.stdout_fd, 100) == b"raw"
    assert worker.by_call[1, "stderr"] == "bytes"
    assert worker.stderr() == "around it"


def test_the_streams_behave_as_streams(worker):
    worker.define(
        """
        import sys
        def f():
            s = sys.stdout
            return (s.name, s.encoding, s.errors, s.writable(), s.isatty(), s.fileno(), s.closed, s.write(''))
        def wrong(): sys.stdout.write(b'bytes')
        """,
        "f",
        "wrong",
    )
    assert worker.call("f") == ("<stdout>", "utf-8", "backslashreplace", True, False, 1, False, 0)
    assert str(worker.error("wrong")) == "write() argument must be str, not bytes"


def test_an_uncaught_exception_in_a_thread_is_an_event_and_printed(worker):
    worker.define(
        """
        import threading
        def f():
            def work(): raise ValueError('in a thread')
            t = threading.Thread(target=work, name='mine')
            t.start()
            t.join()
            return 1
        """,
        "f",
    )
    seq = worker.send("f")
    assert worker.outcome(seq) == 1
    event = worker.wait_event("uncaught_exception")
    assert event.failure.name == "ValueError"
    assert event.failure.message == "in a thread"
    assert event.details == {"thread": "mine"}
    assert event.seq == seq
    assert "in a thread" in worker.by_call[seq, "stderr"]


def test_an_exception_in_a_finalizer_is_an_event(worker):
    worker.define(
        """
        class Bad:
            def __del__(self): raise ValueError('late')
            def __repr__(self): raise RuntimeError('no repr')
        def f():
            Bad()
            return 1
        """,
        "f",
    )
    assert worker.call("f") == 1
    assert worker.wait_event("uncaught_exception").failure.message == "late"


def test_what_a_callback_of_the_event_loop_raises_is_an_event(worker):
    worker.define(
        """
        import asyncio
        async def f(how):
            def bad(): raise how('callback')
            asyncio.get_running_loop().call_soon(bad)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return 1
        """,
        "f",
    )
    assert worker.call("f", ValueError) == 1
    assert worker.wait_event("unhandled_rejection").failure.name == "ValueError"
    worker.messages.clear()
    assert worker.call("f", SystemExit) == 1
    assert worker.wait_event("unhandled_rejection").failure.name == "SystemExit"


@pytest.fixture
def sent():
    return []


@pytest.fixture
def output(sent):
    return Output(sent.append, lambda: 7)


def test_neighbours_of_one_stream_travel_together(output, sent):
    out, err = TaggedStream(output, "stdout", io.StringIO()), TaggedStream(output, "stderr", io.StringIO())
    output._flushed_at = float("inf")  # as if something had just been sent
    output._flush_scheduled = True  # and the thread had been woken up
    print("a", "b", file=out)
    print("c", file=err)
    print("d", file=out)
    assert not output.empty
    output.flush()
    assert sent == [(7, "stdout", "a b\n"), (7, "stderr", "c\n"), (7, "stdout", "d\n")]
    assert output.empty


def test_a_line_after_silence_is_sent_at_once(output, sent):
    output._flush_scheduled = True
    print("line", file=TaggedStream(output, "stdout", io.StringIO()))
    assert sent == [(7, "stdout", "line\n")]
