"""What the analysis of a cell finds, and what it rejects."""

import ast
import dis
import sys
import sysconfig
from pathlib import Path
from textwrap import dedent
from types import CodeType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wpc_magic.magics.fixes import magic_line
from wpc_magic.pool.errors import DefinitionError, DefinitionSyntaxError, OptionError, UnknownNameError
from wpc_magic.pool.source.cell import Analysis, Fix, analyse, looked_up_names, python_line
from wpc_magic.pool.source.names import read_names


def read(source: str, *names: str, **options) -> Analysis:
    return analyse(dedent(source), names or None, **options)


def needs(source: str, *names: str, **options) -> dict[str, tuple[str, ...]]:
    return {function.name: function.needs for function in read(source, *names, **options).functions}


def unknown(source: str, *names: str, **options) -> tuple[str, ...]:
    """Return the names that are refused; none if the cell is accepted."""
    try:
        read(source, *names, **options)
    except UnknownNameError as error:
        return error.names
    return ()


def complaint(source: str, **options) -> str:
    with pytest.raises(UnknownNameError) as caught:
        read(source, describe_fix=magic_line, **options)
    return str(caught.value)


# -- the functions of a cell ----------------------------------------------------------------------------


def test_every_public_top_level_function_is_found_in_the_order_of_lines():
    cell = """
        def b(): pass
        def _helper(): pass
        async def a(): pass
        class C:
            def method(self): pass
        g = lambda: 0
    """
    assert [f.name for f in read(cell).functions] == ["b", "a"]


def test_named_functions_alone_are_taken_also_private_ones():
    cell = "def a(): pass\ndef b(): pass\ndef _c(): pass"
    assert [f.name for f in read(cell, "_c", "a").functions] == ["a", "_c"]


def test_a_function_tells_its_parameters_and_the_first_line_of_its_docstring():
    cell = '''
        def f(n, /, scale=1.0, *rest, key: int = 2, **more) -> float:
            """Do it.

            More of it.
            """
    '''
    [function] = read(cell).functions
    assert function.signature == "(n, /, scale=1.0, *rest, key: int=2, **more)"
    assert function.doc == "Do it."


def test_coroutines_and_generators_are_told_apart():
    cell = """
        async def a(): pass
        def g(): yield 1
        def plain():
            def inner(): yield 1
            return inner, (lambda: (yield))
        async def both(): yield 1
    """
    kinds = {f.name: (f.is_async, f.is_generator) for f in read(cell).functions}
    assert kinds == {
        "a": (True, False),
        "g": (False, True),
        "plain": (False, False),
        "both": (True, True),
    }


def test_the_last_of_two_functions_with_one_name_wins_as_in_python():
    [function] = read("def f(a): return np\ndef f(b): return pd", known=["pd"]).functions
    assert (function.signature, function.needs) == ("(b)", ("pd",))


def test_what_an_earlier_function_of_that_name_reads_counts_where_a_decorator_kept_it():
    assert unknown("def keep(f): return f\n@keep\ndef f(): return np\ndef f(): pass") == ("np",)


def test_the_lines_of_a_function_include_its_decorators():
    [function] = read("import functools\n\n@functools.cache\ndef f():\n    return 1\n\nK = 1").functions
    assert (function.first_line, function.last_line) == (3, 5)


def test_functions_for_scripts_and_type_checkers_are_not_found():
    cell = """
        def f(): pass
        if __name__ == "__main__":
            def main(): return unknown_name
            main()
    """
    assert [f.name for f in read(cell).functions] == ["f"]


@pytest.mark.parametrize(("cell", "says"), [("x = 1", "no function"), ("def _f(): pass", "'_f' begins with")])
def test_a_cell_without_a_public_function_is_refused(cell, says):
    with pytest.raises(DefinitionError, match=says):
        read(cell)


def test_a_named_function_that_is_not_there_is_refused_with_the_nearest_name():
    with pytest.raises(DefinitionError, match=r"no function 'simulat'\. Did you mean 'simulate'\?"):
        read("def simulate(): pass", "simulat")


def test_a_name_that_is_not_made_with_def_is_refused():
    with pytest.raises(DefinitionError, match="not made with def"):
        read("f = lambda: 0\ndef g(): pass", "f")


@pytest.mark.parametrize("name", ["context", "wpc_import"])
def test_a_function_cannot_take_a_name_that_the_pool_keeps(name):
    with pytest.raises(OptionError, match="kept for the pool"):
        read(f"def {name}(): pass")


def test_renaming_takes_the_function_of_that_name_or_the_only_one():
    assert [f.name for f in read("def f(): pass", rename="other").functions] == ["f"]
    assert [f.name for f in read("def f(): pass\ndef g(): return f()", rename="g").functions] == ["g"]
    assert [f.name for f in read("def _f(): pass", rename="g").functions] == ["_f"]
    with pytest.raises(DefinitionError, match=r"several functions \(f, g\)"):
        read("def f(): pass\ndef g(): pass", rename="h")
    with pytest.raises(OptionError, match="not a Python name"):
        read("def f(): pass", rename="not a name")


# -- needs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "wpc_import('a')",
        "wpc_import(alias='a')",
        "wpc_constant('a')",
        "wpc_constant(name='a')",
        "context.dependencies.a.b()",
        "context.constants.a",
        "context.dependencies['a']",
        "(lambda: wpc_import('a'))()",
        "[wpc_constant('a') for _ in range(3)]",
    ],
)
def test_what_is_asked_for_by_name_is_needed_and_may_come_later(body):
    analysis = read(f"def f(): return {body}")
    [function] = analysis.functions
    assert (function.needs, function.explicit, analysis.needs) == (("a",), ("a",), ())


@pytest.mark.parametrize(
    "source",
    [
        "def f(x): return wpc_import(x)",
        "def f(x): return wpc_import('a' + x)",
        "def f(x): return context.dependencies[x]",
        "def f(): return list(context.constants.keys()), context.constants.get('a')",
        "def f(context): return context.constants.a",
        "def wpc_imports(x): return x\ndef f(): return wpc_imports('a')",
        "def f(): # wpc_import('a')\n    return \"wpc_import('a')\"",
        "def f():\n    try:\n        return wpc_import('a')\n    except LookupError:\n        return None",
    ],
)
def test_what_is_computed_or_only_looks_like_it_or_may_be_missing_is_not_needed(source):
    assert needs(source, "f") == {"f": ()}


def test_looking_up_at_the_top_of_a_cell_needs_the_definition_to_be_there():
    cell = "a = wpc_import('later')\ndef f(): return a"
    assert "looks up 'later' (line 1) already while it is defined" in complaint(cell)
    assert needs(cell, known=["later"]) == {"f": ("later",)}


def test_plain_names_are_needed_from_the_registry_and_given_to_the_module():
    analysis = read("def f(x): return np.mean(x) + SEED + clean(x)", known=["np", "SEED", "clean", "rest"])
    assert analysis.functions[0].needs == analysis.needs == ("SEED", "clean", "np")
    assert analysis.functions[0].explicit == ()


def test_each_function_needs_what_it_reaches_through_helpers_and_no_more():
    cell = """
        def _deep(x): return np.sqrt(x)
        def _helper(x): return _deep(x)
        class Box:
            def open(self): return pd
        def a(x): return _helper(x)
        def b(): return Box().open()
        def c(): return SEED
    """
    known = ["np", "pd", "SEED"]
    assert needs(cell, known=known) == {"a": ("np",), "b": ("pd",), "c": ("SEED",)}
    assert read(cell, known=known).needs == ("SEED", "np", "pd")


def test_what_the_cell_reads_while_it_runs_every_function_needs():
    cell = """
        TABLE = np.arange(3)
        def a(): pass
        def b(x=SEED): pass
        @wrap
        def c(): pass
        class D(Base): pass
    """
    known = ["np", "SEED", "wrap", "Base"]
    assert set(needs(cell, known=known).values()) == {("Base", "SEED", "np", "wrap")}


def test_registered_functions_of_one_cell_need_each_other_and_not_each_others_needs():
    cell = "def clean(x): return np.abs(x)\ndef process(x): return clean(x)"
    analysis = read(cell, known=["np"])
    assert {f.name: f.needs for f in analysis.functions} == {"clean": ("np",), "process": ("clean",)}
    assert analysis.needs == ("clean", "np")
    helper = read(cell, "process", known=["np"])
    assert (helper.functions[0].needs, helper.needs) == (("np",), ("np",))


def test_a_function_that_calls_itself_does_not_wait_for_itself():
    assert needs("def fact(n): return n and n * fact(n - 1)") == {"fact": ()}


def test_the_cells_own_name_hides_a_registered_one():
    assert needs("def clean(x): return x\ndef f(x): return clean(x)", "f", known=["clean"]) == {"f": ()}
    assert read("import numpy as np\ndef f(): return np", known=["np"]).needs == ()


def test_a_registered_name_hides_a_builtin():
    assert needs("def f(): return filter", known=["filter"]) == {"f": ("filter",)}
    assert needs("def f(): return filter") == {"f": ()}


def test_the_names_of_a_class_are_its_own_from_the_line_that_binds_them():
    cell = "class A:\n    x = 1\n    y = x\n    SEED = SEED\ndef f(): return A"
    assert read(cell, known=["SEED", "x"]).needs == ("SEED",)


def test_a_name_in_a_helper_that_no_registered_function_reaches_is_no_error():
    assert unknown("def f(): pass\ndef _plot(): plt.show()") == ()
    assert unknown("def f(): pass\ndef g(): return df", "f") == ()


# -- scopes ----------------------------------------------------------------------------------------------

KNOWN_EVERYWHERE = [
    "import numpy as np\ndef f(): return np",
    "import os.path\ndef f(): return os",
    "from math import sqrt as root\ndef f(): return root(2)",
    "from math import *\ndef f(): return sqrt(2)",
    "def f(a, *b, c=1, **d): return a, b, c, d, __name__, __doc__, print",
    "def f():\n    x = 1\n    def g():\n        nonlocal x\n        x += 1\n        return x\n    return g",
    "def f(xs): return [y for x in xs if x for y in x], {k: v for k, v in xs}, {x for x in xs}",
    "def f(xs): return (lambda x, *y: (x, y))(1), [last := x for x in xs], last",
    "def f():\n    class A:\n        x = 1\n        y = x\n        def m(self): __class__\n    return A",
    "def f():\n    global K\n    K = 1\n    return K\ndef g(): return K",
    "def f():\n    try:\n        pass\n    except ValueError as error:\n        return error",
    "def f(x):\n    match x:\n        case [a, *b] | {'k': a, **b}:\n            return a, b",
    "def f(x):\n    match x:\n        case str() as c:\n            return c",
    "def f(x):\n    with x as (a, b):\n        del a\n        return b",
    "def f(x):\n    for i, (j, k) in x: pass\n    return i, j, k",
    "if input:\n    A = 1\nelse:\n    B = 2\ndef f(): return A, B",
    "from __future__ import annotations\ndef f(x: pd.DataFrame) -> np.ndarray: pass",
    "def f(x: 'pd.DataFrame'):\n    y: np.ndarray = x\n    return y",
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    np.x\ndef f(): pass",
    "def f():\n    try:\n        return np\n    except NameError:\n        return None",
    "def f():\n    if 'np' in globals():\n        return np",
    "tmp = 1\nK = tmp + 1\ndel tmp\ndef f(): return K",
    "tmp = 1\ndef _set(): return tmp\nK = _set()\ndel tmp\ndef f(): return K",
    "import a.b\ntry:\n    import c\nexcept ImportError:\n    c = None\ndef f(): return a, c",
    "class A:\n    def m(self) -> 'A': return A()\ndef f(): return A().m()",
    "def f():\n    import re\n    return re",
    "x = y = 1\n(a, b), *c = [(1, 2)]\ndef f(): return x, y, a, b, c",
]


@pytest.mark.parametrize("source", KNOWN_EVERYWHERE)
def test_names_with_a_meaning_in_the_cell_are_no_errors(source):
    assert unknown(source) == ()


UNKNOWN_SOMEWHERE = [
    "def f(): return np",
    "def f(x=np): pass",
    "@np\ndef f(): pass",
    "class A(np): pass\ndef f(): pass",
    "class A:\n    y = [np for _ in range(2)]\ndef f(): return A",
    "class A:\n    np = 1\n    def m(self): return np\ndef f(): return A",
    "def f(): return [x for x in np]",
    "def f(): return [np for x in range(3)]",
    "def f(): return {np: 1}, {1: x for x in 'np'}",
    "def f(): return lambda x=np: x",
    "def f(): return lambda: (lambda: np)",
    "def f(): return f'{1:{np}}'",
    "def f():\n    def g():\n        return np\n    return g",
    "def f():\n    def g():\n        np = 1\n    return np",
    "def f():\n    [np for np in range(3)]\n    return np",
    "def f(x):\n    match x:\n        case np.Array(): pass",
    "def f(x):\n    try: pass\n    except np: pass",
    "def f():\n    try:\n        return np\n    except Exception: pass",
    "def f():\n    global np\n    np += 1",
    "def f():\n    global np\n    del np",
    "np: int\ndef f(): return np",
    "import np\ndel np\ndef f(): return np",
    "if __name__ == '__main__':\n    import np\ndef f(): return np",
    "if TYPE_CHECKING:\n    import np\nTYPE_CHECKING = False\ndef f(): return np",
    "x = np\ndef f(): pass",
    "x = lambda: np\ndef f(): pass",
    "np[0] = 1\ndef f(): pass",
    "def f():\n    np.x = 1",
    "async def f():\n    async with np: pass",
    "async def f():\n    return [x async for x in np]",
    "def f():\n    try:\n        (lambda: 0)()\n    except NameError:\n        return np",
]


@pytest.mark.parametrize("source", UNKNOWN_SOMEWHERE)
def test_a_name_without_a_meaning_is_found_wherever_it_hides(source):
    assert unknown(source) == ("np",)


@pytest.mark.parametrize(
    "source",
    [
        "def f(x: np): pass",
        "def f() -> np: pass",
        "class A:\n    x: np = 1\ndef f(): pass",
        "x: np\ndef f(): 0",
    ],
)
def test_a_name_in_an_annotation_counts_where_python_evaluates_it(source):
    assert unknown(source) == (() if sys.version_info >= (3, 14) else ("np",))
    assert unknown("from __future__ import annotations\n" + source) == ()


def test_type_parameters_are_names():
    if sys.version_info < (3, 12):
        with pytest.raises(DefinitionSyntaxError):
            read("def f[T](x: T): return np")
        return
    assert unknown("def f[T: Later](x: T) -> T: return x\nclass A[T](list[T]): pass\ntype B[T] = T | C") == ()
    assert unknown("def f[T](x: T): return np") == ("np",)


# -- messages --------------------------------------------------------------------------------------------


def test_an_unknown_name_is_told_with_its_line_and_the_line_to_type():
    assert complaint("def simulate(n):\n    # a comment\n    return np.ones(n)") == (
        "simulate uses 'np' (line 3), which the workers don't have. Type: %wpc_dep numpy as np"
    )


def test_all_unknown_names_are_told_at_once_each_with_its_first_line():
    cell = "def _h(): return pd\ndef f():\n    return np, _h(), np, SEED, clean"
    kinds = {"SEED": Fix("constant", "SEED"), "clean": Fix("function", "clean")}
    assert complaint(cell, look=kinds.get).splitlines() == [
        "_h uses 'pd' (line 1), which the workers don't have. Type: %wpc_dep pandas as pd",
        "f uses 'SEED' (line 3), which the workers don't have. Type: %wpc_const SEED",
        "f uses 'clean' (line 3), which the workers don't have. Type: wpc.function(clean)",
        "f uses 'np' (line 3), which the workers don't have. Type: %wpc_dep numpy as np",
    ]


def test_what_the_caller_has_under_a_name_decides_over_what_the_name_usually_means():
    look = {"np": Fix("dependency", "np", module="jax.numpy")}.get
    assert "Type: %wpc_dep jax.numpy as np" in complaint("def f(): return np", look=look)


def test_a_misspelt_name_is_told_the_nearest_one():
    assert "Did you mean 'SEED'?" in complaint("def f(): return SED", known=["SEED"])
    assert "Did you mean" not in complaint("def f(): prnt()")  # a builtin
    assert "Did you mean 'wpc_constant'?" in complaint("def f(): return wpc_constnt('K')")


def test_a_module_of_the_standard_library_is_proposed_by_name():
    assert "Type: %wpc_dep json" in complaint("def f(): return json.dumps(1)")


def test_a_name_without_any_clue_gets_advice_all_the_same():
    assert "Define it in the same cell" in complaint("def f(): return qqqqqq")


@pytest.mark.parametrize("name", ["wpc", "pool"])
def test_the_pool_inside_a_function_is_told_how_functions_call_each_other(name):
    text = complaint(f"def f(x): return {name}.call.g(x)", pool_name=name)
    assert f"Registered functions call each other by name: f(x), not {name}.call.f(x)." in text


def test_names_that_only_a_notebook_has_among_its_builtins_are_unknown():
    assert unknown("def f(): display(get_ipython())") == ("get_ipython",)
    assert "Only the notebook has IPython" in complaint("def f(): get_ipython()")


def test_a_captured_variable_is_told_to_become_an_argument():
    text = complaint("def f(): return x", captured=["x"], look={"x": Fix("constant", "x")}.get)
    assert text == (
        "f captures 'x' (line 1) from the function around it, which does not travel. "
        "Pass it as an argument, or make it a definition. Type: %wpc_const x"
    )


def test_lines_are_counted_from_where_the_text_begins():
    assert "(line 42)" in complaint("def f():\n    return np", first_line=41)


@pytest.mark.parametrize(
    ("fix", "line"),
    [
        (
            Fix("dependency", "np", module="numpy"),
            "wpc.define_worker_dependency(alias='np', module_specifier='numpy')",
        ),
        (
            Fix("dependency_from", "root", module="math", export="sqrt"),
            "wpc.define_worker_dependency(alias='root', module_specifier='math', export_name='sqrt')",
        ),
        (Fix("constant", "K"), "wpc.define_worker_constant(name='K', value=K)"),
        (Fix("function", "f"), "wpc.function(f)"),
        (Fix("unknown", "x", detail="Say it."), "Say it."),
    ],
)
def test_each_kind_of_fix_has_its_line_of_python(fix, line):
    assert python_line(fix) == line


# -- syntax ----------------------------------------------------------------------------------------------


def test_a_syntax_error_names_its_line_and_shows_it():
    with pytest.raises(DefinitionSyntaxError) as caught:
        read("def f():\n    return )")
    assert str(caught.value) == "line 2: unmatched ')'\n    return )"
    assert caught.value.line == 2


@pytest.mark.parametrize(
    "line",
    ["!ls", "%time f()", "files = !ls", "x = %pwd", "f?", "?f", "    %time 1", "np.mean??", "%%bash"],
)
def test_ipython_syntax_is_refused_by_name(line):
    with pytest.raises(DefinitionSyntaxError, match="this is IPython syntax") as caught:
        read("def f():\n    pass\n" + line)
    assert caught.value.line == 3


@pytest.mark.parametrize(
    "line", ["await f()", "x = [y async for y in f()]", "async with f(): pass", "if f:\n    await f()"]
)
def test_await_outside_of_a_function_is_refused_with_what_to_do(line):
    with pytest.raises(DefinitionSyntaxError, match="put it into an `async def`"):
        read("async def f():\n    pass\n" + line)


@pytest.mark.parametrize("source", ["return 1", "def f():\n    nonlocal x", "def f(a, a): pass", "break"])
def test_what_parses_but_does_not_compile_is_refused_too(source):
    with pytest.raises(DefinitionSyntaxError, match="line "):
        read(source)


def test_a_source_that_no_compiler_takes_is_refused_and_not_a_crash():
    for source in (
        "def f(): pass\0",
        "def f(): return '\ud800'",
        "(" * 5000,
        f"K = {'+'.join('1' * 900)}\ndef f(): pass",
    ):
        with pytest.raises(DefinitionSyntaxError):
            read(source)


# -- properties ------------------------------------------------------------------------------------------

plain_text = st.text(st.characters(codec="utf-8", exclude_characters="\\\"'\r\n\f\0{}"), max_size=40)
looks_like_use = st.sampled_from(["np.mean", "wpc_import('a')", 'wpc_constant("K")', "context.constants.K"])


@given(plain_text, looks_like_use, plain_text)
def test_comments_and_strings_never_count(before, use, after):
    text = f"{before} {use} {after}"
    cell = f"# {text}\ndef f(x):\n    # {text}\n    return {text!r}  # {text}\n"
    assert needs(cell) == {"f": ()}
    assert looked_up_names(cell) == ()


identifiers = st.from_regex(r"[a-z][a-z0-9]{5,8}", fullmatch=True).filter(lambda name: name[0] != "_")


@given(st.lists(identifiers, min_size=1, unique=True))
def test_each_name_that_a_function_reads_is_either_known_or_refused(names):
    cell = "def f_():\n    return 0" + "".join(f", name_{name}" for name in names)
    read_here = [f"name_{name}" for name in names]
    assert set(unknown(cell)) == set(read_here)
    assert needs(cell, known=read_here) == {"f_": tuple(sorted(read_here))}


def globals_by_bytecode(code: CodeType, is_module: bool = True) -> tuple[set[str], set[str]]:
    """Return the names that code certainly reads from its globals, and those that it may read."""
    steps = list(dis.get_instructions(code))
    loads = {step.argval for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    deletes = {step.argval for step in steps if step.opname in ("DELETE_GLOBAL", "DELETE_NAME")}
    of_class = {step.argval for step in steps if step.opname == "STORE_NAME" and not is_module}
    does, may = loads - of_class, loads | deletes
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            does_inside, may_inside = globals_by_bytecode(inner, False)
            does |= does_inside
            may |= may_inside
    return does, may


@pytest.mark.parametrize(
    "module", ["ast", "dataclasses", "enum", "inspect", "typing", "asyncio/base_events", "json/decoder"]
)
def test_the_names_found_are_those_that_python_itself_compiles_to_globals(module):
    tree = ast.parse(Path(sysconfig.get_path("stdlib"), f"{module}.py").read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if "__main__" not in ast.dump(node)]
    names = read_names(tree)
    found = {
        use.name for part in (names.top_level, names.evaluated, *names.parts.values()) for use in part.uses
    }
    found = {name for name in found if "__" not in name}  # without those that the compiler renames or adds
    does, may = globals_by_bytecode(compile(tree, module, "exec", dont_inherit=True))
    assert {name for name in does if "__" not in name} <= found <= may
