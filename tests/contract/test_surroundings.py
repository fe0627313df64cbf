"""What workers find around them, and what needs the memory of this machine."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.contract.engines import Place
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import (
    ArgumentsNotSerializableError,
    DefinitionError,
    NestedCallError,
    StartError,
)

MakePool = Callable[..., WorkerProcedureCall]


def test_a_local_module_is_there_that_was_uploaded(
    make_pool: MakePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "import wpc_contract_more\ndef f(): return wpc_contract_more.X, __file__\n"
    (tmp_path / "wpc_contract.py").write_text(source)
    (tmp_path / "wpc_contract_more.py").write_text("X = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    pool = make_pool(1)
    pool.upload_module("wpc_contract")
    if not pool.needs_uploads:
        pool.restart_workers()  # which look for modules where this process does since a moment ago
        pool.wait_until_ready()
    pool.define_worker_dependency(alias="wpc_contract", module_specifier="wpc_contract")
    pool.define_worker_functions("def f(): return wpc_contract.f()")
    value, file = pool.call.f().result()
    assert value == 1
    assert (Path(file).parent != tmp_path) is pool.needs_uploads


SHARED: dict[str, Callable[[WorkerProcedureCall], Any]] = {
    "array": lambda pool: pool.shared("common", np.zeros(3)),
    "counter": lambda pool: pool.shared_counter("common"),
    "queue": lambda pool: pool.shared_queue("common"),
}


@pytest.mark.parametrize("kind", SHARED)
def test_memory_in_common_works_on_one_machine_and_elsewhere_is_refused(
    make_pool: MakePool, engine: Place, kind: str
) -> None:
    pool = make_pool(0)
    if engine.shares_memory:
        SHARED[kind](pool)
        pool.define_worker_functions("def kind(): return type(common).__name__")
        pool.start_workers(1)
        assert kind in pool.call.kind().result().lower()
        pool.undefine_worker_function(name="kind")
        pool.undefine_shared(name="common")
        return
    with pytest.raises(DefinitionError) as info:
        SHARED[kind](pool)
    assert str(info.value).startswith(
        "common would be in the shared memory of this machine, which workers of "
    )
    assert "\n" not in str(info.value)


def test_the_pool_cannot_be_used_from_within_it(make_pool: MakePool) -> None:
    pool = make_pool(1, "def same(x): return x")
    with pytest.raises((NestedCallError, ArgumentsNotSerializableError)):
        pool.call.same(pool)
    assert pool.call.same(1).result() == 1


def test_what_only_forks_and_children_can_have_is_refused(make_pool: MakePool) -> None:
    pool = make_pool(1, "def same(x): return x")
    with pytest.raises(ArgumentsNotSerializableError, match="through inheritance"):
        pool.call.same(multiprocessing.get_context("fork").Lock())
    assert pool.call.same(1).result() == 1


def test_questions_cannot_be_asked_in_a_worker(make_pool: MakePool) -> None:
    pool = make_pool(1, "def asks(): return input('name? ')")
    assert "wpc.call.asks.local" in str(pool.call.asks().exception())


def test_workers_have_the_variables_that_limit_threads(make_pool: MakePool) -> None:
    pool = make_pool(0, "def limit():\n    import os\n    return os.environ.get('OMP_NUM_THREADS')")
    pool.start_workers(1, threads_per_worker=3)
    assert pool.call.limit().result() == "3"


def test_workers_have_the_folder_and_the_variables_that_options_say(
    make_pool: Callable[..., WorkerProcedureCall], tmp_path: Path
) -> None:
    pool = make_pool(
        0, "def around():\n    import os\n    return os.getcwd(), os.environ.get('WPC_CONTRACT')"
    )
    pool.start_workers(1, working_folder=str(tmp_path), environment={"WPC_CONTRACT": "asked for"})
    assert pool.call.around().result() == (str(tmp_path), "asked for")
    pool.stop_workers()
    missing = str(tmp_path / "missing")
    with pytest.raises(StartError, match=missing):
        pool.start_workers(1, working_folder=missing, max_restarts_per_worker=0)


def test_a_restart_brings_environment_and_folder_to_workers_of_this_machine_only(
    make_pool: MakePool, engine: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(
        1, "def around():\n    import os\n    return os.getcwd(), os.environ.get('WPC_CONTRACT')"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WPC_CONTRACT", "here")
    pool.restart_workers()
    pool.wait_until_ready()
    found = pool.call.around().result()
    assert (found == (os.getcwd(), "here")) is engine.shares_memory
