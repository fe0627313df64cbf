"""The pool under joblib: the same results as with loky, from scikit-learn, too."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from joblib import Parallel, delayed, parallel_config

import wpc_magic.joblib
from tests.joblib_tasks import (
    by_name,
    die_or,
    fail_to_set_up,
    kind_and_total,
    kinds_within,
    limits_of,
    most_at_once,
    nested,
    pid_of,
    set_up,
    threads_of_blas,
    total,
    what_is_set,
)
from tests.sklearn_tasks import TASKS, scores_of_large
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import WorkerCrashedError


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerProcedureCall]:
    with WorkerProcedureCall(name="of_tests") as pool:
        pool.start_workers(2)
        yield pool


@pytest.fixture
def used(pool: WorkerProcedureCall) -> Iterator[WorkerProcedureCall]:
    with parallel_config(backend="wpc", pool=pool):
        yield pool


@pytest.fixture
def used_once() -> Iterator[WorkerProcedureCall]:
    """A pool of one test: it keeps the memory of large arrays for the next ones."""
    with WorkerProcedureCall() as pool:
        pool.start_workers(2)
        with parallel_config(backend="wpc", pool=pool):
            yield pool


def workers(pool: WorkerProcedureCall) -> set[int | None]:
    return {worker.pid for worker in pool.snapshot().workers}


# -- joblib -----------------------------------------------------------------------------------------------


def test_tasks_run_in_the_pool(used: Any) -> None:
    assert set(Parallel(n_jobs=2, batch_size=1)(delayed(pid_of)(n) for n in range(20))) <= workers(used)
    assert Parallel(n_jobs=2)(delayed(math.sqrt)(n * n) for n in range(500)) == list(range(500))
    offset = 3
    assert Parallel(n_jobs=2)(delayed(lambda x: x + offset)(n) for n in range(5)) == [3, 4, 5, 6, 7]


def test_an_error_is_raised_as_it_is_and_the_pool_goes_on(used: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        Parallel(n_jobs=2)(delayed(divmod)(1, n) for n in (1, 2, 0, 3))
    assert Parallel(n_jobs=2)(delayed(abs)(-n) for n in range(3)) == [0, 1, 2]


def test_more_jobs_than_workers_wait_for_these(used: Any) -> None:
    assert Parallel(n_jobs=16, batch_size=1)(delayed(abs)(-n) for n in range(100)) == list(range(100))


def test_fewer_jobs_than_workers_leave_the_others_alone(folder_of_turns: str) -> None:
    with WorkerProcedureCall() as pool:
        pool.start_workers(3)
        with parallel_config(backend="wpc", pool=pool):
            most = Parallel(n_jobs=2, batch_size=1)(
                delayed(most_at_once)(folder_of_turns, n) for n in range(60)
            )
    assert max(most) <= 2


@pytest.fixture
def folder_of_turns(tmp_path: Any) -> str:
    return str(tmp_path)


def test_parallel_calls_may_be_nested(used: Any) -> None:
    assert Parallel(n_jobs=2)(delayed(nested)(n) for n in range(4)) == [[], [0], [0, 1], [0, 1, 2]]


@pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
def test_results_come_one_after_another(used: Any, return_as: str) -> None:
    results = Parallel(n_jobs=2, return_as=return_as)(delayed(abs)(-n) for n in range(50))
    assert sorted(results) == list(range(50))


def test_what_cannot_be_pickled_is_an_error_and_no_hang(used: Any) -> None:
    with pytest.raises(Exception, match=r"lock"):
        Parallel(n_jobs=2, batch_size=1)(delayed(id)(threading.Lock()) for _ in range(20))


def test_an_array_that_is_sent_many_times_lies_in_memory_once(used_once: Any) -> None:
    array = np.arange(1 << 18, dtype=float)
    store = used_once._driver.memory.store
    before, compared = store.total, []
    equal = type(store)._hold_if_equal

    def hold(self: Any, block: Any, *rest: Any) -> bool:
        compared.append(block.is_fixed)
        return equal(self, block, *rest)

    type(store)._hold_if_equal = hold
    try:
        sums = Parallel(n_jobs=2, batch_size=1)(delayed(total)(array) for _ in range(50))
    finally:
        type(store)._hold_if_equal = equal
    assert sums == [array.sum()] * 50
    assert store.total - before <= 2 * array.nbytes
    assert len(compared) >= 40
    assert all(compared)


def test_an_array_that_has_changed_between_two_calls_is_sent_anew(used_once: Any) -> None:
    array = np.ones(1 << 18)
    for factor in (1, 2, 3):
        array[:] = factor
        sums = Parallel(n_jobs=2, batch_size=1)(delayed(total)(array) for _ in range(4))
        assert sums == [array.sum()] * 4


def test_a_mapped_file_goes_through_shared_memory(used_once: Any, tmp_path: Any) -> None:
    path = tmp_path / "array.npy"
    np.save(path, np.arange(1 << 18, dtype=float))
    mapped = np.load(path, mmap_mode="r")
    kinds = Parallel(n_jobs=2)(delayed(kind_and_total)(mapped) for _ in range(4))
    assert kinds == [("ndarray", float(mapped.sum()))] * 4


@pytest.mark.parametrize(
    "within", [lambda array: [array, 1], lambda array: (2, array), lambda array: {"a": array}]
)
def test_mapped_files_within_containers_do_too(used_once: Any, tmp_path: Any, within: Any) -> None:
    np.save(tmp_path / "array.npy", np.arange(1 << 18, dtype=float))
    values = within(np.load(tmp_path / "array.npy", mmap_mode="r"))
    before = used_once._driver.memory.store.total
    kinds = Parallel(n_jobs=2, batch_size=1)(delayed(kinds_within)(values) for _ in range(6))
    assert {each for found in kinds for each in found} == {"ndarray", "int"} - (
        {"int"} if len(values) == 1 else set()
    )
    assert used_once._driver.memory.store.total - before <= 2 * 8 * (1 << 18)
    assert "memmap" in [
        type(each).__name__ for each in (values.values() if isinstance(values, dict) else values)
    ]


def test_tasks_may_name_the_backend(used: Any) -> None:
    assert Parallel(n_jobs=2)(delayed(by_name)(n) for n in range(3)) == [[], [0], [0, 1]]


@pytest.mark.parametrize("way", ["of the configuration", "of the call"])
def test_an_initializer_runs_once_in_each_worker_before_its_first_task(way: str) -> None:
    ours = {"initializer": set_up, "initargs": ("name", 3)}
    with WorkerProcedureCall() as pool:
        pool.start_workers(2)
        with parallel_config(backend="wpc", pool=pool, **(ours if way == "of the configuration" else {})):
            for _ in range(2):
                parallel = Parallel(n_jobs=2, batch_size=1, **(ours if way == "of the call" else {}))
                found = parallel(delayed(what_is_set)("name") for _ in range(20))
                assert {each[1:] for each in found} == {(3, 1)}


def test_an_initializer_runs_in_a_replacement_and_after_another_one() -> None:
    with WorkerProcedureCall() as pool:
        pool.start_workers(1)

        def run(value: int, last: int = -1) -> Any:
            with parallel_config(backend="wpc", pool=pool, initializer=set_up, initargs=("name", value)):
                return Parallel(n_jobs=2, batch_size=1)(delayed(die_or)(n, last) for n in range(3))

        assert {each[1:] for each in run(1)} == {(1, 1)}
        assert {each[1:] for each in run(2)} == {(2, 2)}
        with pytest.raises(WorkerCrashedError):
            run(2, last=2)
        assert {each[1:] for each in run(2)} == {(2, 1)}


def test_an_initializer_that_fails_is_the_error_of_the_call(pool: Any) -> None:
    with (
        parallel_config(backend="wpc", pool=pool, initializer=fail_to_set_up),
        pytest.raises(RuntimeError, match="it cannot be set up"),
    ):
        Parallel(n_jobs=2)(delayed(abs)(-n) for n in range(3))
    with parallel_config(backend="wpc", pool=pool):
        assert Parallel(n_jobs=2)(delayed(abs)(-n) for n in range(3)) == [0, 1, 2]


def test_inner_threads_are_limited(pool: Any) -> None:
    with parallel_config(backend="wpc", pool=pool, inner_max_num_threads=1):
        assert set(Parallel(n_jobs=2)(delayed(threads_of_blas)(n) for n in range(4))) == {1}


@pytest.mark.parametrize(
    "name", ["NUMBA_NUM_THREADS", "POLARS_MAX_THREADS", "DUCKDB_NUM_THREADS", "OMP_NUM_THREADS"]
)
def test_libraries_with_threads_of_their_own_are_told_the_limit(used: Any, name: str) -> None:
    (limit,) = set(Parallel(n_jobs=2)(delayed(limits_of)(name) for _ in range(2)))
    assert int(limit) >= 1


def test_without_a_pool_it_has_one_of_its_own() -> None:
    try:
        with parallel_config(backend="wpc"):
            assert Parallel(n_jobs=2)(delayed(abs)(-n) for n in range(3)) == [0, 1, 2]
    finally:
        wpc_magic.joblib.stop_workers()


def test_a_pool_can_be_chosen_for_all_that_follows(pool: Any) -> None:
    wpc_magic.joblib.use(pool)
    try:
        found = Parallel(n_jobs=2, backend="wpc", batch_size=1)(delayed(pid_of)(n) for n in range(20))
        assert set(found) <= workers(pool)
    finally:
        wpc_magic.joblib.use(None)


def test_one_job_runs_here(used: Any) -> None:
    assert Parallel(n_jobs=1)(delayed(pid_of)(n) for n in range(2)) == [os.getpid()] * 2


# -- scikit-learn -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_loky() -> Any:
    """What loky computes, in a process of its own, which ends loky's workers."""
    code = [sys.executable, "-m", "tests.sklearn_tasks"]
    done = subprocess.run(code, stdout=subprocess.PIPE, check=True, cwd=Path(__file__).parent.parent)
    return pickle.loads(done.stdout)


@pytest.mark.parametrize("compute", TASKS)
def test_scikit_learn_computes_the_same_as_with_loky(used: Any, with_loky: Any, compute: Any) -> None:
    np.testing.assert_equal(compute(), with_loky[compute.__name__])


def test_it_does_with_data_that_is_shared(used_once: Any, with_loky: Any) -> None:
    np.testing.assert_equal(scores_of_large(), with_loky["scores_of_large"])


# -- joblib's own tests -----------------------------------------------------------------------------------

# See CONTRIBUTING.md for the reasons.
LEFT = {"test_auto_memmap_on_arrays_from_generator[wpc]", "test_memmapping_leaks[wpc]"}


@pytest.mark.slow
@pytest.mark.parametrize(("which", "count"), [("generator", 44), ("not generator", 75)])
def test_joblibs_own_tests_pass(tmp_path: Path, which: str, count: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.joblib_own_tests", str(tmp_path), which],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    outcomes = json.loads(done.stdout.splitlines()[-1])
    if not outcomes:
        pytest.skip("this joblib has other tests")
    failed = {name for name, outcome in outcomes.items() if outcome == "failed"}
    assert failed <= LEFT, done.stdout
    assert len(outcomes) - len(failed) >= count


# -- the extension ----------------------------------------------------------------------------------------

IN_A_NOTEBOOK = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "wpc_magic")
assert "joblib" not in sys.modules
import joblib
from joblib import Parallel, delayed
shell.run_line_magic("wpc_start", "2")
pids = {worker.pid for worker in shell.user_ns["wpc"].snapshot().workers}
import os
with joblib.parallel_config(backend="wpc"):
    found = set(Parallel(n_jobs=2)(delayed(os.getpid)() for _ in range(20)))
assert found <= pids, (found, pids)
shell.run_line_magic("unload_ext", "wpc_magic")
print("done")
"""


def test_the_extension_registers_the_pool_of_the_notebook_and_does_not_import_joblib() -> None:
    done = subprocess.run([sys.executable, "-c", IN_A_NOTEBOOK], capture_output=True, text=True, check=False)
    assert done.stdout.endswith("done\n"), done.stderr
