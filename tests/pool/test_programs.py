"""A pool starts and serves in programs that have set what processes hand down."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path

import pytest

from tests.pool.conftest import ROOT, run, wait_until_dead


def output_of(program: str) -> list[str]:
    """Run a program; return the lines that it has printed. It has nothing to complain of."""
    ran = run(textwrap.dedent(program))
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.splitlines()


def test_a_default_time_out_of_sockets_is_not_the_workers() -> None:
    lines = output_of("""
        import socket
        from wpc_magic.pool import WorkerProcedureCall

        socket.setdefaulttimeout(10)
        with WorkerProcedureCall() as pool:
            pool.start_workers(1)
            pool.define_worker_functions("def size(x): return len(x), bytes(len(x))")
            print(pool.call.size(bytes(1_000_000)).result() == (1_000_000, bytes(1_000_000)))
            print(pool.stack(1).partition("(")[0])
        """)
    assert lines == ["True", "worker 1 "]


SIGNALS = """
import os, signal, subprocess

def blocked():
    return sorted(each.name for each in signal.pthread_sigmask(signal.SIG_BLOCK, []) if each < 32)

def ignored():
    every = signal.valid_signals()
    return sorted(each.name for each in every if each < 32 and signal.getsignal(each) == signal.SIG_IGN)

def cleans_up(begun):
    try:
        os.close(os.open(begun, os.O_WRONLY))
        signal.pause()
    finally:
        print("cleaned up")

def ends(code):
    os._exit(code)

def status(code):
    return subprocess.run(["sh", "-c", f"exit {code}"]).returncode
"""


def test_signals_that_the_program_has_blocked_or_ignores_are_not_the_workers(tmp_path: Path) -> None:
    lines = output_of(f"""
        import os, signal
        from wpc_magic.pool import WorkerProcedureCall

        held = signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1
        signal.pthread_sigmask(signal.SIG_BLOCK, held)
        for number in signal.SIGHUP, signal.SIGTERM, signal.SIGUSR2, signal.SIGCHLD:
            signal.signal(number, signal.SIG_IGN)
        begun = {str(tmp_path)!r} + "/begun"
        os.mkfifo(begun)
        with WorkerProcedureCall(interrupt_grace_ms=60_000) as pool:
            pool.start_workers(1)
            pool.define_worker_functions({SIGNALS!r})
            print(*pool.call.blocked().result())
            print(*pool.call.ignored().result())
            print(pool.call.status(3).result())
            stopped = pool.call.cleans_up(begun)
            os.close(os.open(begun, os.O_RDONLY))
            stopped.cancel()
            print(pool.call.status(0).result())
        still = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        print(still == set(held), signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN)
        """)
    assert lines == ["", "SIGPIPE SIGXFSZ", "3", "cleaned up", "0", "True True"]


@pytest.mark.parametrize("known", [True, False], ids=["kept", "older system"])
def test_a_program_that_ignores_its_children_is_told_how_a_worker_ended(known: bool) -> None:
    lines = output_of(f"""
        import signal
        from wpc_magic.pool import WorkerProcedureCall
        from wpc_magic.pool.engines import child

        child._exit_status = lambda sentinel: 7 << 8 if {known} else None
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        with WorkerProcedureCall() as pool:
            pool.start_workers(1)
            pool.define_worker_functions({SIGNALS!r})
            error = pool.call.ends(7).exception()
            print(error.exitcode, str(error).splitlines()[0])
            print(pool.call.status(0).result())
        """)
    if known:
        how = "7 ends #1 ended with worker 1, which exited with code 7"
    else:
        how = (
            "None ends #1 ended with worker 1, which exited, its code is unknown "
            "(this program ignores SIGCHLD, or waits for every child)"
        )
    assert lines == [how, "0"]


# -- the interpreter and its path -------------------------------------------------------------------------


def test_what_is_no_text_on_the_path_is_left_out_as_the_interpreter_does() -> None:
    lines = output_of("""
        import io, pathlib, sys
        from wpc_magic.pool import WorkerProcedureCall

        class Text(str):
            def __reduce__(self):
                raise TypeError("cannot be pickled")

        with WorkerProcedureCall() as pool:
            pool.define_worker_functions("import sys\\ndef path(): return [*map(type, sys.path)], sys.path")
            pool.start_workers(1)
            sys.path[:0] = [pathlib.Path("/no/path"), io.StringIO(), b"/no/bytes", None, Text("/a/text")]
            pool.restart_workers()
            pool.wait_until_ready()
            kinds, path = pool.call.path().result()
            print(set(kinds) == {str}, path[0], "/no/path" in path)
        """)
    assert lines == ["True /a/text False"]


FUNCTIONS = """
import itertools, os, time

def own_pid():
    return os.getpid()

def waits(begun):
    try:
        os.close(os.open(begun, os.O_WRONLY))
        while True:
            time.sleep(3600)
    finally:
        print("cleaned up")

def holds(begun):
    os.close(os.open(begun, os.O_WRONLY))
    sum(itertools.repeat(0))

def ends(code):
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code)
"""


def test_the_interpreter_may_be_a_script_that_starts_python_and_waits(tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n')
    script.chmod(0o755)
    lines = output_of(f"""
        import os, sys
        from wpc_magic.pool import WorkerProcedureCall

        sys.executable = {str(script)!r}
        begun = {str(tmp_path)!r} + "/begun"
        os.mkfifo(begun)
        with WorkerProcedureCall(interrupt_grace_ms=60_000, restart_base_delay_ms=1) as pool:
            # A shell says on its standard error how its child was ended.
            pool.output_sink = lambda each: print(each.text, end="") if each.stream == "stdout" else None
            pool.start_workers(1)
            pool.define_worker_functions({FUNCTIONS!r})
            pid = pool.call.own_pid().result()
            print(pool.snapshot().workers[0].pid == pid, os.getpgid(pid) != pid)
            waiting = pool.call.waits(begun)
            os.close(os.open(begun, os.O_RDONLY))
            stack = pool.stack(1, timeout_ms=60_000)
            print("in waits" in stack, f"(pid {{pid}})" in stack)
            waiting.cancel()
            print(pool.call.own_pid().result() == pid)
            pool.configure(interrupt_grace_ms=1)
            holding = pool.call.holds(begun)
            os.close(os.open(begun, os.O_RDONLY))
            print("in holds" in pool.stack(1, timeout_ms=60_000))  # by a signal: no thread of its own answers
            holding.cancel()
            group = os.getpgid(pool.call.own_pid().result())
            for code in 5, -9:
                print(pool.call.ends(code).exception().exitcode)
            last = os.getpgid(pool.call.own_pid().result())
        for each in group, last:
            try:
                os.killpg(each, 0)
                print("left behind", each)
            except ProcessLookupError:
                pass
        """)
    assert lines == ["True True", "True True", "cleaned up", "True", "True", "5", "-9"]


def test_a_worker_ends_with_a_program_that_a_script_stands_in_between(tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n')
    script.chmod(0o755)
    lines = run(f"""
import os, signal, sys
from wpc_magic.pool import WorkerProcedureCall

sys.executable = {str(script)!r}
pool = WorkerProcedureCall()
pool.start_workers(1)
pool.define_worker_functions({FUNCTIONS!r})
print(pool.call.own_pid().result(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
""").stdout.splitlines()
    wait_until_dead(int(lines[0]))


def test_workers_run_the_package_that_the_program_runs(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "static")
    shutil.copytree(ROOT / "wpc_magic", tmp_path / "wpc_magic", ignore=ignored)
    lines = output_of(f"""
        import sys

        sys.path.insert(0, {str(tmp_path)!r})
        from wpc_magic.pool import WorkerProcedureCall

        with WorkerProcedureCall() as pool:
            pool.start_workers(1)
            pool.define_worker_functions("import sys\\ndef file(): return sys.modules['wpc_magic'].__file__")
            print(pool.call.file().result())
        """)
    assert lines == [str(tmp_path / "wpc_magic" / "__init__.py")]


# -- no more threads --------------------------------------------------------------------------------------


def test_a_function_prints_where_no_thread_can_be_started() -> None:
    lines = output_of("""
        from wpc_magic.pool import WorkerProcedureCall

        source = '''
        import threading

        def refuse(*args, **kwargs):
            raise RuntimeError("can't start new thread")

        def no_more_threads():
            threading._start_new_thread = threading._start_joinable_thread = refuse

        def prints(n):
            for line in range(n):
                print(line)
            print("end", end="")

        async def prints_later(n):
            prints(n)
        '''
        import textwrap
        with WorkerProcedureCall() as pool:
            pool.start_workers(1)
            pool.define_worker_functions(textwrap.dedent(source))
            pool.call.no_more_threads().result()
            pool.call.prints(3).result()
            print()
            pool.call.prints_later(2).result()
            print()
        """)
    assert lines == ["0", "1", "2", "end", "0", "1", "end"]
