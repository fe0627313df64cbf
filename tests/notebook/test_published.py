"""The file in which a kernel publishes its pool."""

from __future__ import annotations

import json
import os
import stat
import weakref
from pathlib import Path

import pytest

from wpc_magic.notebook import published
from wpc_magic.notebook.published import PublishedPool, PublishedPools, published_path, read_published
from wpc_magic.pool import WorkerProcedureCall, WpcExecutor
from wpc_magic.pool.live import live_pools


@pytest.fixture
def connection_file(tmp_path: Path) -> str:
    return str(tmp_path / "kernel-1.json")


def test_the_file_is_there_for_the_user_alone_until_it_is_closed(connection_file: str) -> None:
    pool = WorkerProcedureCall(name="mine")
    one = PublishedPool(pool, connection_file)
    one.install()
    path = published_path(connection_file)
    found = read_published(path)
    assert found is not None
    assert found["pid"] == os.getpid()
    assert [each["name"] for each in found["pools"]] == ["mine"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    one.close()
    assert list(path.parent.iterdir()) == []


def test_it_is_written_when_something_has_changed(
    connection_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "_INTERVAL_S", 60.0)  # the thread writes nothing meanwhile
    pool = WorkerProcedureCall()
    one = PublishedPool(pool, connection_file)
    one.install()
    path = published_path(connection_file)
    before = path.stat().st_ino
    one._publish()
    assert path.stat().st_ino == before
    pool.define_worker_function(worker_func="def f(): pass")
    one._publish()
    assert path.stat().st_ino != before
    assert json.loads(path.read_text())["pools"][0]["functions"] == 1
    one.close()


def test_other_pools_are_listed_while_they_have_workers(
    connection_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "_INTERVAL_S", 60.0)
    own = WorkerProcedureCall(name="own")
    one = PublishedPool(own, connection_file)
    one.install()

    def names() -> list[str]:
        one._publish()
        pools = json.loads(published_path(connection_file).read_text())["pools"]
        return [each["name"] for each in pools]

    made = {"own", "executor", "mine"}  # pools of other tests may be there, too
    with WpcExecutor(max_workers=1) as executor, WorkerProcedureCall(name="mine") as mine:
        assert names()[0] == "own"
        assert not {"executor", "mine"} & set(names())
        executor.submit(abs, -1).result()
        mine.start_workers(1)
        assert [name for name in names() if name in made] == ["own", "executor", "mine"]
        monkeypatch.setattr(published, "_MAX_POOLS", 2)
        assert len(names()) == 2
    assert not {"executor", "mine"} & set(names())
    one.close()


def test_a_list_of_pools_keeps_none_alive() -> None:
    pool = WorkerProcedureCall()
    state = vars(pool)
    pool.define_worker_function(worker_func="def f(): pass")
    call = pool.call.f
    gone = weakref.ref(pool)
    del pool
    assert gone() is None
    assert [each for each in live_pools() if vars(each) is state], "its function needs it"
    del call
    assert not [each for each in live_pools() if vars(each) is state]


def content(**changes: object) -> str:
    return json.dumps({"pid": os.getpid(), "started": 0.0, "pools": [], **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        content(),  # another process had this number
        content(pid=2**30),
        content(pid=-1),
        content(pid="1"),
        content(started="then"),
        content(pools=3),
    ],
    ids=range(10),
)
def test_a_file_that_is_stale_or_wrong_is_ignored(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wpc-kernel-1.json"
    path.write_text(text)
    assert read_published(path) is None


def test_what_is_no_file_of_its_own_is_ignored(tmp_path: Path) -> None:
    pool = WorkerProcedureCall()
    one = PublishedPool(pool, str(tmp_path / "kernel-1.json"))
    one.install()
    path = published_path(str(tmp_path / "kernel-1.json"))
    link = tmp_path / "link"
    link.symlink_to(path)
    os.mkfifo(tmp_path / "pipe")
    for other in (link, tmp_path / "pipe", tmp_path, tmp_path / "none"):
        assert read_published(other) is None
    one.close()


def test_the_file_of_a_killed_kernel_is_removed_by_the_next_one(tmp_path: Path) -> None:
    stale, strange = tmp_path / "wpc-kernel-0.json", tmp_path / "wpc-notes.json"
    stale.write_text(content(pid=2**30))
    strange.write_text("my notes")
    one = PublishedPool(WorkerProcedureCall(), str(tmp_path / "kernel-1.json"))
    one.install()
    one.close()
    assert sorted(tmp_path.iterdir()) == [strange]


def test_a_folder_that_is_gone_disturbs_nobody(tmp_path: Path) -> None:
    pool = WorkerProcedureCall()
    one = PublishedPool(pool, str(tmp_path / "none" / "kernel-1.json"))
    one.install()
    one.close()


def test_a_shell_without_a_kernel_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = PublishedPools(object(), WorkerProcedureCall())
    shown.install()
    shown.uninstall()
    assert list(tmp_path.iterdir()) == []
