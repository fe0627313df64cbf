"""Every public method with invalid values of every kind: works or raises one clear error; the pool survives.

To add a method: a row in `METHODS`, with a valid value for each of its parameters; or, for one that only our
own modules call, in `OURS`, with the caller. An option of `PoolOptions` or `CallOptions` needs no row. A
value of a new kind: a row in `KINDS`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.pool.conftest import PATIENCE_S
from wpc_magic.pool import CallFuture, CallOptions, PoolOptions, ResultStream, WorkerProcedureCall
from wpc_magic.pool.checks import MAX_WHOLE
from wpc_magic.pool.errors import InstallError, OptionError, WpcError
from wpc_magic.pool.maps.results import MapResults
from wpc_magic.pool.procedures import Procedure, Procedures

LONGEST = 5_000  # characters of an error message at most

SOURCE = """
def echo(x=None):
    return x


def fails(x=None):
    raise ValueError("its own")


def yields(x=()):
    yield from x
"""


# -- invalid values -------------------------------------------------------------------------------------


class OwnError(Exception):
    """Raised by the code of a value."""


class Sly:
    """Raises from every special method."""

    def __refuse(self, *_: Any) -> Any:
        raise OwnError("do not ask me")

    __repr__ = __str__ = __bool__ = __len__ = __iter__ = __eq__ = __lt__ = __index__ = __float__ = __refuse
    __hash__ = None  # type: ignore[assignment]
    __reduce_ex__ = __refuse  # type: ignore[assignment]


class Text(str):
    """A string whose repr raises."""

    def __repr__(self) -> str:
        raise OwnError("do not ask me")


def _fails(_: int) -> None:
    raise OwnError("no item")


def _endless() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


KINDS: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "False": lambda: False,
    "zero": lambda: 0,
    "a negative number": lambda: -1,
    "a number that is right for nothing": lambda: MAX_WHOLE,
    "a number that no system takes": lambda: 10**30,
    "a number too long to be shown": lambda: 10**5000,
    "not a number": lambda: math.nan,
    "infinity": lambda: math.inf,
    "a tiny number": lambda: 5e-324,
    "a number of numpy's": lambda: np.int64(3),
    "a complex number": lambda: 1j,
    "an empty text": lambda: "",
    "a space": lambda: " ",
    "a digit": lambda: "1",
    "a keyword": lambda: "class",
    "a reserved name": lambda: "wpc_import",
    "a name in underscores": lambda: "__init__",
    "a private name": lambda: "_pool",
    "the name of a method": lambda: "map",
    "a name of another script": lambda: "größe",
    "a name that changes when it is normalised": lambda: "ﬁ",
    "a null byte": lambda: "a\0b",
    "half of a character": lambda: "\ud800",
    "a script": lambda: "<script>alert(1)</script>",
    "colours of a terminal": lambda: "\x1b[31mred",
    "a long text": lambda: "x" * 100_000,
    "a long source": lambda: "def f(): return (" + "(" * 500 + ")" * 500 + ")",
    "a source that does not parse": lambda: "def f(:",
    "a text that does not show itself": lambda: Text("theirs"),
    "bytes": lambda: b"echo",
    "an empty list": list,
    "a list that holds itself": _endless,
    "a large list": lambda: list(range(100_000)),
    "a dict": lambda: {1: 2},
    "a set": lambda: {1},
    "an object": lambda: object(),
    "an object that answers nothing": Sly,
    "a class": lambda: Sly,
    "a lambda": lambda: lambda: 0,
    "a builtin": lambda: len,
    "an error": lambda: ValueError("mine"),
    "an array": lambda: np.zeros((2, 2)),
    "a generator": lambda: (n for n in (1, 2)),
    "an iterator that fails": lambda: (_fails(n) for n in (1, 2)),
    "a file": lambda: os.devnull,
    "a module": lambda: os,
    "a coroutine function": lambda: _later,
}


async def _later() -> None: ...


# -- the table ------------------------------------------------------------------------------------------


class Bench:
    """The objects that the methods are called on."""

    def __init__(self) -> None:
        self.pool = WorkerProcedureCall(restart_base_delay_ms=1, restart_jitter_ms=0, stop_timeout_ms=10_000)
        self.pool.define_worker_functions(SOURCE)
        self.pool.define_worker_constant(name="CONSTANT", value=1)
        self.pool.define_worker_dependency(alias="module", module_specifier="math")
        self.pool.define_worker_resource("resource", list)
        self.pool.start_workers(1)
        self.options = self.pool.options

    def known(self) -> list[str]:
        """Return the names of the definitions."""
        pool = self.pool
        return [
            *(f"{info.name} {info.revision}" for info in pool.get_remote_functions()),
            *(f"{info.alias} {info.module_specifier}" for info in pool.get_worker_dependencies()),
            *(f"{info.name} {info.type_name}" for info in pool.get_worker_constants()),
            *(f"{info.name} {info.made_by}" for info in pool.get_worker_resources()),
            *(f"{info.name} {info.kind}" for info in pool.get_shared_objects()),
        ]

    def restore(self) -> None:
        """Restore the initial state."""
        pool = self.pool
        if not pool.is_running:
            pool.start_workers(1)
        if pool.worker_count != 1:
            pool.resize(1)
        pool.configure(**dataclasses.asdict(self.options))
        pool.output_sink = None
        for path, number in pool.event_logs.items():
            pool.off_worker_event(listener_id=number)
            if os.path.isfile(path):
                os.unlink(path)
        for info in pool.get_remote_functions():
            if info.name not in ("echo", "fails", "yields"):
                pool.undefine_worker_function(name=info.name)
        for alias in (info.alias for info in pool.get_worker_dependencies()):
            if alias != "module":
                pool.undefine_worker_dependency(alias=alias)
        for name in (info.name for info in pool.get_worker_constants()):
            if name != "CONSTANT":
                pool.undefine_worker_constant(name=name)
        for name in (info.name for info in pool.get_shared_objects()):
            pool.undefine_shared(name=name)
        if pool.get_worker_setup() is not None:
            pool.undefine_worker_setup()
        for name in (info.name for info in pool.get_worker_resources()):
            if name != "resource":
                pool.undefine_worker_resource(name=name)
        if len(pool.get_remote_functions()) != 3:
            pool.define_worker_functions(SOURCE)
        pool.define_worker_constant(name="CONSTANT", value=1)
        pool.define_worker_dependency(alias="module", module_specifier="math")
        pool.define_worker_resource("resource", list)
        pool.wait_until_ready()

    def probe(self) -> None:
        """Check that the pool works."""
        assert self.pool.call.echo(7).result(PATIENCE_S) == 7
        assert self.pool.snapshot().queued == 0


class Row(NamedTuple):
    """How one method is called.

    `args` and `named` have a valid value, or a callable of the bench that makes one, for each parameter;
    `rest` is what ``**`` stands for: the fields of options.
    """

    args: tuple[tuple[str, Any], ...] = ()
    named: tuple[tuple[str, Any], ...] = ()
    rest: type | None = None
    may_raise: tuple[type[BaseException], ...] = ()
    of: Callable[[Bench], Any] = lambda bench: bench.pool
    says: tuple[str, ...] = ()  # words that stand for a parameter in an error, besides its name


MAP_OPTIONS = (
    ("chunk_size", 1_000),
    ("ordered", True),
    ("on_error", "raise"),
    ("kwargs", lambda _: {}),
)
ENGINE_OPTIONS = (("client", None), ("address", None), ("scheduler_file", None), ("resources", None))
FUNCTION_OPTIONS = (
    ("timeout_ms", 60_000),
    ("queue_timeout_ms", 60_000),
    ("retries", 1),
    ("retry_on", "OSError"),
    ("at_most", 2),
    ("cache", False),
    ("resources", None),
)


def _ended(bench: Bench) -> CallFuture:
    future = bench.pool.call.echo(1)
    future.result()
    return future


def _failed(bench: Bench) -> BaseException | None:
    return bench.pool.call.fails().exception()


def _stream(bench: Bench) -> ResultStream:
    stream = bench.pool.call.yields([1])
    assert isinstance(stream, ResultStream)
    return stream


def _results(bench: Bench) -> MapResults:
    return bench.pool.map("echo", [1])


FUTURE_REFUSES = Row(of=_ended, may_raise=(RuntimeError,))

METHODS: dict[type, dict[str, Row]] = {
    WorkerProcedureCall: {
        "__init__": Row(
            named=(("name", "wpc"), ("engine", "local"), *ENGINE_OPTIONS),
            rest=PoolOptions,
            of=lambda _: WorkerProcedureCall,
            says=("engine",),
        ),
        "broadcast": Row(args=(("name", "echo"), ("x", 1)), says=("function",)),
        "calls_at_workers": Row(args=(("origin", None),)),
        "cancelled_count_of": Row(args=(("origin", None),)),
        "cancel_all": Row(args=(("origin", None),)),
        "cancel_call": Row(args=(("call_id", "call-1"),)),
        "clear_cached_results": Row(args=(("names", "echo"),), may_raise=(OptionError,), says=("stored",)),
        "configure": Row(rest=PoolOptions),
        "define_worker_constant": Row(named=(("name", "C"), ("value", 1))),
        "define_worker_dependency": Row(
            named=(
                ("alias", "a"),
                ("module_specifier", "datetime"),
                ("export_name", None),
                ("is_default_export", False),
                ("reload", False),
            )
        ),
        "define_worker_function": Row(
            named=(("worker_func", "def f(): pass"), ("name", "f"), *FUNCTION_OPTIONS), says=("function",)
        ),
        "define_worker_functions": Row(
            args=(("source", "def f(): pass"),),
            named=(("names", ["f"]), ("look", None), ("capture", None), ("test", False), *FUNCTION_OPTIONS),
            may_raise=(OwnError,),
        ),
        "define_database": Row(
            args=(("name", "d"), ("url", "sqlite://")),
            named=(("eager", False), ("timeout_ms", None)),
            says=("URL",),
        ),
        "define_worker_resource": Row(
            args=(("name", "r"), ("factory", lambda _: list), ("close", None), ("check", None)),
            named=(("eager", False), ("timeout_ms", None), ("look", None)),
            says=("function",),
            may_raise=(OwnError,),
        ),
        "define_worker_setup": Row(
            args=(("source", "LIMIT = 1"),), named=(("look", None),), may_raise=(OwnError,)
        ),
        "events": Row(),
        "executor": Row(rest=CallOptions),
        "function": Row(
            args=(("worker_func", lambda _: math.sqrt),), named=FUNCTION_OPTIONS, says=("function", "lambda")
        ),
        "functions": Row(
            args=(("worker_funcs", lambda _: math.sqrt),), named=FUNCTION_OPTIONS, says=("function", "lambda")
        ),
        "get_cached_results": Row(),
        "get_remote_functions": Row(),
        "get_worker_constants": Row(),
        "get_worker_dependencies": Row(),
        "get_worker_health_states": Row(),
        "get_worker_resources": Row(),
        "get_worker_setup": Row(),
        "insights": Row(),
        "local_function": Row(args=(("name", "echo"),)),
        "local_module": Row(args=(("name", "echo"),)),
        "import_again": Row(args=(("alias", "module"),)),
        "log_events": Row(
            args=(("path", lambda _: os.devnull),), named=(("max_bytes", 0), ("backups", 0)), says=("path",)
        ),
        "map": Row(
            args=(("name", "echo"), ("items", lambda _: [1, 2])),
            named=MAP_OPTIONS,
            rest=CallOptions,
            may_raise=(OwnError,),
            says=("function",),
        ),
        "map_function": Row(
            args=(("function", lambda _: math.sqrt), ("items", lambda _: [1, 2])),
            named=(*MAP_OPTIONS, ("label", "roots")),
            rest=CallOptions,
            may_raise=(OwnError, TypeError),  # the second from the function
            says=("function",),
        ),
        "off_worker_event": Row(named=(("listener_id", 1),)),
        "export": Row(args=(("module", "pipeline"),), named=(("large", True),)),
        "export_stub": Row(args=(("module", "pipeline"),)),
        "on_worker_event": Row(named=(("listener", lambda _: print),)),
        "resource_source": Row(args=(("name", "resource"),)),
        "refer_again": Row(args=(("name", "echo"),), says=("function",)),
        "referenced_modules": Row(),
        "running_maps": Row(),
        "stop_map": Row(args=(("number", 1),)),
        "replay": Row(
            args=(("which", _failed),), may_raise=(OwnError, ValueError), says=("call", "function")
        ),
        "resize": Row(args=(("count", 1),)),
        "restart_worker": Row(args=(("worker_id", 1), ("drain", True)), says=("worker",)),
        "restart_workers": Row(args=(("drain", True),)),
        "seed": Row(args=(("seed", 42),)),
        "get_uploads": Row(),
        "remove_upload": Row(named=(("name", "helpers"),), says=("uploaded",)),
        "upload_module": Row(args=(("module", "wpc_magic"),), says=("package", "file")),
        "get_shared_objects": Row(),
        "shared": Row(args=(("name", "grid"), ("value", lambda _: np.zeros(3)))),
        "shared_counter": Row(args=(("name", "done"), ("value", 0))),
        "shared_queue": Row(args=(("name", "todo"),), named=(("maxsize", 10), ("max_bytes", 1000))),
        "undefine_shared": Row(named=(("name", "SHARED"),)),
        "snapshot": Row(named=(("measure", True),)),
        "stack": Row(args=(("worker_id", 1), ("timeout_ms", 60_000)), says=("worker",)),
        "start_workers": Row(args=(("count", 1), ("wait", True)), rest=PoolOptions),
        "starmap": Row(
            args=(("name", "echo"), ("items", lambda _: [(1,), (2,)])),
            named=MAP_OPTIONS,
            rest=CallOptions,
            may_raise=(OwnError, TypeError),  # the latter for items that are no tuples
            says=("function",),
        ),
        "statistics": Row(),
        "history": Row(args=(("latest", 10),)),
        "report": Row(args=(("path", lambda _: os.devnull),), says=("path",)),
        "use_engine": Row(args=(("engine", "local"),), named=ENGINE_OPTIONS, says=("engine",)),
        "trace": Row(args=(("path", lambda _: os.devnull),), says=("path",)),
        "stop_workers": Row(args=(("drain", True), ("timeout_ms", 60_000))),
        "stop_workers_async": Row(args=(("drain", True), ("timeout_ms", 60_000))),
        "submit": Row(
            args=(("name", "echo"), ("args", ()), ("kwargs", lambda _: {}), ("options", CallOptions())),
            may_raise=(TypeError, OwnError),  # the first for wrong arguments
            says=("function",),
        ),
        "submit_function": Row(
            args=(
                ("function", lambda _: math.sqrt),
                ("args", (4,)),
                ("kwargs", lambda _: {}),
                ("options", CallOptions()),
            ),
            named=(("label", "root"),),
            may_raise=(TypeError, OwnError),  # the first from the function
        ),
        "undefine_woker_function": Row(named=(("name", "fails"),)),
        "undefine_worker_constant": Row(named=(("name", "CONSTANT"),)),
        "undefine_worker_dependency": Row(named=(("alias", "module"),)),
        "undefine_worker_function": Row(named=(("name", "fails"),)),
        "undefine_worker_resource": Row(named=(("name", "resource"),)),
        "undefine_worker_setup": Row(),
        "wait_until_ready": Row(args=(("timeout_ms", None),), may_raise=(TimeoutError,)),
    },
    Procedures: {
        "__getitem__": Row(args=(("name", "echo"),), of=lambda bench: bench.pool.call, says=("function",)),
    },
    Procedure: {
        "__call__": Row(args=(("x", 1),), of=lambda bench: bench.pool.call.echo),
        "local": Row(args=(("x", 1),), of=lambda bench: bench.pool.call.echo),
        "map": Row(
            args=(("items", lambda _: [1, 2]),),
            named=MAP_OPTIONS,
            rest=CallOptions,
            may_raise=(OwnError,),
            of=lambda bench: bench.pool.call.echo,
            says=("function",),
        ),
        "starmap": Row(
            args=(("items", lambda _: [(1,), (2,)]),),
            named=MAP_OPTIONS,
            rest=CallOptions,
            may_raise=(OwnError, TypeError),
            of=lambda bench: bench.pool.call.echo,
            says=("function",),
        ),
        "options": Row(rest=CallOptions, of=lambda bench: bench.pool.call.echo),
        "remote": Row(args=(("x", 1),), of=lambda bench: bench.pool.call.echo),
    },
    CallFuture: {
        "add_done_callback": Row(args=(("fn", lambda _: id),), of=_ended),
        "cancel": Row(of=_ended),
        "cancelled": Row(of=_ended),
        "done": Row(of=_ended),
        "exception": Row(args=(("timeout", None),), of=_ended, may_raise=(TimeoutError,)),
        "remove_done_callback": Row(args=(("fn", lambda _: id),), of=_ended),
        "result": Row(args=(("timeout", None),), of=_ended, may_raise=(TimeoutError,)),
        "running": Row(of=_ended),
        "set_exception": FUTURE_REFUSES._replace(args=(("exception", None),)),
        "set_result": FUTURE_REFUSES._replace(args=(("result", None),)),
        "set_running_or_notify_cancel": FUTURE_REFUSES,
    },
    MapResults: {
        "__next__": Row(of=_results, may_raise=(StopIteration,)),
        "close": Row(of=_results),
        "result": Row(of=_results),
    },
    ResultStream: {
        "__next__": Row(of=_stream, may_raise=(StopIteration,)),
        "aclose": Row(of=_stream),
        "cancel": Row(of=_stream),
        "close": Row(of=_stream),
        "result": Row(args=(("timeout", None),), of=_stream, may_raise=(TimeoutError,)),
    },
    PoolOptions: {
        "__init__": Row(rest=PoolOptions, of=lambda _: PoolOptions),
        "replace": Row(args=(("changes", lambda _: {}),), of=lambda _: PoolOptions(), says=("option",)),
    },
    CallOptions: {
        "__init__": Row(rest=CallOptions, of=lambda _: CallOptions),
        "replace": Row(args=(("changes", lambda _: {}),), of=lambda _: CallOptions(), says=("option",)),
    },
}

OURS: dict[type, dict[str, str]] = {
    WorkerProcedureCall: {
        "began_s": "`%wpc_time`",
        "check_arguments": "`Procedure`, and the magics",
        "dashboard": "takes nothing, and shows itself: tests/dashboard and tests/browser",
        "failed_item": "`MapResults`",
        "defined_names": "the magics",
        "describe": "the magics and `Procedure`",
        "failed_call": "`replay`, and the magics",
        "differing_constants": "the magics",
        "give_up": "`MapResults`, when it is dropped",
        "encoding_error": "maps",
        "cache_of_map": "`MapResults`",
        "retry_options": "`MapResults`",
        "runs_alone": "`MapResults`",
        "has_timeout": "`MapResults`",
        "interleaves": "`MapResults`",
        "mean_s": "`MapResults`",
        "begin_local_call": "`Procedure`",
        "seed_of_map": "`MapResults`",
        "note_error": "`MapResults`, when an item has failed",
        "note_map": "`MapResults`, when it ends",
        "recent_calls": "the dashboard",
        "running_calls": "the dashboard",
        "block_memory": "the dashboard",
        "cancel_queued": "the dashboard",
        "holders": "the dashboard",
        "queued_calls": "the dashboard",
        "stack_sampler": "the dashboard",
        "worker_details": "the dashboard",
        "map_made": "`Chunks`, when it is made",
        "submit_chunk": "`MapResults`",
    },
    Procedures: {"forget": "the pool, when a definition has changed"},
    Procedure: {},
    CallFuture: {
        "on_interrupt": "the notebook",
        "value_body": "the notebook",
        "peek": "the notebook, which shows futures without waiting",
        "end_anyhow": "the driver, when it has failed",
        "settle": "the driver",
        "known_value": "the pickling of arguments",
        "receive_with": "the driver",
        "wait_in": "`MapResults`",
        "when_ended": "`MapResults`",
        "add_waker": "those who wait",
        "remove_waker": "those who wait",
    },
    MapResults: {},
    ResultStream: {},
    PoolOptions: {},
    CallOptions: {},
}


def public(kind: type) -> set[str]:
    """Return the names of the public methods that this package adds to a class."""
    return {
        name
        for base in kind.__mro__
        if base.__module__.startswith("wpc_magic.") or base.__name__ == "Future"
        for name, value in vars(base).items()
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, staticmethod))
    }


@pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.__name__)
def test_every_public_method_is_in_the_table(kind: type) -> None:
    rows = {name for name in METHODS[kind] if not name.startswith("__")}
    assert rows | set(OURS[kind]) == public(kind), "add a row to METHODS (or to OURS)"
    assert not rows & set(OURS[kind])


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind, rows in METHODS.items() for name in rows],
    ids=lambda each: getattr(each, "__name__", each),
)
def test_every_parameter_is_in_the_table(kind: type, name: str) -> None:
    row = METHODS[kind][name]
    named, stars, doubles = set(), 0, 0
    for parameter in list(inspect.signature(getattr(kind, name)).parameters.values())[1:]:
        stars += parameter.kind is parameter.VAR_POSITIONAL
        doubles += parameter.kind is parameter.VAR_KEYWORD
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            named.add(parameter.name)
    tried = {word for word, _ in (*row.args, *row.named)}
    if row.rest is not None and not doubles:  # of a dataclass
        tried |= {field.name for field in dataclasses.fields(row.rest)}
    assert named <= tried, f"a right value for {named - tried}"
    if not (stars or doubles):
        assert tried == named


# -- the calls ------------------------------------------------------------------------------------------


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """One bench per test, because some methods replace the workers, which would affect the next test.

    In a folder of its own: to methods that write a file, most of the wrong texts are the name of one.
    """
    monkeypatch.chdir(tmp_path)
    bench = Bench()
    yield bench
    bench.pool.stop_workers()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, name, id=f"{kind.__name__}.{name}")
        for kind, rows in METHODS.items()
        for name in rows
    ],
)
def test_a_wrong_value_works_or_is_one_clear_error_and_the_pool_works_on(
    bench: Bench, kind: type, name: str
) -> None:
    row = METHODS[kind][name]
    for each in parameters(row):
        for kind_of_value, make in KINDS.items() if each else [("nothing", list)]:
            args = {parameter: _made(right, bench) for parameter, right in row.args}
            named = {parameter: _made(right, bench) for parameter, right in row.named}
            if each:
                (args if each in args else named)[each] = make()
            try:
                one_call(bench, row, name, args, named, {each, *row.says})
            except Exception as error:
                error.add_note(f"{each} was {kind_of_value}")
                raise
    bench.probe()


def parameters(row: Row) -> list[str]:
    """Return the names of a method's parameters, and of the options that it takes; of none, an empty one."""
    names = [name for name, _ in (*row.args, *row.named)]
    if row.rest is not None:
        rest: Any = row.rest
        names += [field.name for field in dataclasses.fields(rest)]
    return names or [""]


def _made(right: Any, bench: Bench) -> Any:
    return right(bench) if callable(right) else right


def one_call(bench: Bench, row: Row, name: str, args: Any, named: Any, words: set[str]) -> None:
    """Call a method, check the outcome, and restore the bench."""
    target = row.of(bench)
    method = target if name == "__init__" else getattr(target, name)
    before, running, options = bench.known(), bench.pool.is_running, bench.pool.options
    error: BaseException | None = None
    try:
        _drain(method(*args.values(), **named))
    except (WpcError, TypeError, *row.may_raise) as raised:
        error = raised
    if error is None:
        bench.restore()
    else:
        assert what_is_unclear(error, row.may_raise, words) == ""
        assert (bench.known(), bench.pool.is_running) == (before, running), f"half done: {error!r}"
        assert bench.pool.options == options, f"half done: {error!r}"
        del error
    bench.probe()


def what_is_unclear(error: BaseException, may_raise: tuple[type[BaseException], ...], words: set[str]) -> str:
    """Return what is unclear about an error; an empty string if nothing is."""
    text = str(error)
    if isinstance(error, WpcError):
        if not text.strip():
            return f"it says nothing: {error!r}"
        if len(text) > LONGEST and not isinstance(
            error, InstallError
        ):  # it includes the traceback of a worker
            return f"it has {len(text)} characters: {text[:200]}"
        if isinstance(error, OptionError) and not any(word in text for word in words):
            return f"it names none of {words}: {text}"
    elif not isinstance(error, may_raise) and not _is_about_the_number_of_arguments(error):
        return f"it is not one of ours: {error!r}"
    return ""


def _is_about_the_number_of_arguments(error: BaseException) -> bool:
    words = ("positional argument", "unexpected keyword", "multiple values")
    return isinstance(error, TypeError) and any(each in str(error) for each in words)


def _drain(value: Any) -> None:
    """Wait for what was started; the failure of a function, or of an item of a map, is not the pool's."""
    if inspect.iscoroutine(value):
        value = asyncio.run(value)
    futures = value.values() if isinstance(value, dict) else [value]
    for future in futures:
        if isinstance(future, CallFuture):
            try:
                future.exception(PATIENCE_S)
            except CancelledError:
                pass
    if isinstance(value, MapResults | ResultStream):
        try:
            for _ in value:
                pass
        except (OwnError, WpcError):
            value.close()
