"""Who else can access a pool: no one by a name or a port, and no program that a function starts."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.wire.block_receiver import Receiver
from wpc_magic.pool.wire.block_sender import Sender
from wpc_magic.pool.wire.block_store import BlockStore
from wpc_magic.pool.wire.blocks import Block

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="reads /proc, which only Linux has"
)

SOURCE = '''
LOOK = """
import json, os
found = {}
for number in os.listdir("/proc/self/fd"):
    try:
        found[number] = os.readlink("/proc/self/fd/" + number)
    except OSError:
        pass  # the listing's own
print(json.dumps(found))
"""
def total(array):
    return float(array.sum()) + float(HELD_BY_ALL[0])
def kept(array):
    "Hold a block and a constant, and list the descriptors of this process and of a child process."
    import json, os, subprocess, sys
    done = subprocess.run([sys.executable, "-c", LOOK], close_fds=False, capture_output=True, check=True)
    mine = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            mine[number] = os.readlink("/proc/self/fd/" + number)
        except OSError:
            pass
    return mine, json.loads(done.stdout), float(HELD_BY_ALL[0])
def links(_=None):
    import os
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink("/proc/self/fd/" + number))
        except OSError:
            pass
    return found
def spawned(array):
    import multiprocessing, os
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        theirs = pool.map(os.readlink, ["/proc/self/exe"])  # it works
        number = pool._pool[0].pid
        entries = pool.map(os.listdir, ["/proc/self/fd"])[0]
        return links(), [_read(number, entry) for entry in entries], len(theirs)
def _read(pid, entry):
    import os
    try:
        return os.readlink(f"/proc/{pid}/fd/{entry}")
    except OSError:
        return ""
'''
LARGE = np.ones(1 << 20)  # 8 MB: it is sent in a block, and stays mapped


@pytest.fixture(params=["memory", "file"])
def busy(request: pytest.FixtureRequest) -> Iterator[WorkerProcedureCall]:
    """A pool with blocks on both sides, one of which holds a constant."""
    with WorkerProcedureCall(blocks_in=request.param) as pool:
        pool.define_worker_constant(name="HELD_BY_ALL", value=LARGE)
        pool.define_worker_functions(SOURCE + "def same(array): return array\n")
        pool.start_workers(2)
        for future in pool.broadcast("same", LARGE).values():
            assert future.result().sum() == LARGE.size
        yield pool
        for info in pool.get_remote_functions():
            pool.undefine_worker_function(name=info.name)
        # pytest keeps a reference to the pool, and the pool one to its memory.
        pool.undefine_worker_constant(name="HELD_BY_ALL")


def processes(pool: WorkerProcedureCall) -> list[psutil.Process]:
    return [psutil.Process(), *(psutil.Process(worker.pid) for worker in pool.snapshot().workers)]


def ours(links: Any) -> set[str]:
    """Return the links to channels, status pages, dumps, the lifeline and blocks; not to standard streams."""
    return {
        link
        for link in links
        if link.startswith(("socket:", "/memfd:wpc", tempfile.gettempdir())) or " (deleted)" in link
    }


# -- no access from outside -----------------------------------------------------------------------------


def test_no_socket_listens_and_no_socket_has_a_name(busy: WorkerProcedureCall) -> None:
    calls = [busy.call.total(LARGE) for _ in range(8)]
    found = [(each.pid, one) for each in processes(busy) for one in each.net_connections("all")]
    assert {call.result() for call in calls} == {LARGE.size + 1.0}
    # The test process may have some, from the libraries of other tests; a worker has none.
    workers = {worker.pid for worker in busy.snapshot().workers}
    links = {_link(Path(f"/proc/{pid}/fd/{one.fd}")) for pid, one in found if pid in workers}
    # The spare descriptor of a worker is the same socket again, and may be a block by now.
    sockets = {link for link in links if link.startswith("socket:")}
    assert len(sockets) == 3 * len(workers), "the three channels of each"
    for pid, one in found:
        assert one.status != psutil.CONN_LISTEN
        if pid in workers:
            assert (one.family, one.type) == (socket.AF_UNIX, socket.SOCK_STREAM)
            assert not one.laddr
            assert not one.raddr


def test_the_system_knows_no_path_to_the_channels(busy: WorkerProcedureCall) -> None:
    inodes = {
        link[len("socket:[") : -1]
        for worker in busy.snapshot().workers
        for entry in Path(f"/proc/{worker.pid}/fd").iterdir()
        if (link := _link(entry)).startswith("socket:")
    }
    # Num RefCount Protocol Flags Type St Inode [Path]; the flag 10000 marks a listening socket.
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    rows = [row for row in lines if row[6] in inodes]
    assert len(rows) == len(inodes) > 0
    assert [row for row in rows if len(row) > 7 or int(row[3], 16) & 0x10000] == []


def _link(path: Path) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(path)
    return ""


# -- nothing is inherited ------------------------------------------------------------------------------


def test_a_program_that_a_function_starts_has_nothing_of_the_workers(busy: WorkerProcedureCall) -> None:
    mine, theirs, value = busy.call.kept(LARGE).result()
    assert value == 1.0
    assert len(ours(mine.values())) >= 5, "three channels, the page, the dump"
    assert ours(theirs.values()) == set()
    assert len(theirs) == 3, "what every program has: stdin, stdout, stderr"


def test_a_spawned_process_has_nothing_of_the_workers(busy: WorkerProcedureCall) -> None:
    mine, theirs, worked = busy.call.spawned(LARGE).result()
    assert worked == 1
    assert len(ours(mine)) >= 5
    assert ours(mine) & set(theirs) == set()
    assert not [link for link in theirs if "wpc" in link]


def test_no_descriptor_of_ours_outlives_an_exec(busy: WorkerProcedureCall) -> None:
    for each in processes(busy):
        folder = Path(f"/proc/{each.pid}/fdinfo")
        seen = 0
        for entry in folder.iterdir():
            link = _link(Path(f"/proc/{each.pid}/fd/{entry.name}"))
            if int(entry.name) <= 2:  # everybody's, and what pytest has put in their place
                continue
            if "wpc" in link or link.endswith("[pidfd]") or link.startswith("socket:"):
                flags = next(line for line in entry.read_text().splitlines() if line.startswith("flags:"))
                assert int(flags.split()[1], 8) & os.O_CLOEXEC, link
                seen += 1
        assert seen >= 5


def test_a_descriptor_that_a_worker_receives_is_never_inheritable(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another thread may start a program right after it has arrived, before any further system call.
    one, other = socket.socketpair()
    with one, other:
        receiver = Receiver(other)
        placed = BlockStore(8 << 20).put([bytes(2 << 20)])
        assert placed is not None
        ref = Sender(one).send(placed)
        assert ref is not None
        with monkeypatch.context() as patch:
            patch.setattr(os, "set_inheritable", lambda fd, inheritable: None)
            views = receiver.fetch(ref)
        # It is kept while the memory may be written to.
        files = [path for path in Path("/proc/self/fd").iterdir() if _link(path).endswith(" (deleted)")]
        fds = [path for path in files if path.stat().st_size >= 2 << 20]  # blocks, of either kind
        assert len(fds) >= 2
        assert not any(os.get_inheritable(int(path.name)) for path in fds)
        del views
        placed.release()
        receiver.close()


# -- no names -------------------------------------------------------------------------------------------


def _files() -> set[Path]:
    return {*Path("/dev/shm").glob("*wpc*"), *Path(tempfile.gettempdir()).glob("wpc*")}


@pytest.fixture
def files_before() -> set[Path]:
    """The files of others: a kernel that was killed leaves one."""
    return _files()


def test_blocks_have_no_name_and_only_their_owner_may_open_them(
    files_before: set[Path], busy: WorkerProcedureCall
) -> None:
    assert busy.call.same(LARGE).result().sum() == LARGE.size
    found = 0
    for each in processes(busy):
        for entry in Path(f"/proc/{each.pid}/fd").iterdir():
            link = _link(entry)
            if "memfd:wpc" in link or link.startswith(tempfile.gettempdir()):
                facts = entry.stat()
                assert link.endswith(" (deleted)")
                assert facts.st_nlink == 0
                assert not Path(link.removesuffix(" (deleted)")).exists()
                if not link.startswith("/memfd:"):  # the mode of a memfd is 0777, but it has no path
                    assert stat.S_IMODE(facts.st_mode) == 0o600
                found += 1
    assert found >= 6
    assert _files() - files_before == set()


def test_a_temporary_file_is_private_while_it_briefly_has_a_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unlinked = []
    unlink = os.unlink

    def look(path: Any) -> None:
        unlinked.append(stat.S_IMODE(os.stat(path).st_mode))
        unlink(path)

    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    monkeypatch.setattr(os, "unlink", look)
    block = Block(1 << 18, False)
    monkeypatch.undo()
    assert unlinked == [0o600]
    assert os.fstat(block.fd).st_nlink == 0
    block.close()


# -- no secrets -----------------------------------------------------------------------------------------


def test_environment_and_command_line_of_a_worker_reveal_nothing(busy: WorkerProcedureCall) -> None:
    for each in processes(busy)[1:]:
        added = {name for name, value in each.environ().items() if os.environ.get(name) != value}
        added.discard("PYTEST_CURRENT_TEST")  # it has changed since
        assert [
            name for name in added if not name.endswith(("_NUM_THREADS", "_MAXIMUM_THREADS", "_MAX_THREADS"))
        ] == []
        executable, *flags, isolated, dash_c, code = each.cmdline()[:-7]
        numbers = each.cmdline()[-7:]
        assert all(flag.startswith("-") for flag in flags), "those of this interpreter"
        assert (isolated, dash_c) == ("-P", "-c")
        assert Path(executable).name.startswith("python")
        assert len(code.splitlines()) == 6
        # Numbers of descriptors, which are meaningful only in the worker, and its parent's pid.
        assert [len(numbers), int(numbers[-1])] == [7, os.getpid()]
        assert all(number.isdecimal() for number in numbers)
