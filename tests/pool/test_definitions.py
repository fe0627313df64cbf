"""Definitions reach every worker, all of them or none, and switch at once."""

from __future__ import annotations

import hashlib
import itertools
import math
import operator
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.pool.conftest import PATIENCE_S
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import (
    DefinitionError,
    DefinitionSyntaxError,
    FunctionNotDefinedError,
    InstallError,
    OptionError,
    RequirementMissingError,
    UnknownNameError,
)

ONE = "def version(): return 1"
TWO = "def version(): return 2"


def everywhere(pool: WorkerProcedureCall, name: str, *args: Any) -> list[Any]:
    """Return the value of a function in each worker, in the order of their numbers."""
    return [future.result() for _, future in sorted(pool.broadcast(name, *args).items())]


# -- when definitions reach workers ---------------------------------------------------------------------


def test_what_is_defined_before_the_start_is_there_after_it(make_pool: Any) -> None:
    pool = make_pool(0)
    pool.define_worker_constant(name="K", value=3)
    pool.define_worker_dependency(alias="m", module_specifier="math")
    pool.define_worker_function(worker_func="def f(x): return m.floor(x) * K")
    assert pool.get_remote_functions()[0].installed_worker_count == 0
    pool.start_workers(2)
    assert everywhere(pool, "f", 2.5) == [6, 6]


def test_what_is_defined_while_workers_start_reaches_every_one(make_pool: Any) -> None:
    pool = make_pool(0)
    pool._begin_start(2, {})  # like `start_workers`, without waiting
    pool.define_worker_constant(name="K", value=3)
    pool.define_worker_function(worker_func="def f(): return K")
    assert pool.call.f().result() == 3
    pool.wait_until_ready()
    assert everywhere(pool, "f") == [3, 3]


def test_what_is_defined_while_a_worker_restarts_is_there_when_it_comes_back(make_pool: Any) -> None:
    pool = make_pool(2, "def dies(): import os; os._exit(1)", restart_base_delay_ms=200)
    pool.call.dies.options(worker_id=2)().exception()
    assert pool.get_worker_health_states()[1].health_state == "restarting"
    info = pool.define_worker_function(worker_func=ONE)
    assert info.installed_worker_count == 1
    pool.wait_until_ready()
    assert everywhere(pool, "version") == [1, 1]
    assert {f.name: f for f in pool.get_remote_functions()}["version"].installed_worker_count == 2


def test_definitions_survive_stop_and_start(make_pool: Any) -> None:
    pool = make_pool(1)
    pool.define_worker_constant(name="K", value=3)
    pool.define_worker_dependency(alias="m", module_specifier="math")
    pool.define_worker_function(worker_func="def f(): return K, m.pi")
    for count in (2, 1):
        pool.stop_workers()
        assert [info.installed_worker_count for info in pool.get_worker_constants()] == [0]
        pool.start_workers(count)
        assert everywhere(pool, "f") == [(3, math.pi)] * count


def test_a_definition_while_all_workers_are_busy_returns_and_takes_effect_as_they_become_free(
    make_pool: Any, door: Any
) -> None:
    pool = make_pool(2, ONE)
    held = [pool.call.held(door.path) for _ in range(2)]
    visits = [door.wait(), door.wait()]
    info = pool.define_worker_function(worker_func=TWO)
    assert info.installed_worker_count == 0
    after = [pool.call.version() for _ in range(4)]
    for visit in visits:
        visit.let_go()
    assert [future.result() for future in after] == [2] * 4
    assert [future.result() for future in held] == [None, None]
    assert everywhere(pool, "version") == [2, 2]


def test_a_definition_with_one_busy_worker_is_in_force_at_once_for_new_calls(
    make_pool: Any, door: Any
) -> None:
    pool = make_pool(2, ONE)
    held = pool.call.held.options(worker_id=1)(door.path)
    visit = door.wait()
    pinned = pool.call.version.options(worker_id=1)()
    pool.define_worker_function(worker_func=TWO)
    assert pool.call.version().result() == 2
    visit.let_go()
    assert held.result() is None
    assert pinned.result() == 2, "it had not begun when the new one came"


def test_a_call_that_runs_while_its_function_is_defined_anew_ends_as_it_began(
    make_pool: Any, door: Any
) -> None:
    pool = make_pool(1)
    pool.define_worker_constant(name="K", value=1)
    pool.define_worker_function(worker_func="def inner(): return 'old'")
    pool.define_worker_function(worker_func="def f(door):\n    held(door)\n    return K, inner()")
    future = pool.call.f(door.path)
    visit = door.wait()
    pool.define_worker_constant(name="K", value=2)
    pool.define_worker_function(worker_func="def inner(): return 'new'")
    again = pool.call.f(door.path)
    visit.let_go()
    assert future.result() == (1, "old")
    door.wait().let_go()
    assert again.result() == (2, "new")


def test_redefinition_is_visible_at_once_to_every_later_call(pool: WorkerProcedureCall) -> None:
    for n in range(30):
        info = pool.define_worker_function(worker_func=f"def version(): return {n}")
        assert everywhere(pool, "version") == [n, n]
        assert [pool.call.version().result() for _ in range(3)] == [n] * 3
    assert info.revision == 30


def test_a_name_may_be_looked_up_while_another_thread_defines(make_pool: Any) -> None:
    pool = make_pool(0, "def f(): pass\ndef g(): pass")

    class InterruptingName(str):
        """While it is compared, the other thread looks up a name."""

        def __ne__(self, other: object) -> bool:
            assert pool.call.g
            return str(self) != other

        __hash__ = str.__hash__

    found = pool.call.f
    del vars(pool.call)["f"]
    vars(pool.call)[InterruptingName("f")] = found
    pool.define_worker_functions("def f(): return 1")
    assert "f" not in vars(pool.call)


def test_a_definition_in_one_thread_and_calls_in_others_never_meet_half_a_change(
    pool: WorkerProcedureCall,
) -> None:
    # Both change together: a call sees both old or both new.
    def define(n: int) -> None:
        pool.define_worker_functions(f"def left(): return {n}\ndef right(): return {n}")

    define(0)
    pool.define_worker_function(worker_func="def both(): return left(), right()")
    over = threading.Event()
    seen: list[tuple[int, int]] = []

    def ask() -> None:
        while not over.is_set():
            seen.append(pool.call.both().result())

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for n in range(1, 40):
            define(n)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert seen
    assert all(left == right for left, right in seen)
    assert pool.call.both().result() == (39, 39)


@contextmanager
def defining(pool: WorkerProcedureCall, at_first: str = "") -> Iterator[None]:
    """Redefine `version` in a thread continuously, incrementing its value."""
    over = threading.Event()

    def define() -> None:
        for n in itertools.count():
            pool.define_worker_functions(f"{at_first}\ndef version(): return {n}")
            if over.is_set():
                return

    thread = threading.Thread(target=define)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_calls_are_not_refused_while_their_function_is_being_defined(pool: WorkerProcedureCall) -> None:
    pool.define_worker_function(worker_func="def version(): return -1")
    with defining(pool):
        found = [pool.call.version().result() for _ in range(300)]
    assert found == sorted(found)


def test_definitions_that_come_quicker_than_workers_install_them_hold_up_no_call(make_pool: Any) -> None:
    pool = make_pool(1, "def version(): return -1")
    with defining(pool, "import time\ntime.sleep(0.005)"):
        found = [pool.call.version().result(PATIENCE_S) for _ in range(10)]
    assert found == sorted(found)


def test_many_threads_may_define_at_the_same_time(pool: WorkerProcedureCall) -> None:
    def define(n: int) -> None:
        for k in range(5):
            pool.define_worker_function(name=f"by_{n}", worker_func=f"def by_{n}(): return {n}, {k}")
            assert pool.call[f"by_{n}"]().result() == (n, k)

    threads = [threading.Thread(target=define, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [pool.call[f"by_{n}"]().result() for n in range(6)] == [(n, 4) for n in range(6)]
    for n in range(6):
        pool.undefine_worker_function(name=f"by_{n}")


# -- all or nothing -------------------------------------------------------------------------------------


def test_a_definition_that_one_worker_cannot_install_stays_old_on_all(make_pool: Any, folder: Path) -> None:
    pool = make_pool(2, ONE)
    refuses = """
import os
try:
    os.close(os.open({path!r}, os.O_CREAT | os.O_EXCL))
except FileExistsError:
    raise OSError("the second one") from None

def version():
    return 2
""".format(path=str(folder / "first"))
    with pytest.raises(
        InstallError, match=r"worker [12] could not install version: OSError: the second one"
    ) as caught:
        pool.define_worker_functions(refuses)
    assert isinstance(caught.value.__cause__, OSError)
    assert "In the worker:" in str(caught.value)
    assert everywhere(pool, "version") == [1, 1]
    info = {f.name: f for f in pool.get_remote_functions()}["version"]
    assert (info.revision, info.installed_worker_count) == (1, 2)
    pool.restart_workers()
    pool.wait_until_ready()
    assert everywhere(pool, "version") == [1, 1], "also after a restart"
    (folder / "first").unlink()


def test_the_same_source_can_be_defined_again_after_it_was_refused(make_pool: Any, folder: Path) -> None:
    pool = make_pool(2, ONE)
    path = folder / "there"
    source = f"import os\nos.stat({str(path)!r})\n" + TWO
    with pytest.raises(InstallError, match="FileNotFoundError"):
        pool.define_worker_functions(source)
    assert everywhere(pool, "version") == [1, 1]
    path.touch()
    pool.define_worker_functions(source)
    assert everywhere(pool, "version") == [2, 2]


def test_of_several_functions_all_are_defined_or_none(make_pool: Any) -> None:
    pool = make_pool(1, ONE)
    with pytest.raises(InstallError):
        pool.define_worker_functions(TWO + "\ndef other(): return 1\n1 / 0")
    assert pool.call.version().result() == 1
    with pytest.raises(FunctionNotDefinedError):
        pool.call.other()


def test_a_definition_whose_import_kills_the_worker_is_rejected_and_the_old_one_stays(
    make_pool: Any,
) -> None:
    pool = make_pool(2, ONE, max_restarts_per_worker=5)
    with pytest.raises(InstallError, match="the worker died while it installed it"):
        pool.define_worker_functions("import os\nos._exit(7)\n" + TWO)
    pool.wait_until_ready()
    assert everywhere(pool, "version") == [1, 1]


def test_a_definition_that_takes_too_long_to_install_is_rejected(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, ONE, control_timeout_ms=500)
    with pytest.raises(InstallError, match="it took longer than control_timeout_ms=500"):
        pool.define_worker_functions(HOLD.format(door=door.path) + TWO)
    door.wait().wait_until_gone()
    pool.wait_until_ready()
    assert pool.call.version().result() == 1


HOLD = """
import os, socket
way = socket.socket(socket.AF_UNIX)
way.connect({door!r})
way.sendall(b"%d\\n" % os.getpid())
way.recv(1)
"""


def test_calls_run_the_old_function_until_the_new_one_is_installed(make_pool: Any, door: Any) -> None:
    pool = make_pool(2, ONE)
    # Both block while installing; a call that is made meanwhile is not refused, and waits for that.
    source = HOLD.format(door=door.path) + TWO
    thread = threading.Thread(target=pool.define_worker_functions, args=(source,))
    thread.start()
    visits = [door.wait(), door.wait()]
    early = pool.call.version()
    for visit in visits:
        visit.let_go()
    thread.join()
    assert early.result() in (1, 2)
    assert everywhere(pool, "version") == [2, 2]


def test_a_definition_that_was_accepted_while_all_were_busy_and_cannot_be_installed_replaces_the_worker(
    make_pool: Any, door: Any, listen: Any
) -> None:
    pool = make_pool(1, ONE)
    held = pool.call.held(door.path)
    visit = door.wait()
    listener = listen(pool)
    pool.define_worker_functions("1 / 0\n" + TWO)
    visit.let_go()
    assert held.result() is None
    assert listener.until("control_command_failed")[-1].error.name == "ZeroDivisionError"
    pool.wait_until_ready()
    with pytest.raises(RequirementMissingError, match="ZeroDivisionError"):
        pool.call.version().result()
    pool.define_worker_function(worker_func=TWO)
    assert pool.call.version().result() == 2


def test_what_is_broken_when_workers_start_harms_nobody_and_calls_to_it_say_why(make_pool: Any) -> None:
    pool = make_pool(0, ONE)
    pool.define_worker_functions("def broken(): return 1\n1 / 0")
    pool.define_worker_function(worker_func="def uses(): return broken()")
    pool.start_workers(2)
    assert everywhere(pool, "version") == [1, 1]
    for name in ("broken", "uses"):
        with pytest.raises(RequirementMissingError, match=r"no worker could install( broken)?: ZeroDiv"):
            pool.call[name]().result()
    assert {f.name: f.installed_worker_count for f in pool.get_remote_functions()}["broken"] == 0
    pool.define_worker_function(worker_func="def broken(): return 'mended'")
    assert everywhere(pool, "uses") == ["mended", "mended"]


def test_a_constant_that_does_not_unpickle_in_workers_is_rejected(make_pool: Any) -> None:
    pool = make_pool(1)
    pool.define_worker_constant(name="K", value=1)

    class Trap:
        def __reduce__(self) -> Any:
            return divmod, (1, 0)

    with pytest.raises(InstallError, match="ZeroDivisionError"):
        pool.define_worker_constant(name="K", value=Trap())
    assert [info.type_name for info in pool.get_worker_constants()] == ["int"]


def test_a_dependency_that_a_worker_cannot_import_is_rejected(
    make_pool: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "breaks_when_imported.py").write_text("raise RuntimeError('it breaks')")
    monkeypatch.syspath_prepend(str(folder))
    pool = make_pool(1)
    with pytest.raises(InstallError, match="RuntimeError: it breaks"):
        pool.define_worker_dependency(alias="b", module_specifier="breaks_when_imported")
    assert pool.get_worker_dependencies() == []
    (folder / "breaks_when_imported.py").write_text("VALUE = 1")
    pool.define_worker_dependency(alias="b", module_specifier="breaks_when_imported")
    pool.define_worker_function(worker_func="def f(): return b.VALUE")
    assert pool.call.f().result() == 1


# -- needs ----------------------------------------------------------------------------------------------


def test_what_is_asked_for_by_name_may_come_later_and_calls_are_refused_until_then(
    pool: WorkerProcedureCall,
) -> None:
    info = pool.define_worker_function(
        worker_func="def f(): return wpc_import('later').pi + wpc_constant('LATER')"
    )
    assert info.requires == ("LATER", "later")
    for define in (
        lambda: pool.define_worker_constant(name="LATER", value=1),
        lambda: pool.define_worker_dependency(alias="later", module_specifier="math"),
    ):
        with pytest.raises(RequirementMissingError, match=r"f needs '(LATER|later)', which is not defined"):
            pool.call.f()
        define()
    assert pool.call.f().result() == math.pi + 1
    pool.undefine_worker_constant(name="LATER")
    with pytest.raises(RequirementMissingError, match="f needs 'LATER'"):
        pool.call.f()
    pool.undefine_worker_dependency(alias="later")


def test_the_context_gives_the_same_two(pool: WorkerProcedureCall) -> None:
    pool.define_worker_constant(name="K", value=7)
    pool.define_worker_dependency(alias="m", module_specifier="math")
    info = pool.define_worker_function(
        worker_func="def f(): return context.constants.K, context.dependencies.m.pi, context.worker_id"
    )
    assert info.requires == ("K", "m")
    assert everywhere(pool, "f") == [(7, math.pi, 1), (7, math.pi, 2)]


def test_a_name_that_is_computed_works_at_run_time(pool: WorkerProcedureCall) -> None:
    pool.define_worker_constant(name="K2", value=7)
    pool.define_worker_function(worker_func="def f(name): return wpc_constant(name)")
    assert pool.call.f("K" + "2").result() == 7
    with pytest.raises(RequirementMissingError, match=r"no constant 'K3' is registered \(registered: .*K2"):
        pool.call.f("K3").result()


def test_an_unknown_name_is_refused_with_its_line_and_the_line_to_type(pool: WorkerProcedureCall) -> None:
    with pytest.raises(UnknownNameError) as caught:
        pool.define_worker_function(worker_func="def simulate(n):\n    return np.ones(n)")
    assert str(caught.value) == (
        "simulate uses 'np' (line 2), which the workers don't have. "
        "Type: wpc.define_worker_dependency(alias='np', module_specifier='numpy')"
    )
    assert caught.value.names == ("np",)
    with pytest.raises(FunctionNotDefinedError):
        pool.call.simulate(1)


def test_a_captured_variable_is_refused(pool: WorkerProcedureCall) -> None:
    scale = 3

    def scaled(x: int) -> int:
        return x * scale

    with pytest.raises(UnknownNameError, match="scaled captures 'scale'"):
        pool.function(scaled)


def test_a_syntax_error_is_refused_with_its_line(pool: WorkerProcedureCall) -> None:
    with pytest.raises(DefinitionSyntaxError) as caught:
        pool.define_worker_function(worker_func="def f(x):\n    return x +")
    assert caught.value.line == 2


def test_registered_functions_are_names_in_each_other(pool: WorkerProcedureCall) -> None:
    pool.define_worker_function(worker_func="def clean(x): return x.strip()")
    pool.define_worker_function(worker_func="def process(x): return clean(x).upper()")
    assert pool.call.process(" a ").result() == "A"
    pool.define_worker_function(worker_func="def clean(x): return x.strip() + '!'")
    assert everywhere(pool, "process", " a ") == ["A!", "A!"]
    pool.undefine_worker_function(name="clean")
    with pytest.raises(RequirementMissingError, match="process needs 'clean'"):
        pool.call.process(" a ")


def test_functions_that_need_each_other_can_be_defined_together(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions(
        """
def even(n):
    return n == 0 or odd(n - 1)


def odd(n):
    return n != 0 and even(n - 1)
"""
    )
    assert pool.call.even(10).result() is True
    assert pool.call.odd(10).result() is False


def test_one_name_stands_for_one_kind(pool: WorkerProcedureCall) -> None:
    pool.define_worker_constant(name="only", value=1)
    with pytest.raises(OptionError, match="'only' is a constant already; undefine that first"):
        pool.define_worker_function(name="only", worker_func="def only(): return 1")
    with pytest.raises(FunctionNotDefinedError, match="'only' is a constant, not a function"):
        pool.call.only()
    pool.undefine_worker_constant(name="only")


def test_undefining_refuses_later_calls_and_forgets_the_name(pool: WorkerProcedureCall) -> None:
    pool.define_worker_function(worker_func="def gone(): return 1")
    pool.undefine_worker_function(name="gone")
    with pytest.raises(FunctionNotDefinedError):
        pool.call.gone()
    with pytest.raises(FunctionNotDefinedError):
        pool.undefine_worker_function(name="gone")
    pool.define_worker_function(worker_func="def gone(): return 2")
    pool.undefine_woker_function(name="gone")
    assert "gone" not in dir(pool.call)


def test_undefining_what_is_not_there_names_the_nearest(pool: WorkerProcedureCall) -> None:
    pool.define_worker_constant(name="SEED", value=1)
    with pytest.raises(RequirementMissingError, match=r"no constant 'SED' is defined. Did you mean 'SEED'\?"):
        pool.undefine_worker_constant(name="SED")
    with pytest.raises(RequirementMissingError, match="no dependency 'SEED' is defined"):
        pool.undefine_worker_dependency(alias="SEED")


# -- dependencies ---------------------------------------------------------------------------------------


def test_a_dependency_is_a_module_an_object_of_it_or_its_default_export(pool: WorkerProcedureCall) -> None:
    define = pool.define_worker_dependency
    define(alias="module", module_specifier="os.path")
    define(alias="root", module_specifier="math", export_name="sqrt")
    define(alias="day", module_specifier="datetime", is_default_export=True)
    define(alias="sub", module_specifier="xml", export_name="dom")
    pool.define_worker_function(
        worker_func="def f(): return module.basename('a/b'), root(4), day(2020, 1, 2).year, sub.__name__"
    )
    assert everywhere(pool, "f") == [("b", 2.0, 2020, "xml.dom")] * 2
    infos = {info.alias: info for info in pool.get_worker_dependencies()}
    assert (infos["root"].module_specifier, infos["root"].export_name) == ("math", "sqrt")
    assert (infos["day"].export_name, infos["day"].is_default_export) == (None, True)
    assert infos["module"].installed_worker_count == 2


def test_a_module_that_is_not_there_is_refused_with_the_nearest(pool: WorkerProcedureCall) -> None:
    with pytest.raises(DefinitionError, match=r"no module 'jsom' here. Did you mean 'json'\?"):
        pool.define_worker_dependency(alias="j", module_specifier="jsom")
    with pytest.raises(InstallError, match="has no attribute 'sqroot'"):
        pool.define_worker_dependency(alias="j", module_specifier="math", export_name="sqroot")


def test_a_module_beside_the_program_is_read_again_where_one_asks_for_it(
    make_pool: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    (folder / "helpers_of_a_test.py").write_text("VALUE = 1\n")
    pool = make_pool(2)
    pool.define_worker_dependency(alias="helpers", module_specifier="helpers_of_a_test")
    pool.define_worker_function(worker_func="def f(): return helpers.VALUE")
    (folder / "helpers_of_a_test.py").write_text("VALUE = 'two'\n")
    pool.define_worker_dependency(alias="helpers", module_specifier="helpers_of_a_test")
    assert everywhere(pool, "f") == [1, 1]
    pool.define_worker_dependency(alias="helpers", module_specifier="helpers_of_a_test", reload=True)
    assert everywhere(pool, "f") == ["two", "two"]


# -- kinds of functions ---------------------------------------------------------------------------------


def test_the_decorator_takes_options_or_none(make_pool: Any) -> None:
    pool = make_pool(1)

    @pool.function
    def plain(x: int) -> int:
        return x + 1

    @pool.function(name="other", timeout_ms=60_000, retries=2)
    def named(x: int) -> int:
        return x + 2

    assert plain(1) == 2, "the name stays bound to the function itself"
    assert pool.call.plain(1).result() == 2
    assert pool.call.other(1).result() == 3
    infos = {info.name: info for info in pool.get_remote_functions()}
    assert (infos["other"].timeout_ms, infos["other"].retries) == (60_000, 2)
    assert "named" not in infos


@pytest.mark.parametrize(
    ("name", "function", "args", "value"),
    [
        ("square", lambda x: x * x, (3,), 9),
        ("length", len, ("abc",), 3),
        ("square_root", math.sqrt, (4,), 2.0),
        ("joined", os.path.join, ("a", "b"), "a/b"),
        ("part", partial(operator.mul, 4), (5,), 20),
        ("getter", operator.itemgetter(1), ("ab",), "b"),
        ("kind", int, ("12",), 12),
        ("method", "-".join, (["a", "b"],), "a-b"),
    ],
)
def test_functions_of_every_kind_can_be_given(
    pool: WorkerProcedureCall, name: str, function: Any, args: tuple[Any, ...], value: Any
) -> None:
    pool.define_worker_function(name=name, worker_func=function)
    assert everywhere(pool, name, *args) == [value, value]


def test_a_lambda_uses_registered_names(pool: WorkerProcedureCall) -> None:
    pool.define_worker_constant(name="FACTOR", value=3)
    pool.define_worker_function(name="scaled", worker_func=lambda x: x * FACTOR)  # type: ignore[name-defined]  # noqa: F821
    assert pool.call.scaled(2).result() == 6
    pool.define_worker_constant(name="FACTOR", value=30)
    assert pool.call.scaled(2).result() == 60


def test_an_importable_function_runs_as_the_one_of_its_module(pool: WorkerProcedureCall) -> None:
    from fractions import Fraction

    pool.define_worker_function(name="fraction", worker_func=Fraction)
    value = pool.call.fraction(1, 2).result()
    assert type(value) is Fraction
    assert value == Fraction(1, 2)


def test_a_text_with_several_functions_has_a_method_of_its_own(pool: WorkerProcedureCall) -> None:
    with pytest.raises(DefinitionError, match="define_worker_functions"):
        pool.define_worker_function(worker_func="def a(): pass\ndef b(): pass")
    infos = pool.define_worker_functions(
        "def a(): return 1\ndef b(): return 2\ndef _c(): return 3", names=["b"]
    )
    assert [info.name for info in infos] == ["b"]


def test_imports_helpers_and_classes_of_a_cell_come_along(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions(
        """
import math as m
from collections import Counter

LIMIT = 2


class Box:
    def __init__(self, x):
        self.x = x


def _helper(x):
    return Box(m.floor(x) + LIMIT)


def count(x):
    return Counter([_helper(x).x])
"""
    )
    assert pool.call.count(1.5).result() == {3: 1}


def test_the_hash_is_the_originals(pool: WorkerProcedureCall) -> None:
    source = "def f(x):\n    return x"
    expected = hashlib.sha1(source.encode()).hexdigest()
    for text in (source, f"\n\n{source}\n\n", source.replace("\n", "\r\n")):
        assert pool.define_worker_function(worker_func=text).function_hash_sha1 == expected
    assert pool.define_worker_function(worker_func=source + " ").function_hash_sha1 == expected
    assert pool.define_worker_function(worker_func=source + " + 1").function_hash_sha1 != expected


def test_the_lists_are_sorted_by_name_and_tell_signature_and_needs(make_pool: Any) -> None:
    pool = make_pool(0)
    for name in ("zeta", "alpha", "mid"):
        pool.define_worker_function(worker_func=f'def {name}(a, *, b=1): "Docs." ; return wpc_constant("K")')
        pool.define_worker_constant(name=name.upper(), value=name)
        pool.define_worker_dependency(alias=f"{name}_m", module_specifier="math")
    functions = pool.get_remote_functions()
    assert [info.name for info in functions] == ["alpha", "held", "mid", "zeta"]
    assert functions[0].parameter_signature == "(a, *, b=1)"
    assert functions[0].doc == "Docs."
    assert functions[0].requires == ("K",)
    assert [info.name for info in pool.get_worker_constants()] == ["ALPHA", "MID", "ZETA"]
    assert [info.alias for info in pool.get_worker_dependencies()] == ["alpha_m", "mid_m", "zeta_m"]
    assert not hasattr(pool.get_worker_constants()[0], "value")
    assert (pool.get_worker_constants()[0].type_name, pool.get_worker_constants()[0].nbytes > 0) == (
        "str",
        True,
    )


def test_installed_counts_follow_the_workers(make_pool: Any) -> None:
    pool = make_pool(3)

    def count() -> int:
        return pool.get_remote_functions()[0].installed_worker_count

    assert count() == 3
    pool.resize(2)
    pool.wait_until_ready()
    assert count() == 2
    pool.stop_workers()
    assert count() == 0


def test_a_change_of_the_definitions_is_an_event(make_pool: Any, listen: Any) -> None:
    pool = make_pool(1)
    listener = listen(pool)
    pool.define_worker_functions("def a(): pass\ndef b(): pass")
    event = listener.until("definition_changed")[-1]
    assert dict(event.details) == {"defined": ["a", "b"], "removed": [], "epoch": pool.snapshot().epoch}
    assert event.worker_id == 0
    pool.undefine_worker_function(name="a")
    assert listener.until("definition_changed")[-1].details["removed"] == ["a"]


def test_workers_do_not_go_on_installing_what_was_interrupted(make_pool: Any, door: Any) -> None:
    pool = make_pool(2, "def double(x): return 2 * x", interrupt_grace_ms=1, control_timeout_ms=3_600_000)
    source = pool.call.held.source + f"\n\nheld({door.path!r})\n"

    def interrupt() -> None:
        door.wait(), door.wait()  # both install it
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            pool.define_worker_functions(source, names=["held"])
        thread.join()
    finally:
        signal.signal(signal.SIGINT, handler)
    assert list(pool.map("double", range(4))) == [0, 2, 4, 6]  # although the door was not opened
