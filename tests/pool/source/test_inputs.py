"""What a cell reads while it is loaded, as the analysis finds it."""

from textwrap import dedent

import pytest

from wpc_magic.pool.source.cell import analyse

KNOWN = ("K", "L", "M", "Price", "scale")


def inputs(source: str, known=KNOWN, **options) -> tuple[str, ...]:
    return analyse(dedent(source), known=known, **options).inputs


def reads_any_value(source: str) -> bool:
    return analyse(source, known=["A", "K", "L", "np"]).reads_any_value


READS = {
    "the top level": "TABLE = [K]\ndef f(): return TABLE, L",
    "a default": "def f(x, k=K): return x * k + L",
    "a default of a keyword": "def f(*, k=K): return k + L",
    "a class body": "class Table:\n    first = K\n    def last(self): return L\ndef f(): return Table",
    "a default of a method": "class Table:\n    def first(self, k=K): return L\ndef f(): return Table()",
    "a helper of the top level": "def _build(): return K\nTABLE = _build()\ndef f(): return TABLE, L",
    "a lambda": "g = lambda: K\ndef f(): return g() + L",
    "a comprehension": "TABLE = [i for i in ABC if i == K]\nABC = 1\ndef f(): return L",
    "a lookup": "TABLE = wpc_constant('K')\ndef f(): return wpc_constant('L')",
    "a lookup by keyword": "TABLE = wpc_constant(name='K')\ndef f(): return wpc_constant('L')",
    "an attribute of the context": "TABLE = context.constants.K\ndef f(): return context.constants.L",
    "a lookup that may fail": "try: X = wpc_constant('K')\nexcept LookupError: X = 0\ndef f(): return L",
    "a name that may be missing": "try: X = K\nexcept NameError: X = 0\ndef f(): return L",
    "a condition": "if K: import json\ndef f(): return L",
    "an augmented class name": "class Table:\n    K = K\ndef f(): return Table, L",
    "a base class's keyword": "class Table(Base, size=K): pass\nclass Base: pass\ndef f(): return L",
}


@pytest.mark.parametrize("source", READS.values(), ids=READS)
def test_what_runs_with_the_module_is_an_input_and_what_runs_later_is_not(source):
    found = inputs(source)
    assert "K" in found
    assert "L" not in found


def test_builtins_are_inputs_since_the_registry_may_give_them_later():
    assert inputs("N = len('')\ndef f(): return max(N)") == ("len",)


def test_what_the_cell_binds_itself_is_no_input():
    assert (
        inputs("import math\nK = math.pi\nTABLE = [K]\ndef g(): return TABLE\nX = g()\ndef f(): return X")
        == ()
    )


def test_a_name_that_is_deleted_at_the_end_is_an_input():
    assert "K" in inputs(
        "K = 1\nclass T:\n    def __class_getitem__(cls, i): return K\nX = T[0]\ndel K\ndef f(): return X"
    )


def test_what_the_pool_gives_to_every_cell_is_no_input_but_may_give_any_value():
    source = "X = (__name__, context, wpc_import, wpc_constant)\ndef f(): return X"
    assert inputs(source) == ()
    assert reads_any_value(source)


# -- decorators -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "decorator", ["numba.njit", "numba.njit(cache=True)", "cache", "lru_cache(maxsize=L)"]
)
def test_what_a_decorated_function_reads_is_an_input_with_all_that_it_reaches(decorator):
    cell = f"""
        import numba
        from functools import cache, lru_cache

        @{decorator}
        def f(x): return x * K + _inner()
        def _inner(): return wpc_constant("M")
        def other(): return scale
    """
    assert {"K", "M"} <= set(inputs(cell)) <= {"K", "L", "M"}


def test_a_registered_function_that_a_decorated_one_calls_is_an_input_also_one_of_the_cell():
    cell = "from numba import njit\n@njit\ndef f(x): return g(x) + scale(x)\n@njit\ndef g(x): return x\n"
    assert inputs(cell) == ("g", "scale")


@pytest.mark.parametrize(
    "decorator", ["property", "staticmethod", "classmethod", "x.setter", "abc.abstractmethod"]
)
def test_under_a_plain_decorator_a_method_reads_what_is_there_when_it_is_called(decorator):
    cell = f"""
        import abc
        class Table:
            x = property()
            @{decorator}
            def y(self): return K
        def f(): return Table
    """
    assert "K" not in inputs(cell)


def test_of_a_class_only_the_decorated_methods_count():
    cell = """
        import functools
        class Table:
            @staticmethod
            @functools.cache
            def first(): return K
            def second(self): return L
        def f(): return Table
    """
    assert set(inputs(cell)) & set(KNOWN) == {"K"}


def test_a_compiled_class_has_all_its_methods_fixed_and_a_dataclass_none():
    methods = "class Table:\n    def first(self): return K\ndef f(): return Table"
    assert "K" in inputs(f"from numba.experimental import jitclass\n@jitclass()\n{methods}")
    assert "K" not in inputs(f"import dataclasses\n@dataclasses.dataclass(frozen=True)\n{methods}")


def test_a_function_that_is_decorated_inside_another_one_is_so_when_that_runs():
    cell = "from functools import cache\ndef f():\n    @cache\n    def g(): return K\n    return g()"
    assert inputs(cell) == ()


# -- annotations ----------------------------------------------------------------------------------------

ANNOTATED = {
    "a field": "class Item:\n    price: Price\ndef f(): return Item",
    "a parameter": "def f(price: Price): return 0",
    "a result": "def f() -> list[Price]: return 0",
    "a parameter of a method": "class Item:\n    def cost(self, p: Price): return 0\ndef f(): return Item",
    "a variable": "price: Price\ndef f(): return 0",
    "a text": "class Item:\n    price: 'Price'\ndef f(): return Item",
}


@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"], ids=["eager", "lazy"])
@pytest.mark.parametrize("cell", ANNOTATED.values(), ids=ANNOTATED)
def test_a_name_in_an_annotation_is_an_input_since_libraries_evaluate_them(cell, future):
    assert "Price" in inputs(future + cell)


def test_an_unknown_name_in_a_lazy_annotation_is_no_error():
    cell = """
        from __future__ import annotations
        class Item:
            price: Unheard
        def f(item: Item) -> Unseen: return 0
    """
    assert {"Unheard", "Unseen"} <= set(inputs(cell))


def test_a_class_that_is_named_in_an_annotation_does_not_run():
    cell = "class Item:\n    def cost(self): return K\ndef f(item: Item) -> Item: return item"
    assert inputs(cell) == ()


def test_an_annotation_inside_a_function_is_never_evaluated():
    assert inputs("def f():\n    price: Price = 1\n    return price") == ()


# -- texts ----------------------------------------------------------------------------------------------

TEXTS = {
    "eval": "TABLE = eval('K * 10')\ndef f(): return TABLE",
    "a query": "import pandas as pd\nTABLE = pd.DataFrame().query('x > @K')\ndef f(): return TABLE",
    "SQL": "import duckdb\nTABLE = duckdb.sql('SELECT sum(x) FROM K')\ndef f(): return TABLE",
    "globals": "TABLE = globals()['K']\ndef f(): return TABLE",
    "a formatted text": "TABLE = eval(f'K * {10}')\ndef f(): return TABLE",
    "a helper's text": "def _build(): return eval('K')\nTABLE = _build()\ndef f(): return TABLE",
    "a helper named in a text": "def _build(): return K\nTABLE = eval('_build()')\ndef f(): return TABLE",
}


@pytest.mark.parametrize("cell", TEXTS.values(), ids=TEXTS)
def test_a_word_of_a_text_that_is_there_when_the_cell_is_loaded_is_an_input(cell):
    assert "K" in inputs(cell)


def test_docstrings_comments_and_texts_of_functions_are_not_read_when_the_cell_is_loaded():
    cell = """
        'About K.'
        # K
        class Table:
            "Has K."
            def first(self):
                "Of K."
        def f():
            "Uses K."
            return eval("K"), Table
    """
    assert inputs(cell) == ()


def test_words_of_data_are_no_names():
    assert inputs(f"DATA = {'K ' * 20_000!r}\ndef f(): return DATA") == ()


COMPUTES = {
    "a lookup": "name = 'K'.upper()\nTABLE = wpc_constant(name)\ndef f(): return TABLE",
    "an import": "MODULE = wpc_import(''.join('np'))\ndef f(): return MODULE",
    "a key of the context": "TABLE = context.constants[''.join('K')]\ndef f(): return TABLE",
    "all of the context": "ALL = dict(context.constants)\ndef f(): return ALL",
    "another name of the context": "c = context\nTABLE = c.constants.K\ndef f(): return TABLE",
    "globals": "TABLE = globals()[''.join('K')]\ndef f(): return TABLE",
    "eval": "TABLE = eval(''.join('K'))\ndef f(): return TABLE",
    "a helper": "def _get(name): return wpc_constant(name)\nTABLE = _get('K')\ndef f(): return TABLE",
    "beside one that is spelled out": "A = wpc_constant('A')\nB = wpc_constant(A)\ndef f(): return B",
}


@pytest.mark.parametrize("source", COMPUTES.values(), ids=COMPUTES)
def test_where_a_name_is_computed_every_value_is_an_input(source):
    assert reads_any_value(source)


def test_where_it_is_spelled_out_or_looked_up_later_it_is_not():
    assert not reads_any_value("A = wpc_constant('K'), context.constants.L\ndef f(n): return wpc_constant(n)")
