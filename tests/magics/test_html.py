"""Text from a function, a value or an error of a real pool is never HTML in a notebook."""

from __future__ import annotations

from typing import Any

import pytest

from tests.dashboard.test_table import Reader
from wpc_magic.dashboard.static_view import take_static_view
from wpc_magic.magics.tables import (
    constant_table,
    dependency_table,
    event_table,
    function_table,
    status_table,
)
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import OptionError

SCRIPT = "<script>alert(1)</script>"
IMAGE = "<img src=x onerror=alert(1)>"
EVIL = SCRIPT + IMAGE

# The elements of our tables; any other came from a text.
TAGS = {"table", "caption", "thead", "tbody", "tr", "th", "td", "p"}

FUNCTIONS = f'''
import os, sys


def shows(x="{EVIL}", *, y: "{IMAGE}" = 1):
    """{EVIL}"""
    print("{EVIL}")
    return "{EVIL}"


def raises():
    raise type("{IMAGE}", (Exception,), {{}})("{EVIL}")


def dies():
    os.write(2, b"{EVIL}")
    os._exit(3)
'''


@pytest.fixture
def pool() -> Any:
    pool = WorkerProcedureCall(restart_base_delay_ms=1, restart_jitter_ms=0)
    pool.output_sink = lambda text: None
    pool.define_worker_functions(FUNCTIONS)
    # A class of this name cannot be imported: it is pickled by value.
    pool.define_worker_constant(name="CONSTANT", value=type(IMAGE, (), {})())
    pool.define_worker_dependency(alias="fs", module_specifier="os.path", export_name="join")
    pool.start_workers(1)
    yield pool
    pool.stop_workers()


def check(shown: Any) -> list[str]:
    """Check that HTML has only elements of our tables; return its texts."""
    read = Reader(shown._repr_html_())
    assert set(read.tags) <= TAGS
    return read.texts


def test_what_a_pool_knows_and_what_happened_is_text(pool: WorkerProcedureCall) -> None:
    assert pool.call.shows().result() == EVIL
    assert "onerror" in str(pool.call.raises().exception())
    assert EVIL in str(pool.call.dies().exception()), "its last words are told"
    pool.wait_until_ready()
    found = check(function_table(pool.get_remote_functions()))
    assert EVIL in found
    assert any(EVIL in text and text.startswith("shows(") for text in found), "a default is shown, as text"
    assert IMAGE in check(constant_table(pool.get_worker_constants()))
    assert "os.path.join" in check(dependency_table(pool.get_worker_dependencies()))
    events = pool.events()
    assert any("exited" in text for text in check(event_table(events, len(events))))
    check(status_table(pool.snapshot()))
    check(take_static_view(pool))


def test_a_worker_that_says_something_else_of_itself_is_text(pool: WorkerProcedureCall) -> None:
    """An error of a background task travels to the events with its name and its text."""
    pool.define_worker_functions(
        "import threading\ndef later():\n"
        f"    def run(): raise type({IMAGE!r}, (Exception,), {{}})({EVIL!r})\n"
        "    thread = threading.Thread(target=run)\n    thread.start()\n    thread.join()"
    )
    pool.call.later().result()
    pool.call.shows().result()  # the thread's event precedes this
    events = [event for event in pool.events() if event.error is not None]
    assert any(EVIL in event.error.message for event in events if event.error is not None)
    assert any(EVIL in text for text in check(event_table(events, len(events))))
    assert any(EVIL in text for text in check(take_static_view(pool)))


def test_a_pool_cannot_be_called_by_html() -> None:
    for name in (SCRIPT, IMAGE):
        with pytest.raises(OptionError, match=r"the pool's name .* is not a Python name"):
            WorkerProcedureCall(name=name)
