"""Tracebacks without frames of this package."""

from __future__ import annotations

import inspect
import linecache
import traceback
import types

import pytest

from wpc_magic.notebook.frames import shown_frames
from wpc_magic.notebook.tracebacks import TracebackFilter, strip_own_frames
from wpc_magic.pool.errors import DefinitionError, OptionError, WpcError
from wpc_magic.pool.futures import CallFuture
from wpc_magic.pool.options import check_name
from wpc_magic.pool.worker.failure import describe, rebuild_exception


class Mode:
    """IPython's formatter of tracebacks, as plain text."""

    def structured_traceback(self, kind: type, error: BaseException, tb: object) -> list[str]:
        return traceback.format_exception(kind, error, tb)  # type: ignore[arg-type]


class Shell:
    InteractiveTB = Mode()


@pytest.fixture
def filter_() -> TracebackFilter:
    return TracebackFilter(Shell())  # type: ignore[arg-type]


def refused() -> OptionError:
    with pytest.raises(OptionError) as raised:
        check_name("a b", "name")
    return raised.value


def test_our_frames_are_left_out_and_the_others_stay() -> None:
    error = refused()
    assert "check_name" in [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    kept = [frame.name for frame in traceback.extract_tb(strip_own_frames(error.__traceback__))]
    assert kept == ["refused"]


def test_nothing_is_left_of_a_traceback_that_is_all_ours() -> None:
    error = refused()
    assert error.__traceback__ is not None
    assert strip_own_frames(error.__traceback__.tb_next) is None


def test_an_error_of_the_pool_is_shown_with_the_callers_lines_only(filter_: TracebackFilter) -> None:
    shown = "".join(filter_.render(refused()))
    assert 'check_name("a b", "name")' in shown
    assert "options.py" not in shown
    assert "is not a Python name" in shown


def test_the_cause_is_not_shown_again_and_stays_there(filter_: TracebackFilter) -> None:
    error = DefinitionError("the value cannot be sent: it is a lock")
    error.__cause__ = TypeError("it is a lock")
    shown = "".join(filter_.render(error))
    assert shown.count("it is a lock") == 1
    assert isinstance(error.__cause__, TypeError)


def test_what_the_user_was_about_when_it_happened_is_shown(filter_: TracebackFilter) -> None:
    error = DefinitionError("later")
    error.__context__ = KeyError("before")
    assert "before" in "".join(filter_.render(error))
    assert not error.__suppress_context__


def test_errors_are_shown_so_from_put_in_to_take_out(filter_: TracebackFilter) -> None:
    filter_.install()
    other = TracebackFilter(Shell())  # type: ignore[arg-type]
    other.install()
    filter_.uninstall()  # no longer installed: it must not affect the other one
    assert hasattr(WpcError("x"), "_render_traceback_")
    other.uninstall()
    assert not hasattr(WpcError("x"), "_render_traceback_")


def test_an_interrupt_that_ends_a_wait_is_shown_with_the_callers_lines_only(filter_: TracebackFilter) -> None:
    def wait() -> None:
        """Simulate a wait in the pool."""
        interrupt = KeyboardInterrupt()
        CallFuture.on_interrupt(interrupt)
        raise interrupt

    filter_.install()
    try:
        with pytest.raises(KeyboardInterrupt) as raised:
            types.FunctionType(wait.__code__, {**globals(), "__name__": "wpc_magic.pool.driver.waiters"})()
    finally:
        filter_.uninstall()
    shown = "".join(raised.value._render_traceback_())  # type: ignore[attr-defined]
    assert "types.FunctionType(" in shown
    assert "raise interrupt" not in shown
    assert shown.endswith("KeyboardInterrupt\n")


def test_interrupts_are_left_alone_when_the_extension_is_gone(filter_: TracebackFilter) -> None:
    filter_.install()
    filter_.uninstall()
    interrupt = KeyboardInterrupt()
    CallFuture.on_interrupt(interrupt)
    assert not hasattr(interrupt, "_render_traceback_")


def remote() -> BaseException:
    """Return an exception as it comes from another process."""
    text = "\n\ndef bad(rows, *rest, scale=1):\n    return [int(row) for row in rows]\n"
    linecache.cache["<ipython-wpc> bad"] = (len(text), None, text.splitlines(keepends=True), "")
    names: dict[str, object] = {"__name__": "a_cell"}
    exec(compile(text, "<ipython-wpc> bad", "exec"), names)
    try:
        names["bad"](["x"])  # type: ignore[operator]
    except ValueError as error:
        return rebuild_exception(describe(error))
    raise AssertionError


def test_frames_of_a_worker_have_the_parameters_of_their_function() -> None:
    tb = shown_frames(remote().__traceback__)
    found = []
    while tb is not None:
        arguments = inspect.getargvalues(tb.tb_frame)
        found.append((tb.tb_frame.f_code.co_name, tb.tb_lineno, arguments[:3]))
        tb = tb.tb_next
    assert found[0][0] == "remote"
    assert found[1] == ("bad", 4, (["rows", "scale"], "rest", None))
    plain = shown_frames(remote().__traceback__, parameters=False)
    assert plain is not None
    assert plain.tb_next is not None
    assert inspect.getargvalues(plain.tb_next.tb_frame).args == []


def test_what_a_cell_raises_is_shown_without_our_frames_and_so_are_its_causes(
    filter_: TracebackFilter,
) -> None:
    filter_.install()
    try:
        with pytest.raises(KeyError) as raised:
            raise KeyError("later") from refused()
        before = raised.value.__cause__.__traceback__  # type: ignore[union-attr]
        text = "".join(
            Shell.InteractiveTB.structured_traceback(KeyError, raised.value, raised.value.__traceback__)
        )
        assert 'check_name("a b", "name")' in text
        assert "options.py" not in text
        assert raised.value.__cause__.__traceback__ is before  # type: ignore[union-attr]
    finally:
        filter_.uninstall()
    assert "structured_traceback" not in vars(Shell.InteractiveTB)


def test_an_interrupt_of_which_nothing_but_waiting_is_left_is_one_line(filter_: TracebackFilter) -> None:
    def wait() -> None:
        raise KeyboardInterrupt

    filter_.install()
    try:
        with pytest.raises(KeyboardInterrupt) as raised:
            types.FunctionType(wait.__code__, {**globals(), "__name__": "asyncio.base_events"})()
        tb = raised.value.__traceback__
        assert tb is not None
        show = Shell.InteractiveTB.structured_traceback
        assert show(KeyboardInterrupt, raised.value, tb.tb_next) == ["KeyboardInterrupt"]
        assert "FunctionType" in "".join(show(KeyboardInterrupt, raised.value, tb))
    finally:
        filter_.uninstall()
