"""The leak detector itself: each kind of leak is detected, and nothing else."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parent.parent

# Each of them passes, and leaks one resource. `kept` keeps it alive, since garbage is not a leak.
LEAKING = """
import os, mmap, subprocess, sys, tempfile, threading, socket, pytest
kept = []

def test_process():
    kept.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))

def test_zombie():
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    kept.append(child)

def test_orphan():
    subprocess.run([sys.executable, "-c", '''if True:
            import os, signal
            if os.fork() == 0:
                os.setsid()
                signal.pause()
        '''], check=True)

def test_daemon_thread_of_ours():
    kept.append(threading.Event())
    threading.Thread(target=kept[-1].wait, name="wpc-reader", daemon=True).start()

def test_thread():
    kept.append(threading.Event())
    threading.Thread(target=kept[-1].wait, name="a thread").start()

def test_socket():
    kept.append(socket.socketpair())

def test_duplicate():
    kept.append(os.dup(1))

def test_memory():
    fd = os.memfd_create("block")
    os.truncate(fd, 4096)
    kept.append(mmap.mmap(fd, 4096))
    os.close(fd)

def test_file():
    open(os.path.join(tempfile.gettempdir(), "wpc-left"), "w").close()
    kept.append(os.path.join(tempfile.gettempdir(), "wpc-left"))

@pytest.mark.leaves
def test_without_a_reason():
    pass
"""

CLEAN = """
import asyncio, mmap, os, subprocess, sys, tempfile, threading, pytest
kept = []

@pytest.fixture(scope="module")
def service():
    with subprocess.Popen([sys.executable, "-c", '''if True:
            import subprocess, sys
            input()
            child = subprocess.Popen([sys.executable, "-c", "input()"])
            print("started", flush=True)
            child.wait()
        '''], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process

def test_process_that_was_waited_for():
    subprocess.run([sys.executable, "-c", ""], check=True)

def test_loop():
    asyncio.run(asyncio.to_thread(len, ()))

def test_cycle():
    fd = os.memfd_create("block")
    os.truncate(fd, 4096)
    cycle = [mmap.mmap(fd, 4096)]
    cycle.append(cycle)
    os.close(fd)

def test_thread_about_to_end():
    go = threading.Event()
    threading.Timer(0.05, go.set).start()
    threading.Thread(target=go.wait, name="wpc-reader").start()

def test_child_of_a_service_that_was_there_before(service):
    service.stdin.write(b"go\\n")
    service.stdin.flush()
    service.stdout.readline()

@pytest.mark.leaves(reason="shows the marker")
def test_reason():
    kept.append(os.dup(1))
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Run tests with this project's configuration in a separate pytest process."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def go(source: str, *words: str) -> pytest.RunResult:
        path = pytester.makepyfile(source)
        config = ("-c", str(ROOT / "pyproject.toml"), "--rootdir", str(pytester.path), "-p", "tests.leaks")
        return pytester.runpytest_subprocess(*config, "-p", "no:cacheprovider", *words, path, timeout=150)

    return go


def test_every_kind_of_leak_fails_the_test_that_left_it_and_the_run_still_ends(run, pytester):
    # At exit, the run would wait for the leaked thread: hence EXIT_S.
    pytester.makeconftest("from tests import leaks\nleaks.PATIENCE_S, leaks.EXIT_S = 0.1, 0.5")
    result = run(LEAKING)
    result.assert_outcomes(passed=9, errors=10)
    result.stdout.fnmatch_lines_random(
        [
            "  process *input()*",
            "  process *zombie*",
            "  process *os.fork()*",
            "  thread 'wpc-reader'",
            "  thread 'a thread'",
            "  file descriptor of socket:*",
            "  file descriptor of *",
            "  mapped memory */memfd:block*",
            "  temporary file */wpc-left",
            "*say why: @pytest.mark.leaves*",
        ]
    )
    result.stderr.fnmatch_lines(["*most recent call first*"])


def test_what_is_given_back_or_was_there_before_is_no_leak(run):
    result = run(CLEAN)
    result.assert_outcomes(passed=6)


def test_a_hang_dumps_all_stacks_and_fails_the_run(run):
    result = run(
        "import threading\ndef test_that_hangs():\n    threading.Event().wait(50)\n",
        *("-o", "faulthandler_timeout=0.2"),
    )
    assert result.ret != 0
    result.stderr.fnmatch_lines(["Timeout*", "*most recent call first*", "*in test_that_hangs"])
