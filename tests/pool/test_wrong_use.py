"""Invalid options, names and types: one clear error each, which names the option and what it takes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import DefinitionError, NotRunningError, OptionError, PoolStateError, WpcError
from wpc_magic.pool.options import CallOptions, PoolOptions, check_name

POSITIVE = (
    "control_timeout_ms",
    "start_timeout_ms",
    "stop_timeout_ms",
    "restart_base_delay_ms",
    "restart_max_delay_ms",
    "restart_stable_after_ms",
    "heartbeat_interval_ms",
    "unresponsive_after_ms",
    "event_history",
)
POSITIVE_OR_NONE = (
    "call_timeout_ms",
    "queue_timeout_ms",
    "max_pending_calls_per_worker",
    "threads_per_worker",
)
ZERO_OR_MORE = ("max_restarts_per_worker", "restart_jitter_ms")


@pytest.mark.parametrize("name", [*POSITIVE, *POSITIVE_OR_NONE])
@pytest.mark.parametrize("value", [0, -1, 1.5, "10", True, [1]])
def test_an_option_that_takes_a_positive_number_says_so(name: str, value: Any) -> None:
    with pytest.raises(OptionError) as caught:
        WorkerProcedureCall(**{name: value})
    assert str(caught.value) == f"{name} takes a positive whole number, not {value!r}"


@pytest.mark.parametrize("name", POSITIVE)
def test_an_option_that_has_to_be_a_number_does_not_take_none(name: str) -> None:
    with pytest.raises(OptionError, match=f"{name} takes a positive whole number, not None"):
        WorkerProcedureCall(**{name: None})


@pytest.mark.parametrize("name", POSITIVE_OR_NONE)
def test_an_option_that_may_be_none_takes_it(name: str) -> None:
    assert getattr(WorkerProcedureCall(**{name: None}).options, name) is None


@pytest.mark.parametrize("name", ZERO_OR_MORE)
def test_an_option_that_may_be_zero_says_so(name: str) -> None:
    assert getattr(WorkerProcedureCall(**{name: 0}).options, name) == 0
    for value in (-1, 0.5, None, False):
        with pytest.raises(OptionError, match=f"{name} takes a whole number, 0 or more, not {value!r}"):
            WorkerProcedureCall(**{name: value})


def test_options_of_other_kinds_say_what_they_take() -> None:
    with pytest.raises(OptionError, match="restart_on_failure takes True or False, not 1"):
        WorkerProcedureCall(restart_on_failure=1)
    with pytest.raises(OptionError, match="saturation takes 'error' or 'wait', not 'maybe'"):
        WorkerProcedureCall(saturation="maybe")


def test_an_unknown_option_is_named_with_the_nearest_and_all_there_are() -> None:
    with pytest.raises(
        OptionError, match=r"unknown option 'call_timeout'. Did you mean 'call_timeout_ms'\?"
    ) as caught:
        WorkerProcedureCall(call_timeout=1)
    for name in (*POSITIVE, *POSITIVE_OR_NONE, *ZERO_OR_MORE, "restart_on_failure", "saturation"):
        assert name in str(caught.value)


def test_the_defaults_are_the_originals_but_for_the_two_that_are_named() -> None:
    options = WorkerProcedureCall().options
    assert options.call_timeout_ms is None
    assert options.max_pending_calls_per_worker is None
    assert (options.control_timeout_ms, options.start_timeout_ms) == (10_000, 10_000)
    assert options.stop_timeout_ms == 2_000
    assert options.restart_on_failure is True
    assert options.max_restarts_per_worker == 3
    assert (options.restart_base_delay_ms, options.restart_max_delay_ms, options.restart_jitter_ms) == (
        100,
        5_000,
        100,
    )


def test_a_wrong_option_of_configure_or_start_changes_nothing() -> None:
    pool = WorkerProcedureCall()
    before = pool.options
    for change in (pool.configure, pool.start_workers):
        with pytest.raises(OptionError):
            change(stop_timeout_ms=5, call_timeout_ms="no")
        with pytest.raises(OptionError):
            change(stop_timeout=5)
    assert pool.options == before
    assert not pool.is_running


def test_a_start_of_workers_that_run_changes_no_option(make_pool: Any) -> None:
    pool = make_pool()
    before = pool.options
    with pytest.raises(PoolStateError, match="the workers are running already"):
        pool.start_workers(1, call_timeout_ms=5)
    assert pool.options == before


def test_a_function_by_key_is_never_a_method_of_the_namespace() -> None:
    pool = WorkerProcedureCall()
    pool.define_worker_function(worker_func="def forget(): pass")
    assert repr(pool.call["forget"]) == "<registered function forget()>"
    with pytest.raises(NotRunningError):
        pool.call["_pool_of_procedures"]()


def test_a_long_name_is_shown_in_part() -> None:
    pool = WorkerProcedureCall()
    for remove in (
        lambda name: pool.undefine_worker_function(name=name),
        lambda name: pool.undefine_worker_dependency(alias=name),
        lambda name: pool.undefine_worker_constant(name=name),
        pool.local_function,
        lambda name: pool.define_worker_dependency(alias="a", module_specifier=name),
    ):
        with pytest.raises(WpcError, match=r"xx\.\.\.xx") as caught:
            remove("x" * 100_000)
        assert len(str(caught.value)) < 250


@pytest.mark.parametrize("count", [0, -1, 1.0, "2", True])
def test_a_number_of_workers_is_a_positive_whole_number(count: Any) -> None:
    pool = WorkerProcedureCall()
    for ask in (pool.start_workers, pool.resize):
        with pytest.raises(OptionError, match="count takes a positive whole number, not"):
            ask(count)
    with pytest.raises(OptionError, match="worker_id takes a positive whole number"):
        pool.restart_worker(count)
    with pytest.raises(OptionError, match="timeout_ms takes a positive whole number"):
        pool.wait_until_ready(timeout_ms=count)


@pytest.mark.parametrize("name", ["timeout_ms", "queue_timeout_ms", "worker_id"])
@pytest.mark.parametrize("value", [0, -5, 1.5, "1", True])
def test_an_option_of_a_call_says_what_it_takes(name: str, value: Any) -> None:
    pool = WorkerProcedureCall()
    pool.define_worker_function(worker_func="def f(): pass")
    with pytest.raises(OptionError, match=f"{name} takes a positive whole number, not"):
        pool.call.f.options(**{name: value})


def test_wrong_options_of_a_call_or_a_function_are_named() -> None:
    pool = WorkerProcedureCall()
    pool.define_worker_function(worker_func="def f(): pass")
    with pytest.raises(OptionError, match="retries takes a whole number, 0 or more, not -1"):
        pool.call.f.options(retries=-1)
    with pytest.raises(OptionError, match=r"unknown option 'timeout'.*timeout_ms"):
        pool.call.f.options(timeout=1)
    with pytest.raises(OptionError, match="timeout_ms takes a positive whole number, not 0"):
        pool.define_worker_function(worker_func="def g(): pass", timeout_ms=0)
    with pytest.raises(OptionError, match="retries takes a whole number"):
        pool.define_worker_functions("def g(): pass", retries="many")  # type: ignore[arg-type]
    assert [info.name for info in pool.get_remote_functions()] == ["f"]


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a b", "class", "None", "a.b", "x" * 100 + "!"])
def test_a_name_that_is_no_python_name_is_refused_for_every_kind(name: str) -> None:
    pool = WorkerProcedureCall()
    for what, define in definitions(pool, name):
        with pytest.raises(OptionError, match=f"{what} .*is not a Python name") as caught:
            define()
        assert len(str(caught.value)) < 250


@pytest.mark.parametrize("name", ["wpc_import", "wpc_constant", "context", "__name__", "__file__"])
def test_a_name_of_the_pools_own_is_refused_for_every_kind(name: str) -> None:
    pool = WorkerProcedureCall()
    for what, define in definitions(pool, name):
        with pytest.raises(OptionError, match=f"{what} '{name}' is kept for the pool itself"):
            define()


@pytest.mark.parametrize("name", [7, None, b"f"])
def test_a_name_that_is_no_text_is_refused(name: Any) -> None:
    pool = WorkerProcedureCall()
    for what, define in definitions(pool, name):
        if what == "function name" and name is None:
            continue  # then it is an argument of the function
        with pytest.raises(OptionError, match=f"{what} must be a text, not {type(name).__name__}"):
            define()


def definitions(pool: WorkerProcedureCall, name: Any) -> list[Any]:
    return [
        (
            "function name",
            lambda: pool.define_worker_function(name=name, worker_func="def f(): return 1"),
        ),
        ("alias", lambda: pool.define_worker_dependency(alias=name, module_specifier="math")),
        ("constant name", lambda: pool.define_worker_constant(name=name, value=1)),
    ]


def test_names_of_any_script_are_names() -> None:
    pool = WorkerProcedureCall()
    pool.define_worker_constant(name="größe", value=1)
    assert pool.get_worker_constants()[0].name == "größe"


def test_what_is_no_function_is_refused() -> None:
    pool = WorkerProcedureCall()
    with pytest.raises(OptionError, match="as a callable or as source text, not int"):
        pool.define_worker_function(worker_func=7)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="a lambda has no name of its own; give one"):
        pool.define_worker_function(worker_func=lambda: 1)
    with pytest.raises(DefinitionError, match="defines no function"):
        pool.define_worker_function(worker_func="x = 1")
    with pytest.raises(DefinitionError, match="belongs to the pool"):
        pool.define_worker_function(name="f", worker_func=pool.call.f)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="source takes a text, not"):
        pool.define_worker_functions(7)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="no function 'g'"):
        pool.define_worker_functions("def f(): pass", names=["g"])


@pytest.mark.parametrize("module", ["", "a b", "os.", ".path", "./helpers.py", 7, None])
def test_a_module_that_is_no_module_name_is_refused(module: Any) -> None:
    with pytest.raises(
        OptionError, match=r"module_specifier takes the name of a module, such as 'os\.path', not"
    ):
        WorkerProcedureCall().define_worker_dependency(alias="m", module_specifier=module)


def test_wrong_options_of_a_dependency_are_named() -> None:
    define = WorkerProcedureCall().define_worker_dependency
    with pytest.raises(OptionError, match="export_name takes a name, not ''"):
        define(alias="m", module_specifier="math", export_name="")
    with pytest.raises(OptionError, match="is_default_export takes True or False, not 'yes'"):
        define(alias="m", module_specifier="math", is_default_export="yes")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="reload takes True or False"):
        define(alias="m", module_specifier="math", reload=1)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="do not go together"):
        define(alias="m", module_specifier="math", export_name="sqrt", is_default_export=True)


def test_a_pools_name_is_a_python_name() -> None:
    with pytest.raises(OptionError, match="the pool's name 'my pool' is not a Python name"):
        WorkerProcedureCall(name="my pool")


def test_every_error_of_the_pools_own_is_of_one_family() -> None:
    from wpc_magic.pool import errors

    for name in errors.__all__:
        kind = getattr(errors, name)
        assert issubclass(kind, WpcError) or kind is errors.CallInterrupted
    assert issubclass(OptionError, ValueError)
    assert issubclass(errors.CallTimeoutError, TimeoutError)
    assert issubclass(errors.FunctionNotDefinedError, LookupError)
    assert not issubclass(errors.CallInterrupted, Exception)


# -- values of any kind -----------------------------------------------------------------------------------

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text()
    | st.binary()
    | st.sampled_from(["class", "__init__", "context", "wpc_import", "ünïcode", "x" * 10_000])
    | st.sampled_from([10**400, object()]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=5,
)
LONGEST = 600  # characters of a clear error at most


def refusal(make: Any, *args: Any, **named: Any) -> str:
    """Return the error message for some values; an empty string if they are accepted."""
    try:
        make(*args, **named)
    except OptionError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", [PoolOptions, CallOptions])
@given(data=st.data())
@settings(max_examples=200)
def test_an_option_takes_a_value_of_any_kind_or_says_in_short_what_it_takes(
    kind: type, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from([field.name for field in dataclasses.fields(kind)]))
    value = data.draw(ANYTHING)
    text = refusal(kind, **{name: value})
    assert not text or (name in text and len(text) < LONGEST)


@given(value=ANYTHING)
@settings(max_examples=300)
def test_a_name_of_any_kind_is_taken_or_refused_in_short(value: Any) -> None:
    text = refusal(check_name, value, "function name")
    assert ("function name" in text and len(text) < LONGEST) if text else value.isidentifier()
