"""Tracebacks without our frames."""

from __future__ import annotations

import traceback
import types

import pytest

from wpc_magic.notebook.tracebacks import PlainErrors, without_ours
from wpc_magic.pool.errors import DefinitionError, OptionError, WpcError
from wpc_magic.pool.futures import CallFuture
from wpc_magic.pool.options import check_name


class Mode:
    """IPython's way of showing a traceback, as plain text."""

    def structured_traceback(self, kind: type, error: BaseException, tb: object) -> list[str]:
        return traceback.format_exception(kind, error, tb)  # type: ignore[arg-type]


class Shell:
    InteractiveTB = Mode()


@pytest.fixture
def plain() -> PlainErrors:
    return PlainErrors(Shell())  # type: ignore[arg-type]


def refused() -> OptionError:
    with pytest.raises(OptionError) as told:
        check_name("a b", "name")
    return told.value


def test_our_frames_are_left_out_and_the_others_stay() -> None:
    error = refused()
    assert "check_name" in [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    kept = [frame.name for frame in traceback.extract_tb(without_ours(error.__traceback__))]
    assert kept == ["refused"]


def test_nothing_is_left_of_a_traceback_that_is_all_ours() -> None:
    error = refused()
    assert error.__traceback__ is not None
    assert without_ours(error.__traceback__.tb_next) is None


def test_an_error_of_the_pool_is_shown_with_the_callers_lines_only(plain: PlainErrors) -> None:
    shown = "".join(plain.render(refused()))
    assert 'check_name("a b", "name")' in shown
    assert "options.py" not in shown
    assert "is not a Python name" in shown


def test_the_cause_is_not_shown_again_and_stays_there(plain: PlainErrors) -> None:
    error = DefinitionError("the value cannot be sent: it is a lock")
    error.__cause__ = TypeError("it is a lock")
    shown = "".join(plain.render(error))
    assert shown.count("it is a lock") == 1
    assert isinstance(error.__cause__, TypeError)


def test_what_the_user_was_about_when_it_happened_is_shown(plain: PlainErrors) -> None:
    error = DefinitionError("later")
    error.__context__ = KeyError("before")
    assert "before" in "".join(plain.render(error))
    assert not error.__suppress_context__


def test_errors_are_shown_so_from_put_in_to_take_out(plain: PlainErrors) -> None:
    plain.put_in()
    other = PlainErrors(Shell())  # type: ignore[arg-type]
    other.put_in()
    plain.take_out()  # which is in no longer, and leaves the other alone
    assert hasattr(WpcError("x"), "_render_traceback_")
    other.take_out()
    assert not hasattr(WpcError("x"), "_render_traceback_")


def test_an_interrupt_that_ends_a_wait_is_shown_with_the_callers_lines_only(plain: PlainErrors) -> None:
    def wait() -> None:
        """Stand for a wait in the pool."""
        interrupt = KeyboardInterrupt()
        CallFuture.on_interrupt(interrupt)
        raise interrupt

    plain.put_in()
    try:
        with pytest.raises(KeyboardInterrupt) as told:
            types.FunctionType(wait.__code__, {**globals(), "__name__": "wpc_magic.pool.hands.waiters"})()
    finally:
        plain.take_out()
    shown = "".join(told.value._render_traceback_())  # type: ignore[attr-defined]
    assert "types.FunctionType(" in shown
    assert "raise interrupt" not in shown
    assert shown.endswith("KeyboardInterrupt\n")


def test_interrupts_are_left_alone_when_the_extension_is_gone(plain: PlainErrors) -> None:
    plain.put_in()
    plain.take_out()
    interrupt = KeyboardInterrupt()
    CallFuture.on_interrupt(interrupt)
    assert not hasattr(interrupt, "_render_traceback_")
