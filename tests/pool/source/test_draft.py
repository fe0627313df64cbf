"""How functions become drafts of definitions, and that the drafts run."""

import functools
import hashlib
import inspect
import linecache
import math
import operator
import re
import sys
import traceback
import types
from datetime import datetime
from fractions import Fraction
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wpc_magic.magics.fixes import magic_line
from wpc_magic.pool.errors import (
    DefinitionError,
    DefinitionSyntaxError,
    OptionError,
    UnknownNameError,
)
from wpc_magic.pool.source.cell import Fix
from wpc_magic.pool.source.draft import FunctionDraft, draft_cell, draft_function, look_in, sha1_of
from wpc_magic.pool.wire.protocol import Dependency, Function, Install
from wpc_magic.pool.worker.cells import PREFIX, load_cell
from wpc_magic.pool.worker.runtime import Runtime


class WorkerProcedureCall:
    """Stands in for the pool, which is recognised by its class name."""

    __module__ = "wpc_magic.pool.api"

    def function(self, *args, **options):
        return args[0] if args else lambda function: function


wpc = WorkerProcedureCall()


@pytest.fixture(autouse=True)
def no_modules_left():
    yield
    for name in [name for name in sys.modules if name.startswith(PREFIX)]:
        del sys.modules[name]


class Notebook:
    """Runs cells like a kernel: in `__main__`, with their lines in `linecache`."""

    def __init__(self):
        self.names = {"__name__": "__main__", "wpc": wpc}
        self._count = 0

    def run(self, cell: str):
        self._count += 1
        cell = dedent(cell).lstrip("\n")
        filename = f"/tmp/ipykernel_0/{id(self)}{self._count}.py"
        linecache.cache[filename] = (len(cell), None, cell.splitlines(keepends=True), filename)
        exec(compile(cell, filename, "exec"), self.names)
        return types.SimpleNamespace(**self.names)


@pytest.fixture
def notebook():
    return Notebook()


def wire(draft: FunctionDraft, key: int) -> Function:
    return Function(draft.name, key, draft.how, draft.cell, draft.path, draft.payload, draft.wire_needs)


def install(*drafts: FunctionDraft, dependencies=()) -> dict:
    """Return the functions as a worker would call them."""
    runtime = Runtime(tuple)
    records = [*dependencies, *(wire(draft, key) for key, draft in enumerate(drafts, 1))]
    runtime.install(Install(1, 0, tuple(records), (), ()))
    runtime.activate(1)
    return {draft.name: runtime.function(key) for key, draft in enumerate(drafts, 1)}


def run(draft: FunctionDraft, *args):
    return install(draft)[draft.name](*args)


def complaint(function, *args, **options) -> str:
    with pytest.raises(UnknownNameError) as caught:
        draft_function(function, *args, describe_fix=magic_line, **options)
    return str(caught.value)


# -- cells -----------------------------------------------------------------------------------------------

CELL = '''
import math

UNIT = 2.0

def _square(x):
    return x * x

@staticmethod
def area(r):
    """Return the area.

    In square metres.
    """
    return math.pi * _square(r) / UNIT

async def later(x=1): return area(x)
'''


def test_the_functions_of_a_cell_share_one_module_and_run_in_it():
    area, later = draft_cell(CELL)
    assert area.cell is later.cell is not None
    assert (area.name, area.how, area.path, area.signature) == ("area", "cell", "area", "(r)")
    assert (area.doc, area.is_async, later.is_async) == ("Return the area.", False, True)
    assert later.needs == ("area",)
    assert install(area, later)["area"](2.0) == math.pi * 2


def test_the_source_and_the_hash_of_a_function_are_those_of_its_own_text():
    area, later = draft_cell(CELL)
    assert later.source == "async def later(x=1): return area(x)\n"
    assert later.sha1 == sha1_of(later.source) != area.sha1
    assert area.source.startswith("@staticmethod\ndef area(r):\n")
    assert draft_cell(CELL + "\n# a comment")[0].sha1 == area.sha1


def test_the_hash_is_the_sha1_of_the_trimmed_text_with_plain_line_ends():
    text = "def f():\n    return 1"
    assert sha1_of(f"\r\n {text}\r\n\t\n".replace("\n", "\r\n")) == hashlib.sha1(text.encode()).hexdigest()


def test_equal_cells_are_one_module_under_one_readable_file_name():
    [first] = draft_cell("def simulate(n): return n")
    [again] = draft_cell("def simulate(n): return n\r\n")
    [other] = draft_cell("def simulate(n): return n + 1")
    assert first.cell == again.cell
    assert first.cell.module.startswith(PREFIX)
    assert len(first.cell.module) == len(PREFIX) + 16
    assert first.cell.filename == f"<ipython-wpc> simulate-{first.cell.module[len(PREFIX) :][:8]}"
    assert (other.cell.module, other.cell.filename) != (first.cell.module, first.cell.filename)


def test_the_file_name_of_a_crowded_cell_stays_short():
    cell = "\n".join(f"def f{number}(): pass" for number in range(9))
    assert draft_cell(cell)[0].cell.filename.startswith("<ipython-wpc> f0,f1,f2,...-")


def test_a_cell_with_other_needs_is_another_module():
    text = "from math import *\ndef f(): return helper"
    [alone], [with_helper] = draft_cell(text), draft_cell(text, known=["helper"])
    assert (alone.cell.needs, with_helper.cell.needs) == ((), ("helper",))
    assert alone.cell.module != with_helper.cell.module


def test_what_is_asked_for_by_name_is_told_apart_from_what_is_given():
    [f] = draft_cell("def f(): return np.mean(wpc_constant('LATER'))", known=["np"])
    assert (f.needs, f.explicit, f.cell.needs) == (("LATER", "np"), ("LATER",), ("np",))


def test_a_text_with_one_function_can_take_another_name():
    [draft] = draft_cell("def fact(n): return n * fact(n - 1) if n else 1", rename="factorial")
    assert (draft.name, draft.path, draft.needs) == ("factorial", "fact", ())
    assert run(draft, 5) == 120


def test_an_indented_text_loses_its_indentation_but_strings_keep_theirs():
    text = '''
        def f():
            # a comment
            return """a
            b
        c"""
    '''
    [draft] = draft_cell(text)
    assert run(draft) == "a\n            b\n        c"


def test_an_error_in_an_indented_text_is_told_as_it_is():
    with pytest.raises(DefinitionSyntaxError, match="line 2: "):
        draft_cell("    def f():\n        return )")


def test_an_unknown_name_of_a_cell_is_looked_up_in_the_notebook():
    with pytest.raises(UnknownNameError) as caught:
        draft_cell("def f(): return m.pi", look=look_in({"m": math}), describe_fix=magic_line)
    assert str(caught.value).endswith("Type: %wpc_dep math as m")


def test_a_cell_that_is_no_text_is_refused():
    with pytest.raises(OptionError, match="source takes a text, not bytes"):
        draft_cell(b"def f(): pass")


# -- functions of a notebook ------------------------------------------------------------------------------


def test_a_function_of_a_notebook_travels_as_its_own_text(notebook):
    here = notebook.run("""
        import math
        x = get_lines = 1

        @wpc.function(timeout_ms=5)
        def f(n, scale=1.0):
            "Scale."
            return n * scale
    """)
    draft = draft_function(here.f)
    assert draft.cell.source == "\n" * 4 + draft.source, "numbered as in its cell"
    assert draft.source == 'def f(n, scale=1.0):\n    "Scale."\n    return n * scale\n'
    assert (draft.how, draft.signature, draft.doc) == ("cell", "(n, scale=1.0)", "Scale.")
    assert run(draft, 3) == 3.0


@pytest.mark.parametrize(
    "decorator", ["@wpc.function", "@wpc.function()", "@pool.function", "@other.function"]
)
def test_the_pools_own_decorator_stays_behind_whatever_the_pool_is_called(notebook, decorator):
    notebook.names |= {"pool": wpc, "other": wpc}
    here = notebook.run(f"{decorator}\ndef f(): return 1")
    assert draft_function(here.f).source == "def f(): return 1\n"


def test_the_decorator_of_another_library_stays_also_if_it_is_called_function(notebook):
    notebook.names["tf"] = types.SimpleNamespace(function=lambda function: function)
    here = notebook.run("@tf.function\ndef f(): return 1")
    assert "f uses 'tf' (line 1)" in complaint(here.f)
    assert draft_function(here.f, known=["tf"]).needs == ("tf",)


def test_other_decorators_travel_with_the_function(notebook):
    here = notebook.run("""
        import functools
        def double(f):
            @functools.wraps(f)
            def wrapped(x): return 2 * f(x)
            return wrapped

        @double
        def f(x): return x

        @functools.lru_cache
        def g(x): return x
    """)
    assert "Type: wpc.function(double)" in complaint(here.f)
    draft = draft_function(here.f, known=["double"])
    assert (draft.how, draft.needs, draft.cell.needs) == ("cell", ("double",), ("double",))
    assert draft_function(here.g, known=["functools"]).how == "cell"


def test_what_was_put_around_a_function_without_a_decorator_is_not_lost(notebook):
    here = notebook.run("""
        import functools
        def double(f):
            @functools.wraps(f)
            def wrapped(x): return 2 * f(x)
            return wrapped
        def f(x): return x
        g = double(f)
    """)
    draft = draft_function(here.g, "g")
    assert (draft.how, run(draft, 4)) == ("pickle", 8)


def test_what_a_notebook_has_under_unknown_names_decides_what_to_type(notebook):
    here = notebook.run("""
        import math as m
        import os.path
        from math import sqrt as root
        from fractions import Fraction
        SEED = 42
        def clean(x): return x
        class Box: pass

        def f(x):
            return [m, os, root, Fraction,
                    SEED, clean, Box]
    """)
    text = complaint(here.f)
    for line in (
        "f uses 'm' (line 10), which the workers don't have. Type: %wpc_dep math as m",
        "Type: %wpc_dep os",
        "Type: %wpc_dep from math import sqrt as root",
        "Type: %wpc_dep from fractions import Fraction",
        "f uses 'SEED' (line 11), which the workers don't have. Type: %wpc_const SEED",
        "Type: wpc.function(clean)",
    ):
        assert line in text
    assert "Box" not in text  # it comes along
    assert draft_function(
        here.f, known=["m", "os", "root", "Fraction", "SEED", "clean", "Box"]
    ).cell.needs == ("Box", "Fraction", "SEED", "clean", "m", "os", "root")


def test_the_pool_in_a_function_is_recognised_under_any_name(notebook):
    notebook.names["p"] = wpc
    here = notebook.run("def f(x): return p.call.g(x)")
    assert "call each other by name: f(x), not p.call.f(x)" in complaint(here.f)


def test_magics_elsewhere_in_the_cell_do_not_matter(notebook):
    # IPython's translation of `%time 1` is in the cell, but not in the source of the function.
    notebook.names["get_ipython"] = lambda: types.SimpleNamespace(run_line_magic=lambda *args: None)
    here = notebook.run("get_ipython().run_line_magic('time', '1')\n\ndef f(): return 1\n")
    assert run(draft_function(here.f)) == 1


def test_a_shell_line_in_the_function_itself_is_refused(notebook):
    here = notebook.run("def f(): return get_ipython().getoutput('ls')")
    assert "Only the notebook has IPython" in complaint(here.f)


def test_annotations_wait_in_the_worker_where_they_did_in_the_notebook(notebook):
    here = notebook.run("from __future__ import annotations\n\ndef f(x: Unknown): return unknown")
    assert "f uses 'unknown' (line 3)" in complaint(here.f)
    here = notebook.run("from __future__ import annotations\n\ndef f(x: Unknown): return x")
    draft = draft_function(here.f)
    assert (draft.source, run(draft, 1)) == ("def f(x: Unknown): return x\n", 1)


# -- nested functions -------------------------------------------------------------------------------------


def test_a_function_inside_another_one_travels_as_its_own_text():
    pool = WorkerProcedureCall()

    @pool.function
    def f(n):
        return n * f(n - 1) if n else 1

    draft = draft_function(f)
    assert (draft.how, draft.source.split("\n")[0]) == ("cell", "def f(n):")
    assert run(draft, 4) == 24


def test_a_captured_variable_is_refused_by_name_with_its_line():
    scale = 3

    def f(n):
        return n * scale

    line = inspect.getsourcelines(f)[1] + 1
    assert complaint(f) == (
        f"f captures 'scale' (line {line}) from the function around it, which does not travel. "
        "Pass it as an argument, or make it a definition. Type: %wpc_const scale"
    )
    assert draft_function(f, known=["scale"]).needs == ("scale",)


def test_a_captured_module_is_refused_with_the_line_for_modules():
    import json as j

    def f():
        return j.dumps(1)

    assert complaint(f).endswith("which does not travel. Type: %wpc_dep json as j")


def test_a_captured_pool_is_told_how_functions_call_each_other():
    pool = WorkerProcedureCall()

    def f():
        return pool.call.g(1)

    assert "f(x), not pool.call.f(x)" in complaint(f)


def test_a_function_can_be_given_another_name():
    def f():
        return 1

    draft = draft_function(f, "other")
    assert (draft.name, draft.path, run(draft)) == ("other", "f", 1)


# -- by reference, by value -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "module", "path"),
    [
        (math.sqrt, "math", "sqrt"),
        (len, "builtins", "len"),
        (Fraction, "fractions", "Fraction"),
        (dedent, "textwrap", "dedent"),
        (Fraction.limit_denominator, "fractions", "Fraction.limit_denominator"),
        (functools.reduce, "_functools", "reduce"),
    ],
)
def test_what_can_be_imported_travels_by_reference(function, module, path):
    draft = draft_function(function)
    assert (draft.how, draft.payload.decode(), draft.path, draft.cell) == ("module", module, path, None)
    assert install(draft)[draft.name] is function


def test_a_function_by_reference_tells_its_signature_doc_and_source():
    draft = draft_function(dedent)
    assert draft.signature == "(text)"
    assert draft.doc.startswith("Remove any common leading whitespace")
    assert draft.sha1 == sha1_of(inspect.getsource(dedent))


def test_a_function_whose_module_is_still_being_imported_travels_by_reference(tmp_path, monkeypatch):
    (tmp_path / "wpc_being_imported.py").write_text("import builtins\n@builtins.keep\ndef f(): return 7\n")
    drafts = []
    monkeypatch.setattr("builtins.keep", lambda f: drafts.append(draft_function(f)) or f, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    import wpc_being_imported

    monkeypatch.delitem(sys.modules, wpc_being_imported.__name__)
    assert [(draft.how, draft.path) for draft in drafts] == [("module", "f")]
    assert run(drafts[0]) == 7


def test_a_function_of_a_module_that_no_worker_could_find_travels_as_text(monkeypatch):
    module = types.ModuleType("wpc_made_up")
    source = "def f():\n    return 5\n"
    linecache.cache["<made up>"] = (len(source), None, source.splitlines(keepends=True), "<made up>")
    exec(compile(source, "<made up>", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, "wpc_made_up", module)
    draft = draft_function(module.f)
    assert (draft.how, run(draft)) == ("cell", 5)


class Adder:
    def __init__(self, by):
        self.by = by

    def __call__(self, x):
        return x + self.by

    def add(self, x):
        return x + self.by


@pytest.mark.parametrize(
    "function",
    [lambda x: x + 2, functools.partial(operator.add, 2), Adder(2), Adder(2).add],
)
def test_what_has_neither_a_home_nor_a_text_travels_by_value(function):
    draft = draft_function(function, "f")
    assert (draft.how, draft.doc) == ("pickle", "")
    assert run(draft, 3) == 5


def test_a_method_of_a_class_of_c_travels():
    draft = draft_function(datetime.fromtimestamp)
    assert run(draft, 0) == datetime.fromtimestamp(0)


def test_a_function_without_source_travels_by_value():
    names = {"__name__": "__main__", "K": 3}
    exec("def f(x):\n    return x * K", names)
    draft = draft_function(names["f"])
    assert (draft.how, draft.source, draft.signature) == ("pickle", "", "(x)")
    assert draft.sha1 == hashlib.sha1(draft.payload).hexdigest()
    assert run(draft, 2) == 6


@pytest.mark.parametrize("filename", ["<string>", "<stdin>"])
def test_a_text_that_only_has_the_same_name_is_not_the_source_of_a_function(filename, monkeypatch):
    # Since Python 3.13, `linecache` gives the text of `python -c` for all that `exec` compiles.
    text = "def f(x):\n    return x + K\n"
    monkeypatch.setitem(linecache.cache, filename, (1, None, text.splitlines(keepends=True), filename))
    names = {"__name__": "__main__", "K": 3}
    exec(compile("def f(x):\n    return x * K\n", filename, "exec"), names)
    draft = draft_function(names["f"])
    assert (draft.how, draft.source, draft.file, run(draft, 2)) == ("pickle", "", "", 6)


def test_the_text_of_a_command_line_is_the_source_of_its_own_functions(monkeypatch):
    text = "class A:\n    def f(self): pass\n\ndef f(x):\n    return x + 1\n"
    monkeypatch.setitem(linecache.cache, "<string>", (1, None, text.splitlines(keepends=True), "<string>"))
    names = {"__name__": "__main__"}
    exec(compile(text, "<string>", "exec", dont_inherit=True), names)
    draft = draft_function(names["f"])
    assert (draft.how, draft.source, run(draft, 2)) == ("cell", "def f(x):\n    return x + 1\n", 3)
    assert draft_function(names["A"]().f).source == "def f(self): pass\n"


def test_a_function_whose_source_has_changed_since_travels_by_value(notebook):
    here = notebook.run("def f(x): return x + 1")
    filename = here.f.__code__.co_filename
    linecache.cache[filename] = (1, None, ["def f(x, y): return x - y\n"], filename)
    draft = draft_function(here.f)
    assert (draft.how, draft.source, run(draft, 1)) == ("pickle", "", 2)


def test_a_registered_name_is_given_to_a_function_by_value():
    names = {"__name__": "__main__", "np": "not this one"}
    exec("def f(x):\n    return np.sqrt(x), wpc_import('later')", names)
    draft = draft_function(names["f"], known=["np"])
    assert (draft.wire_needs, draft.explicit, draft.needs) == (("np",), ("later",), ("later", "np"))
    dependencies = [Dependency("np", "math", None, False), Dependency("later", "json", None, False)]
    assert install(draft, dependencies=dependencies)["f"](4)[0] == 2.0


def test_an_unknown_name_of_a_function_by_value_is_told_too():
    names = {"__name__": "__main__", "pool": wpc}
    exec("def f(x):\n    return np.sqrt(x)\ndef g(): return pool", names)
    assert complaint(names["f"]) == (
        "f uses 'np' (line 2), which the workers don't have. Type: %wpc_dep numpy as np"
    )
    assert "Registered functions call each other by name" in complaint(names["g"])


def test_what_cannot_be_pickled_is_refused_by_name():
    lock = sys._getframe()
    with pytest.raises(DefinitionError, match="f cannot be pickled: "):
        draft_function(lambda: lock, "f")


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (3, "as a callable or as source text, not int"),
        (lambda: 0, "a lambda has no name"),
        (functools.partial(len), "partial object has no name"),
    ],
)
def test_what_is_no_function_or_has_no_name_is_refused(function, says):
    with pytest.raises(OptionError, match=says):
        draft_function(function)


# -- fixes for names ----------------------------------------------------------------------------------------


def test_an_object_is_proposed_from_the_outermost_package_that_offers_it():
    from email.message import Message
    from json import JSONDecoder

    look = look_in({"D": JSONDecoder, "M": Message, "pool": wpc, "f": lambda: 0})
    assert look("D") == Fix("dependency_from", "D", module="json", export="JSONDecoder")
    assert look("M") == Fix("dependency_from", "M", module="email.message", export="Message")
    assert [look(name).kind for name in ("pool", "f")] == ["pool", "constant"]


# -- tracebacks -------------------------------------------------------------------------------------------


def failing() -> Exception:
    [draft] = draft_cell("def f(x):\n    y = x\n    return y / 0  # here\n")
    try:
        run(draft, 1)
    except ZeroDivisionError as error:
        return error
    raise AssertionError


def test_a_traceback_shows_the_line_of_the_cell():
    text = "".join(traceback.format_exception(failing()))
    assert 'File "<ipython-wpc> f-' in text
    assert "line 3, in f\n    return y / 0  # here" in text


def test_ipythons_traceback_shows_the_line_of_the_cell():
    from IPython.core import ultratb

    error = failing()
    formatter = ultratb.VerboseTB(include_vars=False)
    text = formatter.text(type(error), error, error.__traceback__)
    text = re.sub("\x1b\\[[0-9;]*m", "", text)
    assert re.search(r"<ipython-wpc> f-\w+:3", text)
    assert re.search(r"----> 3 +return y / 0", text)


def test_inspect_finds_the_source_of_a_function_of_a_cell():
    [draft] = draft_cell("K = 1\n\ndef f(x):\n    return x\n")
    module, _ = load_cell(draft.cell, {})
    assert inspect.getsource(module.f) == draft.source
    assert draft_function(module.f).source == draft.source


# -- properties ---------------------------------------------------------------------------------------------

blank = st.text(" \t\n\r", max_size=5)


@given(st.lists(st.sampled_from(["x = 1", "    y", "", "# z"]), min_size=1), blank, blank)
def test_the_hash_does_not_depend_on_line_ends_or_on_white_space_around(lines, before, after):
    assert (
        sha1_of("\n".join(lines))
        == sha1_of("\r\n".join(lines))
        == sha1_of("\r".join(lines))
        == sha1_of(before + "\n".join(lines) + after)
    )
