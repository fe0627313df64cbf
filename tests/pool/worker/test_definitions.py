"""Installing: several epochs at once, cells as modules, the globals of functions."""

import copy
import math
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.pool.worker.harness import Failed, cell
from wpc_magic.pool.wire import protocol
from wpc_magic.pool.wire.codec import encode
from wpc_magic.pool.worker.cells import CellFinder, load_cell
from wpc_magic.pool.worker.frozen import freeze
from wpc_magic.pool.worker.runtime import Runtime


def constant(name, value):
    body, buffers = encode(value)
    return protocol.Constant(name, body, tuple(bytes(buffer) for buffer in buffers))


def dependency(name, module, export=None):
    return protocol.Dependency(name, module, export, False)


def test_two_epochs_are_held_side_by_side_until_the_newer_is_used(worker):
    source = "def f(): return SEED"
    old = worker.install(constant("SEED", 1), *worker.functions(source, "f", needs=("SEED",)))
    new = worker.install(constant("SEED", 2))
    assert worker.outcome(worker.send("f", epoch=new)) == 2
    with pytest.raises(Failed, match=f"epoch {old} "):
        worker.outcome(worker.send("f", epoch=old))


def test_calls_of_the_old_epoch_see_the_old_names_while_the_new_one_is_there(worker):
    source = "def f(): return SEED, helper()"
    old = worker.install(
        constant("SEED", 1),
        *worker.functions("def helper(): return 'old'", "helper"),
        *worker.functions(source, "f", needs=("SEED", "helper")),
    )
    new = worker.install(constant("SEED", 2), *worker.functions("def helper(): return 'new'", "helper"))
    assert worker.outcome(worker.send("f", epoch=old)) == (1, "old")
    assert worker.outcome(worker.send("f", epoch=new)) == (2, "new")


def test_an_epoch_that_is_forgotten_is_gone_and_its_names_with_it(worker):
    first = worker.define("def f(): return 1")
    second = worker.send_install(*worker.functions("def f(): return 2", "f"))
    worker.expect(protocol.Installed)
    worker.send_message(protocol.Forget(second))
    with pytest.raises(Failed, match="revision 2"):
        worker.outcome(worker.send("f", epoch=first))
    with pytest.raises(Failed, match="epoch 2"):
        worker.outcome(worker.send("f", epoch=second))


def test_removed_names_are_gone_in_the_next_epoch(worker):
    worker.install(constant("SEED", 1), *worker.functions("def f(): return SEED", "f", needs=("SEED",)))
    assert worker.call("f") == 1
    worker.install(removed=("SEED",))
    error = worker.error("f")
    assert type(error) is NameError


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("1 / 0\ndef f(): pass", "ZeroDivisionError"),
        ("def f(:", "SyntaxError"),
        ("raise SystemExit(3)\ndef f(): pass", "SystemExit"),
        ("import no_such_module\ndef f(): pass", "ModuleNotFoundError"),
    ],
)
def test_what_cannot_be_installed_is_refused_and_leaves_nothing(worker, source, name):
    worker.define(
        """
        import sys
        def f(): return 1
        def modules(): return [name for name in sys.modules if name.startswith('wpc_cell')]
        """
    )
    before = worker.call("modules")
    held = worker.names["f"]
    refused = worker.functions(source, "f")
    with pytest.raises(Failed) as caught:
        worker.install(constant("A", 1), *refused)
    assert caught.value.failure.name == name
    worker.names["f"] = held
    assert worker.call("f") == 1
    assert worker.call("modules") == before


def test_the_refusal_of_a_cell_shows_its_line(worker):
    with pytest.raises(Failed) as caught:
        worker.install(*worker.functions("x = 1\ny = x / 0  # here\ndef f(): pass", "f"))
    assert "y = x / 0  # here" in caught.value.failure.stack
    assert "wpc_magic/pool" not in caught.value.failure.stack


def test_an_install_on_an_epoch_that_is_not_there_is_refused(worker):
    with pytest.raises(Failed, match="epoch 9 "):
        worker.install(constant("A", 1), base=9)


def test_dependencies_are_modules_their_objects_and_their_submodules(worker):
    source = "def f(): return root(9), j.dumps([1]), fut.__name__, p.join('a', 'b'), wpc_import('root')(4)"
    worker.install(
        dependency("root", "math", "sqrt"),
        dependency("j", "json"),
        dependency("fut", "concurrent", "futures"),
        dependency("p", "os", "path"),
        *worker.functions(source, "f", needs=("root", "j", "fut", "p")),
    )
    assert worker.call("f") == (3.0, "[1]", "concurrent.futures", "a/b", 2.0)


def test_a_dependency_without_that_export_is_refused(worker):
    with pytest.raises(Failed, match="has no attribute 'squirt'"):
        worker.install(dependency("root", "math", "squirt"))


def test_names_are_there_when_the_first_line_of_a_cell_runs(worker):
    worker.install(
        constant("SEED", 20),
        dependency("m", "math"),
        *worker.functions("x = SEED + m.floor(1.5)\ndef f(): return x", "f", needs=("SEED", "m")),
    )
    assert worker.call("f") == 21


def test_functions_find_the_four_ways_to_what_is_registered(worker):
    worker.install(
        constant("SEED", 5),
        dependency("m", "math"),
        *worker.functions(
            """
            def f():
                return (wpc_constant('SEED'), context.constants.SEED, context.constants['SEED'],
                        wpc_import('m').pi, context.dependencies.m.e,
                        sorted(context.constants), 'x' in context.constants,
                        context.worker_id, repr(context.constants), context.constants.get('x'))
            def missing(): return wpc_import('nothing')
            def not_a_dependency(): return wpc_import('SEED')
            """,
            "f",
            "missing",
            "not_a_dependency",
        ),
    )
    assert worker.call("f") == (5, 5, 5, math.pi, math.e, ["SEED"], False, 3, "<constant: SEED>", None)
    assert "no dependency 'nothing' is registered (registered: m)" in str(worker.error("missing"))
    assert "no dependency 'SEED'" in str(worker.error("not_a_dependency"))


def test_registered_functions_are_names_in_each_other_also_in_a_circle(worker):
    worker.install(
        *worker.functions("def even(n): return n == 0 or odd(n - 1)", "even", needs=("odd",)),
        *worker.functions("def odd(n): return n != 0 and even(n - 1)", "odd", needs=("even",)),
    )
    assert worker.call("even", 10) is True


def test_a_newer_function_shadows_the_cells_own_until_it_is_removed(worker):
    source = "def clean(x): return ('own', x)\ndef process(x): return clean(x)"
    worker.define(source, needs=("clean",))
    assert worker.call("process", 1) == ("own", 1)
    worker.install(*worker.functions("def clean(x): return ('newer', x)", "clean"))
    assert worker.call("process", 1) == ("newer", 1)
    worker.install(removed=("clean",))
    assert worker.call("process", 1) == ("own", 1)


def test_a_function_by_value_gets_its_names_per_epoch(worker):
    import cloudpickle

    payload = cloudpickle.dumps(eval("lambda: (SEED, wpc_constant('SEED'))", {}))
    first = worker.install(
        constant("SEED", 1), worker.function("f", "pickle", payload=payload, needs=("SEED",))
    )
    second = worker.install(constant("SEED", 2))
    assert worker.outcome(worker.send("f", epoch=first)) == (1, 1)
    assert worker.outcome(worker.send("f", epoch=second)) == (2, 2)


def test_a_method_that_is_reached_through_an_argument_sees_the_names_of_the_epoch(worker):
    worker.install(
        constant("SEED", 1),
        *worker.functions(
            "class Box:\n    def seed(self): return SEED\ndef make(): return Box()", "make", needs=("SEED",)
        ),
        *worker.functions("def ask(box): return box.seed()", "ask"),
    )
    module, _ = load_cell(worker.names["make"].cell, {"SEED": 0})
    assert worker.call("ask", module.Box()) == 1
    worker.install(constant("SEED", 2))
    assert worker.call("ask", module.Box()) == 2


@pytest.fixture(autouse=True)
def unload_cells():
    yield
    for name in [name for name in sys.modules if name.startswith("wpc_cell_")]:
        del sys.modules[name]


def test_classes_of_a_cell_are_the_same_in_two_workers_and_in_the_pools_process(workers):
    source = """
        class Point:
            def __init__(self, x): self.x = x
            def __eq__(self, other): return type(self) is type(other) and self.x == other.x
            __hash__ = None
        class Odd(Exception): pass
        def make(x): return Point(x)
        def same(a, b): return a == b and isinstance(a, Point)
        def fail(): raise Odd('odd')
        """
    one, two = workers(), workers()
    for each in (one, two):
        each.define(source, "make", "same", "fail")
    made = one.names["make"].cell
    finder = CellFinder(lambda name: load_cell(made, {})[0] if name == made.module else None)
    sys.meta_path.append(finder)
    try:
        here = one.call("make", 3)
        there = two.call("make", 3)
        assert here == there
        assert two.call("same", here, there) is True
        module = sys.modules[made.module]
        assert type(here) is module.Point
        assert type(two.error("fail")) is module.Odd
    finally:
        sys.meta_path.remove(finder)


def test_the_finder_knows_only_cells_it_was_told_of():
    finder = CellFinder(lambda name: None)
    sys.meta_path.append(finder)
    try:
        with pytest.raises(ModuleNotFoundError):
            __import__("wpc_cell_unknown")
        with pytest.raises(ModuleNotFoundError):
            __import__("no_such_module_at_all")
    finally:
        sys.meta_path.remove(finder)


def test_code_that_a_function_compiles_has_no_line_of_ours(worker):
    worker.define(
        """
        import linecache
        def lines(): return linecache.getlines("<string>")
        """,
        "lines",
    )
    assert worker.call("lines") == []


def test_a_cell_shows_its_source_to_inspect_and_traceback(worker):
    worker.define(
        """
        import inspect, traceback
        def source(): return inspect.getsource(source)
        def trace():
            try: raise ValueError('x')  # this line
            except ValueError: return traceback.format_exc()
        """,
        "source",
        "trace",
    )
    assert worker.call("source").startswith("def source()")
    assert "# this line" in worker.call("trace")


def test_a_constant_cannot_drift(worker):
    value = {"list": [1, {2}], "bytes": bytearray(b"x"), "tuple": ([1],)}
    worker.install(
        constant("K", value),
        *worker.functions(
            """
            def change(how):
                exec(how, {'K': K})
            def get(): return K
            def kinds(): return [isinstance(K, dict), type(K['list']).__name__]
            def numbers(): A[0] = 1
            """,
            "change",
            "get",
            "kinds",
            "numbers",
            needs=("K", "A"),
        ),
        constant("A", np.zeros(5)),
    )
    for how in [
        "K['a'] = 1", "del K['list']", "K.update(a=1)", "K.clear()", "K.setdefault('z', 1)", "K |= {}",
        "K['list'].append(1)", "K['list'][0] = 2", "K['list'] += [1]", "K['list'].sort()",
        "K['list'][1].add(3)", "K['tuple'][0].append(2)", "K['bytes'][0] = 1", "K['bytes'].extend(b'a')",
    ]:  # fmt: skip
        error = worker.error("change", how)
        assert type(error) is TypeError, how
        assert "work on a copy" in str(error)
    assert worker.call("kinds") == [True, "list"]
    assert type(worker.error("numbers")) is ValueError
    back = worker.call("get")
    assert back == value
    assert [type(back), type(back["list"]), type(back["list"][1]), type(back["bytes"])] == [
        dict, list, set, bytearray,
    ]  # fmt: skip


def test_a_copy_of_a_constant_is_of_the_plain_kind_all_the_way_down():
    value = {"a": [1, {2}, bytearray(b"x"), ({"b": []},)]}
    frozen = freeze(value)
    for made in (copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
        assert made == value == frozen
        made["a"][0] = 5
        made["a"][1].add(3)
        made["a"][2].append(1)
        made["a"][3][0]["b"].append(1)
    assert type(copy.copy(frozen)) is dict
    for item, plain in (
        (frozen, dict),
        (frozen["a"], list),
        (frozen["a"][1], set),
        (frozen["a"][2], bytearray),
    ):
        assert type(item.copy()) is plain
        assert type(copy.copy(item)) is plain


def test_operators_on_a_frozen_set_give_a_set_that_can_be_changed():
    frozen = freeze({1, 2})
    for made in (frozen | {3}, frozen & {1}, frozen - {1}, frozen ^ {1}, frozen.union({4}), frozen.copy()):
        made.add(9)


def test_a_constant_that_holds_itself_is_frozen():
    value = {"me": []}
    value["me"].append(value)
    frozen = freeze(value)
    assert frozen["me"][0] is frozen


@pytest.mark.parametrize("size", [3, 100_000])
def test_arrays_of_a_constant_are_read_only(worker, size):
    source = "def f(): A[0] = 1"
    worker.install(constant("A", np.zeros(size)), *worker.functions(source, "f", needs=("A",)))
    assert "read-only" in str(worker.error("f"))


def test_a_local_queue_module_breaks_nothing_of_ours(worker, tmp_path):
    for name in ("queue", "socket", "traceback", "asyncio", "selectors", "logging", "typing"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the local one')")
    worker.send_message(protocol.Setup(3, "pool", [str(tmp_path), *sys.path], b"key", b""))
    worker.define(
        """
        async def later(): return 1
        def fail(): raise ValueError('mine')
        def make(): return lambda: 5
        """,
        "later",
        "fail",
        "make",
    )
    assert worker.call("later") == 1
    assert str(worker.error("fail")) == "mine"
    assert worker.call("make")() == 5


def test_helpers_beside_the_notebook_can_be_imported(worker, tmp_path):
    Path(tmp_path / "helpers.py").write_text("def answer(): return 42")
    worker.send_message(protocol.Setup(3, "pool", ["", *sys.path, str(tmp_path)], b"key", b""))
    worker.define("import helpers\ndef f(): return helpers.answer()", "f")
    assert worker.call("f") == 42


def test_many_epochs_leave_only_the_last():
    runtime = Runtime(tuple)
    for epoch in range(1, 200):
        made = protocol.Function("f", epoch, "pickle", None, "", encode(len)[0], ())
        runtime.install(protocol.Install(epoch, epoch - 1, (made,), (), ()))
        runtime.activate(epoch)
    runtime.free_unreferenced()
    assert list(runtime.functions) == [199]
    assert len(runtime._epochs) == 1
    assert len(runtime._namespaces.names()) == 1


def test_the_module_of_a_cell_that_was_undefined_is_found_while_anything_of_it_is_alive():
    made = cell("class C: pass\ndef f(): return C")
    runtime = Runtime(tuple)
    record = protocol.Function("f", 1, "cell", made, "f", b"", ())
    runtime.install(protocol.Install(1, 0, (record,), (), ()))
    first = runtime.function(1)()
    runtime.install(protocol.Install(2, 1, (), ("f",), ()))
    runtime.activate(2)
    runtime.free_unreferenced()
    assert made.module not in sys.modules
    assert runtime.module(made.module).C is first
    del first
    runtime.cells.collect()
    again = runtime.module(made.module).C
    assert again.__module__ == made.module, "it is loaded from its text"
    assert runtime.module("wpc_cell_of_nobody") is None


def test_a_cell_that_looks_up_a_name_as_it_is_loaded_finds_what_comes_with_it(worker):
    functions = worker.functions("a = wpc_import('m')\ndef f(x): return a.sqrt(x)", "f")
    worker.install(*functions, dependency("m", "math"))
    assert worker.call("f", 4) == 2.0


def test_a_cell_that_calls_a_registered_function_as_it_is_loaded_comes_after_it(worker):
    user = worker.functions("seven = helper() + 1\ndef f(): return seven", "f", needs=("helper",))
    helper = worker.functions("def helper(): return 6", "helper")
    worker.install(*user, *helper)
    assert worker.call("f") == 7
