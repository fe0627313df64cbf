"""What definitions promise: all or nothing, never older, one state in every worker."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.gate import Gate
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import (
    DefinitionError,
    DefinitionSyntaxError,
    FunctionNotDefinedError,
    InstallError,
    RequirementMissingError,
    UnknownNameError,
)


def everywhere(pool: WorkerProcedureCall, name: str, *args: Any) -> list[Any]:
    """Return the value of a function in each worker, in the order of their numbers."""
    return [future.result() for _, future in sorted(pool.broadcast(name, *args).items())]


def define(pool: WorkerProcedureCall, source: str) -> None:
    pool.define_worker_functions(source)


def test_a_call_after_a_definition_never_runs_older_code(pool: WorkerProcedureCall) -> None:
    for n in range(30):
        define(pool, f"def version(): return {n}")
        assert everywhere(pool, "version") == [n, n]
        assert pool.call.version().result() == n


def test_a_definition_that_a_worker_refuses_changes_nothing(pool: WorkerProcedureCall) -> None:
    define(pool, "def kept(): return 'old'")
    epoch = pool.snapshot().epoch
    with pytest.raises(InstallError, match="not here") as info:
        define(pool, "raise OSError('not here')\ndef kept(): return 'new'")
    assert "raise OSError('not here')" in str(info.value)
    assert everywhere(pool, "kept") == ["old", "old"]
    assert pool.snapshot().epoch == epoch


def test_what_could_not_run_is_refused_before_anything_is_sent(pool: WorkerProcedureCall) -> None:
    with pytest.raises(DefinitionSyntaxError, match="line 1"):
        define(pool, "def broken(:")
    with pytest.raises(UnknownNameError, match="module_specifier='numpy'"):
        define(pool, "def unknown(): return np.pi")
    with pytest.raises(DefinitionError, match="no module 'no_such_module'"):
        pool.define_worker_dependency(alias="no", module_specifier="no_such_module")
    assert not {"broken", "unknown"} & {info.name for info in pool.get_remote_functions()}


def test_a_call_that_runs_ends_with_the_code_it_began_with(pool: WorkerProcedureCall, gate: Gate) -> None:
    define(pool, "def step(): return 'old'\ndef long(gate):\n    held(gate, 'long')\n    return step()")
    running = pool.call.long.options(worker_id=1)(gate.address)
    visit = gate.wait()
    define(pool, "def step(): return 'new'\ndef long(gate):\n    held(gate, 'long')\n    return step()")
    assert pool.call.step().result() == "new"
    later = pool.call.step.options(worker_id=1)()
    visit.let_go()
    assert running.result() == "old"
    assert later.result() == "new"


def test_functions_constants_and_dependencies_are_names_in_each_other(pool: WorkerProcedureCall) -> None:
    pool.define_worker_dependency(alias="floor", module_specifier="math", export_name="floor")
    pool.define_worker_constant(name="RATE", value=2)
    define(pool, "def clean(x): return floor(x)")
    define(pool, "def bill(x): return clean(x) * RATE + wpc_constant('RATE')")
    assert everywhere(pool, "bill", 3.7) == [8, 8]
    pool.define_worker_constant(name="RATE", value=3)
    assert everywhere(pool, "bill", 3.7) == [12, 12]


def test_a_cell_is_loaded_again_when_what_it_has_read_changes(pool: WorkerProcedureCall) -> None:
    pool.define_worker_constant(name="STEP", value=2)
    define(pool, "TABLE = [STEP * n for n in range(4)]\ndef price(n): return TABLE[n]")
    assert everywhere(pool, "price", 2) == [4, 4]
    pool.define_worker_constant(name="STEP", value=5)
    assert everywhere(pool, "price", 2) == [10, 10]


def test_constants_cannot_be_changed_by_a_function(pool: WorkerProcedureCall) -> None:
    pool.define_worker_constant(name="LIMITS", value={"low": [1, 2]})
    define(pool, "def spoil(): LIMITS['low'].append(3)\ndef read(): return LIMITS['low']")
    assert isinstance(pool.call.spoil().exception(), TypeError)
    assert everywhere(pool, "read") == [[1, 2]] * 2


def test_what_is_removed_is_refused(pool: WorkerProcedureCall) -> None:
    pool.define_worker_constant(name="GONE", value=1)
    define(pool, "def needs(): return GONE\ndef also(): return 1")
    pool.undefine_worker_constant(name="GONE")
    with pytest.raises(RequirementMissingError, match="GONE"):
        pool.call.needs()
    pool.undefine_worker_function(name="also")
    with pytest.raises(FunctionNotDefinedError):
        pool.call.also()


def test_each_worker_has_a_resource_of_its_own_and_closes_it(pool: WorkerProcedureCall, gate: Gate) -> None:
    pool.define_worker_constant(name="GATE", value=gate.address)
    pool.define_worker_resource(
        "thing",
        "class Thing: pass\n"
        "def make():\n    thing = Thing()\n    thing.uses = 0\n    return thing\n"
        "def close(thing): tell(GATE, f'{thing.uses} uses')\n",
    )
    define(pool, "def use():\n    thing.uses += 1\n    return thing.uses")
    assert everywhere(pool, "use") == [1, 1]
    assert everywhere(pool, "use") == [2, 2]
    pool.undefine_worker_function(name="use")
    pool.undefine_worker_resource(name="thing")
    assert gate.told(2) == ["2 uses", "2 uses"]


def test_a_setup_comes_before_anything_else_in_every_worker(make_pool: Any) -> None:
    pool = make_pool(2)
    pool.define_worker_setup("import decimal\ndecimal.getcontext().prec = 5\nME = context.worker_id")
    define(pool, "def third(): return ME, str(decimal.Decimal(1) / 3)")
    assert everywhere(pool, "third") == [(1, "0.33333"), (2, "0.33333")]
