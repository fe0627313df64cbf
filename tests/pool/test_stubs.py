"""The types of functions as a stub: what its text says of each kind of function."""

from __future__ import annotations

import ast
import dataclasses
import functools
import math
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from tests.pool.stub_module import scaled
from wpc_magic.pool import CallOptions, WorkerProcedureCall
from wpc_magic.pool.keywords import CallKeywords, MapKeywords
from wpc_magic.pool.maps.mapping import Maps
from wpc_magic.pool.procedures import Procedure

HEAD = "from __future__ import annotations\n"  # so that no name in an annotation has to be there

Stub = Callable[..., dict[str, str]]


@pytest.fixture
def stub(pool: WorkerProcedureCall) -> Stub:
    """Define cells; return the statements of the stub by name, and methods as ``function.method``."""

    def read(*cells: str, module: str | None = "pipeline") -> dict[str, str]:
        for cell in cells:
            pool.define_worker_functions(HEAD + textwrap.dedent(cell))
        found: dict[str, str] = {}
        for node in ast.parse(pool.export_stub(module)).body:
            name = getattr(node, "name", ast.unparse(node))
            found[name] = ast.unparse(node)
            if name.startswith("_call_"):
                for method in getattr(node, "body", ()):
                    kind = method.name if not method.decorator_list else f"{method.name}()"
                    text = ast.unparse(method).removeprefix("@overload\n").replace("\n    ...", "")
                    found.setdefault(f"{name.removeprefix('_call_')}.{kind}", text)
        return found

    return read


@pytest.fixture
def pool() -> WorkerProcedureCall:
    return WorkerProcedureCall()


def test_annotations_are_taken_over_and_what_has_none_is_any(stub: Stub) -> None:
    found = stub("def f(n: int, scale: float = 1.5, *rest: str, flag=False, **more: int) -> list[int]: pass")
    taken = "n: Argument[int], scale: Argument[float]=1.5, *rest: Argument[str], flag: Any=False, **more: "
    assert found["f.__call__"] == f"def __call__(self, /, {taken}Argument[int]) -> CallFuture[list[int]]:"
    assert found["f.remote"] == f"def remote(self, /, {taken}Argument[int]) -> CallFuture[list[int]]:"
    assert found["f.local"].startswith(
        "def local(self, /, n: int, scale: float=1.5, *rest: str, flag: Any=Fal"
    )
    assert "f: _call_f" in found["_Calls"]
    found = stub("def g(a, /, b=None): return a")
    assert found["g.__call__"] == "def __call__(self, a: Any, /, b: Any=None) -> CallFuture[Any]:"


def test_coroutines_give_futures_and_what_yields_gives_streams(stub: Stub) -> None:
    found = stub(
        """
        from typing import AsyncIterator, Generator, Iterator
        async def fetch(url: str) -> bytes: return b""
        def numbers(n: int) -> Iterator[int]: yield n
        def sent(n: int) -> "Generator[str, None, int]": yield ""
        async def lines(url: str) -> AsyncIterator[bytes]: yield b""
        def plain(n): yield n
        """
    )
    assert found["fetch.__call__"].endswith("(self, /, url: Argument[str]) -> CallFuture[bytes]:")
    assert found["fetch.local"].endswith(" -> Coroutine[Any, Any, bytes]:")
    assert found["numbers.__call__"] == "def __call__(self, /, n: Argument[int]) -> ResultStream[int]:"
    assert found["numbers.local"] == "def local(self, /, n: int) -> Iterator[int]:"
    assert found["numbers.map()"].endswith(" -> MapResults[list[int]]:")
    assert found["sent.__call__"].endswith(" -> ResultStream[str]:")
    assert found["lines.__call__"].endswith(" -> ResultStream[bytes]:")
    assert found["plain.__call__"].endswith(" -> ResultStream[Any]:")
    assert not {name for name in found if name.endswith(".remote")} - {"fetch.remote"}
    assert "from collections.abc import AsyncIterator, Coroutine, Generator, Iterable, Iterator" in found


def test_a_default_that_is_none_is_one_of_the_values(stub: Stub) -> None:
    found = stub("def f(a: int = None, b: int | None = None, c: 'list[int]' = (), d: int = int(3)): pass")
    assert "a: int | None=None, b: int | None=None, c: list[int]=..., d: int=..." in found["f.local"]


def test_maps_go_over_positional_arguments_and_have_the_others_as_keywords(stub: Stub) -> None:
    found = stub("def f(x: int, y: float, *, key: str, ordered: bool = True) -> str: pass")
    # `ordered` is an option of maps, and so none of the function's keywords.
    options = "on_error: Literal['raise', 'skip']=..., **options: Unpack[MapKeywords]"
    keywords = f"y: Argument[float]=..., key: Argument[str]=..., {options}) -> MapResults[str]:"
    each = "each_x: Iterable[Argument[int]], each_y: Iterable[Argument[float]]=..."
    assert found["f.map()"] == f"def map(self, {each}, /, *, {keywords}"
    items = "Iterable[tuple[Argument[int]] | tuple[Argument[int], Argument[float]]]"
    assert found["f.starmap()"] == f"def starmap(self, /, items: {items}, *, {keywords}"
    assert (
        "on_error: Literal['return'], **options: Unpack[MapKeywords]) -> MapResults[str | BaseException]"
        in (found["_call_f"])
    )


def test_what_a_map_cannot_go_over_has_no_map(stub: Stub) -> None:
    found = stub("def f(*, key: int) -> int: pass\ndef g(*rest: int) -> int: pass\ndef h(self): pass")
    assert "f.map()" not in found
    assert found["g.map()"].startswith("def map(self, /, *each: Iterable[Argument[int]], on_error: ")
    assert found["g.starmap()"].startswith("def starmap(self, /, items: Iterable[Iterable[Any]], *, ")
    assert found["h.__call__"] == "def __call__(self_, /, self: Any) -> CallFuture[Any]:"


def test_imports_of_the_cell_of_the_setup_and_of_dependencies_are_taken_over(
    stub: Stub, pool: WorkerProcedureCall
) -> None:
    pool.define_worker_dependency(alias="np", module_specifier="numpy")
    pool.define_worker_dependency(alias="Amount", module_specifier="decimal", export_name="Decimal")
    pool.define_worker_setup("import datetime as dt\nLIMIT = 3")
    found = stub(
        """
        import os.path
        from fractions import Fraction as Part, Unused
        def f(a: np.ndarray, b: Amount, c: dt.date, d: os.PathLike, e: Part) -> LIMIT: pass
        """
    )
    assert "a: np.ndarray, b: Amount, c: dt.date, d: os.PathLike, e: Part) -> Any" in found["f.local"]
    for line in (
        "import numpy as np",
        "from decimal import Decimal as Amount",
        "import datetime as dt",
        "import os.path",
        "from fractions import Fraction as Part",
    ):
        assert line in found
    assert not [name for name in found if "Unused" in name]


def test_a_name_that_is_no_type_or_not_known_is_any(stub: Stub, pool: WorkerProcedureCall) -> None:
    pool.define_worker_constant(name="TABLE", value=3)
    found = stub(
        """
        SIZE = 3
        def helper(): pass
        def f(a: SIZE, b: list[Nope], c: TABLE, d: helper, e: "not a type!", g: make(3)) -> nope.A[int]: pass
        """
    )
    taken = "a: Any, b: list[Any], c: Any, d: Any, e: Any, g: Any) -> Any:"
    assert found["f.local"] == f"def local(self, /, {taken}"


def test_classes_and_aliases_of_the_cell_are_taken_over_without_their_code(stub: Stub) -> None:
    found = stub(
        '''
        import enum
        from dataclasses import dataclass, field
        from typing import TypeVar, Annotated, Literal
        T = TypeVar("T")
        Rows = list["Row"]
        class Kind(enum.Enum):
            A = 1
        @dataclass
        class Row:
            """Documented."""
            kind: Kind = Kind.A
            tags: list[str] = field(default_factory=list)
            def next(self, by=1) -> "Row":
                self.seen: int = 1
                return self
        def made_by_something(method): return method
        class Model:
            @property
            def half(self) -> float: return self.rate / 2
            def __init__(self, rate: float, table): self.table = table; self.by = self.rate = rate
            @made_by_something
            def other(self): pass
        def f(rows: Rows, model: Model, kind: Annotated[Kind, helper()], how: Literal["Row"]) -> Row: pass
        def first(xs: list[T]) -> T: return xs[0]
        '''
    )
    assert "rows: Rows, model: Model, kind: Kind, how: Literal['Row']) -> Row" in found["f.local"]
    assert "Rows = list['Row']" in found
    assert found["Kind"] == "class Kind(enum.Enum):\n    A = 1"
    assert found["Row"] == (
        "@dataclass\nclass Row:\n    kind: Kind = ...\n    tags: list[str] = field(default_factory=list)\n\n"
        "    def next(self, by: Any=...) -> Row:\n        ...\n\n"
        "    @property\n    def seen(self) -> int:\n        ..."  # no field of the dataclass
    )
    assert "    table: Any\n    by: float\n    rate: float" in found["Model"]
    assert "def half(self) -> float:" in found["Model"]
    assert "other: Any" in found["Model"]
    assert "T = TypeVar('T')" in found
    assert found["first.__call__"].endswith("xs: Argument[list[T]]) -> CallFuture[T]:")


def test_a_class_that_an_unknown_decorator_or_base_has_made_is_any(stub: Stub) -> None:
    found = stub(
        """
        def register(kind): return kind
        @register
        class One: pass
        class Two(One): pass
        def f(a: One, b: Two) -> None: pass
        """
    )
    assert found["f.local"] == "def local(self, /, a: Any, b: Any) -> None:"


def test_a_name_that_two_cells_mean_differently_is_any_in_the_second(stub: Stub) -> None:
    found = stub(
        "class Row:\n    a: int\ndef f(row: Row): pass",
        "class Row:\n    b: int\ndef g(row: Row): pass",
        "from typing import NamedTuple as Pool\nclass Argument: pass\ndef h(a: Argument, b: list[int]): pass",
    )
    assert found["Row"] == "class Row:\n    a: int"
    assert "(self, /, row: Row)" in found["f.local"]
    assert "(self, /, row: Any)" in found["g.local"]
    assert "(self, /, a: Any, b: list[int])" in found["h.local"]


def test_what_a_decorated_or_replaced_function_takes_is_not_known(stub: Stub) -> None:
    found = stub(
        """
        import functools
        def twice(function): return function
        @twice
        def f(n: int) -> int: return n
        @functools.lru_cache(8)
        def g(n: int) -> int: return n
        def h(n: int) -> int: return n
        h = twice(h)
        """
    )
    assert {"f: Procedure", "g: _call_g", "h: Procedure"} <= set(map(str.strip, found["_Calls"].splitlines()))


def test_functions_of_modules_and_without_source(stub: Stub, pool: WorkerProcedureCall) -> None:
    pool.define_worker_function(worker_func=scaled)
    pool.define_worker_function(worker_func=math.sqrt, name="root")
    pool.define_worker_function(worker_func=functools.partial(max, 3), name="at_least_three")
    pool.define_worker_function(worker_func=lambda x: x, name="same")
    pool.define_worker_function(worker_func="def original(x: int) -> int: return 2 * x", name="renamed")
    found = stub()
    taken = "by: Argument[Fraction], table: Argument[Table | None]=None"
    assert found["scaled.__call__"].startswith(f"def __call__(self, /, {taken}) -> CallFuture[Fraction]:")
    assert '"""Return it scaled."""' in found["scaled.__call__"]
    assert "from tests.pool.stub_module import Fraction, Table" in found
    assert {"root: Procedure", "at_least_three: Procedure", "same: Procedure"} <= set(
        map(str.strip, found["_Calls"].splitlines())
    )
    assert found["renamed.__call__"].endswith("x: Argument[int]) -> CallFuture[int]:")


def test_a_stub_of_a_notebook_has_wpc_and_one_of_a_module_what_the_module_has(
    stub: Stub, pool: WorkerProcedureCall
) -> None:
    assert {"wpc: Pool"} <= stub(module=None).keys()
    module: dict[str, Any] = {}
    exec(pool.export(), module)
    assert {"Pool", "build_pool", "define"} <= stub().keys() & module.keys()
    assert module["Pool"] is WorkerProcedureCall


def test_the_keywords_are_the_options_that_there_are() -> None:
    fields = {field.name for field in dataclasses.fields(CallOptions)}
    assert set(CallKeywords.__annotations__) == fields
    how = set(Maps.map.__kwdefaults__) - {"on_error"}
    assert set(MapKeywords.__annotations__) == fields - {"keep"} | how | {"chunksize"}


def test_a_procedure_has_the_methods_that_a_stub_names() -> None:
    assert {"__call__", "remote", "local", "map", "starmap", "options"} <= vars(Procedure).keys()
