"""One worker process: start, signal, reap."""

import errno
import gc
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress

import psutil
import pytest

from tests.pool.conftest import exits, killed_with_parent
from wpc_magic.pool.engines import child as module
from wpc_magic.pool.engines.process import WorkerProcess
from wpc_magic.pool.errors import StartError
from wpc_magic.pool.wire import protocol
from wpc_magic.pool.wire.channel import frame, send_all
from wpc_magic.pool.wire.codec import pack

DEADLINE_S = 60.0


@pytest.fixture
def start():
    """Starts worker processes, which are killed after the test."""
    started = []

    def start(**environ):
        started.append(WorkerProcess.start(environ={**os.environ, **environ}))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.reap()
        one.close()


def wait_until_dead(process):
    """Wait until a process has ended that is not our child; nobody may reap it here."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.NoSuchProcess:
            return
        os.sched_yield()
    raise AssertionError(f"{process} still runs")


def wait_exited(one):
    """Wait until the process has exited, without reaping it."""
    assert exits(one, DEADLINE_S)


def test_a_worker_leads_a_session_of_its_own(start):
    one = start()
    assert os.getsid(one.pid) == os.getpgid(one.pid) == one.pid
    assert one.poll() is None


def test_a_killed_worker_says_so_once_and_for_all(start):
    one = start()
    one.kill()
    assert one.reap() == one.poll() == one.reap() == -signal.SIGKILL
    one.kill()
    assert one.signal(signal.SIGTERM) is False


def test_a_signal_reaches_the_process(start):
    one = start()
    assert one.signal(signal.SIGTERM) is True
    wait_exited(one)
    assert one.signal(0) is True  # a zombie, not reaped: the pid is still its own
    assert one.poll() == -signal.SIGTERM


def test_a_stopped_worker_can_be_killed(start):
    one = start()
    one.signal(signal.SIGSTOP)
    one.kill()
    assert one.reap() == -signal.SIGKILL


def test_nothing_is_signalled_once_somebody_else_has_reaped(start, monkeypatch):
    one = start()
    os.kill(one.pid, signal.SIGKILL)
    os.waitpid(one.pid, 0)
    sent = []
    monkeypatch.setattr(os, "kill", lambda *args: sent.append(args))
    monkeypatch.setattr(os, "killpg", lambda *args: sent.append(args))
    monkeypatch.setattr(os, "getsid", lambda pid: 1)  # another process has its number already
    assert one.signal(signal.SIGTERM) is False
    one.kill()
    one.poll()
    assert sent == []


@pytest.mark.parametrize("refused", [False, True], ids=["pidfd", "older system"])
def test_what_a_worker_started_is_killed_when_somebody_else_has_reaped_it(
    start, monkeypatch, tmp_path, refused
):
    if refused:

        def refuse(*args):
            raise OSError(errno.EINVAL, "refused")

        monkeypatch.setattr(signal, "pidfd_send_signal", refuse, raising=False)
    os.mkfifo(tmp_path / "pid")
    (tmp_path / "sitecustomize.py").write_text(
        "import subprocess\n"
        "child = subprocess.Popen(['sleep', '1000'])\n"
        f"with open({str(tmp_path / 'pid')!r}, 'w') as file: file.write(str(child.pid))\n"
    )
    one = start(PYTHONPATH=str(tmp_path))
    left = psutil.Process(int((tmp_path / "pid").read_text()))
    os.kill(one.pid, signal.SIGKILL)
    os.waitpid(one.pid, 0)
    assert left.status() != psutil.STATUS_ZOMBIE
    one.poll()
    wait_until_dead(left)


@pytest.mark.parametrize("keeps", [True, False], ids=["kept", "older system"])
def test_a_worker_that_was_reaped_by_somebody_else_is_noticed_by_poll(start, monkeypatch, keeps):
    one = start()
    os.kill(one.pid, signal.SIGKILL)
    os.waitpid(one.pid, 0)
    monkeypatch.setattr(module, "_exit_status", lambda fd: int(signal.SIGKILL) if keeps else None)
    assert one.poll() == one.reap() == (-signal.SIGKILL if keeps else 255)
    assert one.is_exit_known is keeps


def test_the_group_is_killed_before_its_number_is_given_back(start, monkeypatch):
    one = start()
    order = []
    killpg, wait4 = os.killpg, os.wait4
    monkeypatch.setattr(os, "killpg", lambda *args: (order.append("kill"), killpg(*args))[1])
    monkeypatch.setattr(os, "wait4", lambda *args: (order.append("wait"), wait4(*args))[1])
    one.signal(signal.SIGKILL)
    assert one.reap() == -signal.SIGKILL
    assert order == ["kill", "wait"]


def test_descriptors_are_not_inherited_and_the_childs_ends_are_closed(start):
    one = start()
    fds = [one.call.fileno(), one.control.fileno(), one.stdout_fd, one.stderr_fd, one.sentinel_fd]
    assert not any(os.get_inheritable(fd) for fd in fds if fd >= 0)
    assert one.page.fd == -1
    one.kill()
    one.reap()
    assert one.call.recv(10) == one.control.recv(10) == b""
    assert os.read(one.stdout_fd, 10) == b""


def test_a_worker_holds_no_descriptor_but_its_own(start):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.set_inheritable(True)
        one, two = start(), start()
        foreign = os.readlink(f"/proc/self/fd/{ours.fileno()}")
        for each in (one, two):
            links = []
            for fd in os.listdir(f"/proc/{each.pid}/fd"):
                with suppress(FileNotFoundError):  # closed meanwhile: it starts, and reads its modules
                    links.append(os.readlink(f"/proc/{each.pid}/fd/{fd}"))
            assert links
            assert foreign not in links


def test_reading_output_does_not_block(start):
    one = start()
    with pytest.raises(BlockingIOError):
        os.read(one.stdout_fd, 10)


@killed_with_parent
def test_closing_ends_a_worker_and_what_it_has_started():
    one = WorkerProcess.start(environ=os.environ)
    send_all(one.control, frame(protocol.MESSAGE, 0, 0, 0, pack(protocol.Ping(1))))
    assert one.control.recv(1000)
    one.signal(signal.SIGSTOP)  # so that the worker itself cannot notice
    one.close()
    assert one.reap() == -signal.SIGKILL


def test_closing_twice_is_fine_and_nothing_warns(start):
    one = start()
    one.kill()
    one.reap()
    one.close()
    one.close()
    assert (one.stdout_fd, one.sentinel_fd) == (-1, -1)


@pytest.mark.filterwarnings("error")
def test_a_worker_that_is_dropped_without_being_reaped_does_not_warn():
    one = WorkerProcess.start(environ=os.environ)
    pid = one.pid
    one.kill()
    one.close()
    del one
    gc.collect()
    os.waitpid(pid, 0)


def test_the_environment_and_the_folder_are_those_that_are_given(tmp_path):
    one = WorkerProcess.start(environ={"PATH": os.environ["PATH"], "MINE": "1"}, cwd=str(tmp_path))
    try:
        assert os.readlink(f"/proc/{one.pid}/cwd") == str(tmp_path)
        send_all(one.control, frame(protocol.MESSAGE, 0, 0, 0, pack(protocol.Ping(1))))
        assert one.control.recv(1000)  # now it runs; right after its start the system may not know these yet
        environ = psutil.Process(one.pid).environ()
        assert environ["MINE"] == "1"
        assert "HOME" not in environ
    finally:
        one.kill()
        one.reap()
        one.close()


@pytest.mark.parametrize("what", ["executable", "folder", "descriptors"])
def test_a_start_that_fails_leaves_nothing_and_says_why(monkeypatch, what):
    cwd = None
    if what == "executable":
        monkeypatch.setattr(sys, "executable", "")
    elif what == "folder":
        cwd = "/no/such/folder"
    else:
        real, left = os.pipe, [1]

        def pipe():
            if not left:
                raise OSError(24, "Too many open files")
            left.pop()
            return real()

        monkeypatch.setattr(os, "pipe", pipe)
    with pytest.raises(StartError):
        WorkerProcess.start(environ=os.environ, cwd=cwd)


def test_the_end_is_told_by_a_thread_where_there_is_no_sentinel(start, monkeypatch):
    monkeypatch.setattr(module, "_open_sentinel", lambda pid: -1)
    one = start()
    ended = threading.Event()
    one.wait_in_thread(ended.set)
    one.kill()
    assert ended.wait(DEADLINE_S)
    assert one.poll() == -signal.SIGKILL


def test_a_system_without_pidfd_has_no_sentinel(start, monkeypatch):
    def refuse(pid):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    assert start().sentinel_fd == -1
    monkeypatch.delattr(os, "pidfd_open")
    assert start().sentinel_fd == -1


def test_a_system_that_cannot_look_at_the_dead_reaps_all_the_same(start, monkeypatch):
    monkeypatch.setattr(module, "_HAS_WAITID", False)
    one = start()
    assert one.poll() is None
    ended = threading.Event()
    one.wait_in_thread(ended.set)
    one.kill()
    assert ended.wait(DEADLINE_S)
    assert one.reap() == -signal.SIGKILL


def test_a_worker_of_a_program_that_is_not_its_parent_any_more_ends_at_once(monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)
    one = WorkerProcess.start(environ=os.environ)
    assert one.reap() == -signal.SIGKILL
    one.close()


def test_many_threads_may_kill_poll_and_reap_at_once(start):
    one = start()
    codes = []
    threads = [
        threading.Thread(target=lambda n=n: (one.kill() if n % 2 else one.poll(), codes.append(one.reap())))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert codes == [-signal.SIGKILL] * 8


def test_the_peak_of_its_memory_is_known_unless_it_may_be_our_own(start):
    one, other = start(), start()
    one._peak_at_start = 0
    other._peak_at_start = 1 << 60  # a new process inherits the peak of its parent
    for process in (one, other):
        process.kill()
        process.reap()
    assert one.peak_bytes > 1 << 20
    assert other.peak_bytes == 0
