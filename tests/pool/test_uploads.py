"""What a pool uploads: local modules, as they were when they were uploaded last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pool.engines.test_engine import Elsewhere
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.engines.archive import place
from wpc_magic.pool.engines.engine import Came, Process, WorkerEnvironment
from wpc_magic.pool.errors import InstallError, OptionError, StartError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on ``sys.path``, with a module that imports another one."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "wpc_helpers.py").write_text("import wpc_more\ndef one(): return wpc_more.ONE\n")
    (tmp_path / "wpc_more.py").write_text("ONE = 1\n")
    return tmp_path


class Machine(Elsewhere):
    """A machine that has all modules but those in one folder of this one, and what is uploaded to it."""

    def __init__(self, lacks: Path, own: Path) -> None:
        super().__init__()
        self._lacks, self._own = str(lacks), str(own)

    def start(self, environment: WorkerEnvironment, came: Came, replaces: Process | None = None) -> None:
        def has_come(started: Process | StartError) -> None:
            if not isinstance(started, StartError):
                placed = [place(*archive, self._own) for archive in environment.uploads]
                started.path = [*placed, *(each for each in environment.path if each != self._lacks)]
            came(started)

        super().start(environment, has_come, replaces)


@pytest.fixture
def there(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcedureCall]:
    """A pool with a worker on a machine that lacks what is in the folder."""
    pool = WorkerProcedureCall()
    pool._driver.parts.engine = Machine(folder, tmp_path_factory.mktemp("there"))
    pool.start_workers(1)
    yield pool
    pool.stop_workers()


def test_uploads_are_listed_with_what_they_bring_and_removed_by_their_name(folder: Path) -> None:
    pool = WorkerProcedureCall()
    info = pool.upload_module(str(folder / "wpc_helpers.py"))
    assert (info.name, info.brings, info.path) == (
        "wpc_helpers",
        ("wpc_more",),
        str(folder / "wpc_helpers.py"),
    )
    assert pool.upload_module("wpc_helpers") == info
    assert repr(pool.get_uploads()) == "<1 upload: wpc_helpers>"
    (folder / "wpc_more.py").write_text("ONE = 2\n")
    assert pool.upload_module("wpc_helpers").digest != info.digest
    with pytest.raises(
        OptionError, match=r"nothing is uploaded as 'wpc_helper'\. Did you mean 'wpc_helpers'"
    ):
        pool.remove_upload(name="wpc_helper")
    pool.remove_upload(name="wpc_helpers")
    assert pool.get_uploads() == []


def test_a_module_that_another_one_hides_is_refused_with_the_line_that_helps(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pool = WorkerProcedureCall()
    other = tmp_path_factory.mktemp("other")
    (other / "wpc_helpers.py").write_text("")
    (other / "wpc_alone.py").write_text("")
    with pytest.raises(OptionError) as info:
        pool.upload_module(str(other / "wpc_helpers.py"))
    assert str(info.value) == (
        f"functions would import the module wpc_helpers from {folder / 'wpc_helpers.py'}: "
        f"first type sys.path.insert(0, {str(other)!r})"
    )
    with pytest.raises(OptionError) as info:
        pool.upload_module(str(other / "wpc_alone.py"))
    assert str(info.value) == (
        f"functions would find no module wpc_alone: first type sys.path.insert(0, {str(other)!r})"
    )
    assert pool.get_uploads() == []


def test_workers_of_this_machine_are_not_replaced_for_it_and_import_the_module_from_where_it_is(
    make_pool: Callable[..., Any], folder: Path
) -> None:
    pool = make_pool(1)
    (before,) = pool.snapshot().workers
    pool.upload_module("wpc_helpers")
    assert not pool.needs_uploads
    pool.define_worker_dependency(alias="wpc_helpers", module_specifier="wpc_helpers")
    pool.define_worker_functions("def where(): return wpc_helpers.__file__, wpc_helpers.one()")
    assert pool.call.where().result() == (str(folder / "wpc_helpers.py"), 1)
    (after,) = pool.snapshot().workers
    assert (after.pid, after.restarts) == (before.pid, 0)


def test_a_module_that_a_machine_lacks_is_told_with_the_machine_and_the_line_that_helps(
    there: WorkerProcedureCall, folder: Path
) -> None:
    with pytest.raises(InstallError) as info:
        there.define_worker_dependency(alias="wpc_helpers", module_specifier="wpc_helpers")
    assert str(info.value).splitlines()[0] == (
        f"worker 1 on there could not install wpc_helpers: ModuleNotFoundError: "
        f"No module named 'wpc_helpers'. It is in {folder} here, and not there. "
        f"Type: wpc.upload_module('wpc_helpers')"
    )


def test_what_is_uploaded_is_there_before_the_next_call_and_again_when_it_has_changed(
    there: WorkerProcedureCall, folder: Path
) -> None:
    there.upload_module("wpc_helpers")
    there.define_worker_dependency(alias="wpc_helpers", module_specifier="wpc_helpers")
    there.define_worker_functions("def where(): return wpc_helpers.__file__, wpc_helpers.one()")
    file, one = there.call.where().result()
    assert (Path(file).name, one) == ("wpc_helpers.py", 1)
    assert not file.startswith(str(folder))
    (folder / "wpc_more.py").write_text("ONE = 2\n")
    there.upload_module("wpc_helpers")
    assert there.call.where().result()[1] == 2
    there.upload_module("wpc_helpers")
    (worker,) = there.snapshot().workers
    assert worker.restarts == 2, "what has not changed is no reason to replace a worker"
