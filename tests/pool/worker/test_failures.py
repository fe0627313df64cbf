"""Whatever a function raises is sent to the caller, and the worker keeps running."""

import asyncio
import sys
import traceback

import pytest

from tests.pool.worker.harness import Failed, cell
from wpc_magic.pool.errors import RemoteError
from wpc_magic.pool.wire.protocol import Failure
from wpc_magic.pool.worker.cells import load_cell, show_source
from wpc_magic.pool.worker.failure import describe, rebuild_exception

SOURCE = """
import sys, os

class Mine(Exception):
    def __init__(self, message, code):
        super().__init__(message)
        self.code = code

class Hostile(Exception):
    def __str__(self): raise KeyboardInterrupt
    __repr__ = __str__

class Exits(Exception):
    def __str__(self): sys.exit(3)

class Unpicklable(Exception):
    def __reduce__(self): raise RuntimeError('no')

class PicklingExits(Exception):
    def __reduce__(self): sys.exit(4)

class UnpicklingRaises(Exception):
    def __reduce__(self): return (eval, ('1/0',))

class UnpicklingExits(Exception):
    def __reduce__(self): return (sys.exit, (5,))

class UnpicklingLies(Exception):
    def __reduce__(self): return (dict, ())

class UnpicklingKills(Exception):
    def __reduce__(self): return (os._exit, (6,))

class HoldsLock(Exception): pass

def mine():
    raise Mine('broken', 7)  # the line

def kind(name):
    raise globals()[name]('text')

def holds_lock():
    import threading
    error = HoldsLock('text')
    error.lock = threading.Lock()
    raise error

def chain():
    try:
        mine()
    except Mine as error:
        error.add_note('a note')
        raise LookupError('outer') from error

def context():
    try:
        1 / 0
    except ZeroDivisionError:
        raise KeyError('second')

def deep(n=0): return deep(n + 1)

def full(): return bytearray(1 << 60)

def leave(how): raise how

def group(): raise ExceptionGroup('many', [ValueError(1), Mine('x', 2)])

def os_error(): open('/no/such/file')

def fine(): return 'fine'
"""
NAMES = [line[4:].partition("(")[0] for line in SOURCE.splitlines() if line.startswith("def ")]


@pytest.fixture
def failing(worker):
    """A worker with the functions above, whose cell is loaded in this process, too."""
    worker.install(*worker.functions(SOURCE, *NAMES))
    made = worker.names["mine"].cell
    load_cell(made, {})
    yield worker
    assert worker.call("fine") == "fine"
    del sys.modules[made.module]


def format_error(error):
    return "".join(traceback.format_exception(error))


def test_an_exception_keeps_its_class_arguments_and_attributes(failing):
    error = failing.error("mine")
    assert type(error).__name__ == "Mine"
    assert type(error).__module__.startswith("wpc_cell_")
    assert type(error) is sys.modules[type(error).__module__].Mine
    assert (error.args, error.code) == (("broken",), 7)


def test_its_traceback_has_the_functions_lines_and_none_of_ours(failing):
    text = format_error(failing.error("mine"))
    assert "raise Mine('broken', 7)  # the line" in text
    assert "wpc_magic" not in text


def test_cause_context_and_notes_come_along(failing):
    error = failing.error("chain")
    assert type(error) is LookupError
    assert error.__cause__.code == 7
    assert error.__cause__.__notes__ == ["a note"]
    assert "# the line" in format_error(error)
    context = failing.error("context")
    assert type(context.__context__) is ZeroDivisionError
    assert not context.__suppress_context__


def test_groups_come_with_their_members(failing):
    error = failing.error("group")
    assert type(error) is ExceptionGroup
    assert [type(one).__name__ for one in error.exceptions] == ["ValueError", "Mine"]


def test_an_os_error_keeps_its_number_and_file(failing):
    error = failing.error("os_error")
    assert type(error) is FileNotFoundError
    assert (error.errno, error.filename) == (2, "/no/such/file")


@pytest.mark.parametrize(
    "name",
    [
        "Hostile",
        "Exits",
        "Unpicklable",
        "PicklingExits",
        "UnpicklingRaises",
        "UnpicklingExits",
        "UnpicklingLies",
    ],
)
def test_a_hostile_exception_harms_nobody(failing, name):
    with pytest.raises(Failed) as caught:
        failing.call("kind", name)
    failure = caught.value.failure
    assert failure.name.endswith(f".{name}")
    assert "raise globals()[name]('text')" in failure.stack
    error = caught.value.error
    if name in ("Hostile", "Exits"):
        assert type(error).__name__ == name
        assert "while it was written as text" in failure.message
    else:
        assert type(error) is RemoteError
        assert (error.name, error.message) == (failure.name, "text")


def test_an_exception_that_ends_a_process_when_it_is_unpickled_ends_the_worker_and_not_the_pool(worker):
    worker.install(*worker.functions(SOURCE, *NAMES))
    worker.send("kind", "UnpicklingKills")
    assert worker.wait_exit() == 6


def test_an_exception_that_holds_a_lock_comes_as_text(failing):
    error = failing.error("holds_lock")
    assert type(error) is RemoteError
    assert "In the worker:" in str(error)
    assert "holds_lock" in str(error)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt("k"), GeneratorExit(), StopIteration(1)])
def test_what_would_end_a_program_ends_only_the_call(failing, error):
    back = failing.error("leave", error)
    assert type(back) is type(error)
    assert back.args == error.args


def test_a_recursion_without_end_comes_back_as_itself(failing):
    error = failing.error("deep")
    assert type(error) is RecursionError
    assert len(traceback.extract_tb(error.__traceback__)) < 200


def test_no_memory_comes_back_as_itself(failing):
    assert type(failing.error("full")) is MemoryError


def test_a_very_long_message_is_cut():
    failure = describe(ValueError("x" * 1_000_000))
    assert len(failure.message) < 300_000
    assert "more characters" in failure.message


def test_arguments_that_cannot_be_unpickled_fail_the_call(failing):
    for name in ("UnpicklingRaises", "UnpicklingExits"):
        module = sys.modules[failing.names["mine"].cell.module]
        error = failing.error("leave", getattr(module, name)("x"))
        assert type(error) in (ZeroDivisionError, SystemExit)


def test_a_failure_of_an_unknown_class_is_rebuilt_as_text():
    pickled = b"\x80\x05cno_such_module\nX\n)R."
    error = rebuild_exception(Failure(pickled, "no_such_module.X", "message", "stack", "", ()))
    assert type(error) is RemoteError
    assert str(error) == "no_such_module.X: message\n\nIn the worker:\nstack"


def test_a_cancelled_coroutine_comes_back_as_cancelled(worker):
    worker.define("import asyncio\nasync def f(): raise asyncio.CancelledError('why')")
    assert type(worker.error("f")) is asyncio.CancelledError


def test_lines_are_shown_for_a_cell_that_never_ran_here(worker):
    worker.define("def f(x):\n    return 1 / x  # this line")
    made = worker.names["f"].cell
    show_source(made)
    assert "return 1 / x  # this line" in format_error(worker.error("f", 0))
    assert made.module not in sys.modules


def test_a_cell_that_raises_leaves_no_module():
    made = cell("1 / 0")
    with pytest.raises(ZeroDivisionError):
        load_cell(made, {})
    assert made.module not in sys.modules
