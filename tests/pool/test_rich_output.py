"""What functions show besides text, in a program without a notebook."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.driver.output import OutputDisplay, OutputRecord, OutputText

FUNCTIONS = """
import warnings

class Bold:
    def __repr__(self):
        return "bold"
    def _repr_html_(self):
        return "<b>bold</b>"

def shows():
    print("before")
    display(Bold())
    print("after")

def updates():
    handle = display("old", display_id=True)
    handle.update("new")
    return handle.display_id

def plots(n):
    import matplotlib.pyplot as plt
    plt.plot([n, n])
    return len(plt.gca().lines)

async def plots_in_turns(n):
    import asyncio
    import matplotlib.pyplot as plt
    figure = plt.figure()
    await asyncio.sleep(0)
    figure.add_subplot().set_title(str(n))
    return plt.get_fignums()

def warns(n):
    warnings.warn("careful")

def records():
    with warnings.catch_warnings(record=True) as found:
        warnings.warn("kept")
    return [str(each.message) for each in found]

def filters_again():
    "Do what scikit-learn does in each of its threads."
    for action, message, category, module, lineno in list(warnings.filters):
        names = [getattr(each, "pattern", each) or "" for each in (message, module)]
        assert all(type(name) is str for name in names), (message, module)
        with warnings.catch_warnings():
            warnings.filterwarnings(action, names[0], category, names[1], lineno)

def logs(*levels):
    import logging
    for level in levels:
        logging.getLogger("tests.of.records").log(level, "at %s", level)

def logs_before_and_after(door):
    import logging
    logger = logging.getLogger("tests.of.records")
    logger.info("before")
    held(door)
    logger.info("after")

def logs_beside_a_file(path):
    import logging
    handler = logging.FileHandler(path)
    logger = logging.getLogger("tests.of.records")
    logger.addHandler(handler)
    logger.warning("twice")
    logger.removeHandler(handler)
    handler.close()

def forks():
    import os
    pid = os.fork()
    if not pid:
        display(Bold())
        os._exit(0)
    os.waitpid(pid, 0)

def imports():
    import sys
    return {"IPython", "logging", "matplotlib"} & set(sys.modules)
"""


@pytest.fixture(scope="module", autouse=True)
def functions(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions(FUNCTIONS)


@pytest.fixture
def sunk(pool: WorkerProcedureCall) -> Iterator[list[Any]]:
    """What arrives at a sink."""
    found: list[Any] = []
    pool.output_sink = found.append
    yield found
    pool.output_sink = None


@pytest.fixture
def logged() -> Iterator[list[logging.LogRecord]]:
    """What arrives at the loggers of this process."""
    found: list[logging.LogRecord] = []

    class Keeps(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record)

    logger, handler = logging.getLogger("tests"), Keeps()
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


@pytest.fixture
def level() -> Iterator[Callable[[int], None]]:
    """Set the level of the loggers of these tests."""
    logger = logging.getLogger("tests.of")
    yield logger.setLevel
    logger.setLevel(logging.NOTSET)


def test_workers_that_show_nothing_import_nothing_for_it(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    pool.call.shows().result()
    assert pool.call.imports().result() == set()


def test_a_display_is_printed_as_text(pool: WorkerProcedureCall, capsys: pytest.CaptureFixture[str]) -> None:
    pool.call.shows().result()
    assert capsys.readouterr().out == "before\nbold\nafter\n"


def test_a_function_that_runs_here_may_display_too(
    pool: WorkerProcedureCall, capsys: pytest.CaptureFixture[str]
) -> None:
    pool.call.shows.local()
    assert capsys.readouterr().out == "before\nbold\nafter\n"


def test_a_sink_gets_a_mime_bundle_with_the_origin_of_the_call(
    pool: WorkerProcedureCall, sunk: list[Any]
) -> None:
    pool.origin = "the cell"
    try:
        call = pool.call.shows.options(worker_id=2)()
        call.result()
    finally:
        pool.origin = None
    data = {"text/plain": "bold", "text/html": "<b>bold</b>"}
    content = {"data": data, "metadata": {}, "transient": {}}
    assert sunk == [
        OutputText("before\n", "the cell", "stdout", 2, call.call_id),
        OutputDisplay("bold\n", "the cell", "stdout", 2, call.call_id, "display_data", content),
        OutputText("after\n", "the cell", "stdout", 2, call.call_id),
    ]


def test_a_display_that_is_updated_keeps_its_id(pool: WorkerProcedureCall, sunk: list[Any]) -> None:
    display_id = pool.call.updates().result()
    assert [(each.kind, each.text, each.content["transient"]) for each in sunk] == [
        ("display_data", "'old'\n", {"display_id": display_id}),
        ("update_display_data", "'new'\n", {"display_id": display_id}),
    ]


def test_what_a_fork_displays_is_printed(pool: WorkerProcedureCall) -> None:
    shown, is_shown = "", threading.Event()

    def sink(output: Any) -> None:
        nonlocal shown
        shown += output.text
        if "bold\n" in shown:
            is_shown.set()

    pool.output_sink = sink
    try:
        pool.call.forks().result()
        # A fork writes to the worker's stdout, which is read beside the answers.
        assert is_shown.wait(60)
    finally:
        pool.output_sink = None


def test_each_item_of_a_map_has_its_own_figure(pool: WorkerProcedureCall, sunk: list[Any]) -> None:
    assert list(pool.map("plots", range(12), chunk_size=6)) == [1] * 12
    assert [each.content["data"]["image/png"][:8] for each in sunk] == ["iVBORw0K"] * 12


def test_coroutines_that_interleave_each_show_their_own_figure(
    pool: WorkerProcedureCall, sunk: list[Any]
) -> None:
    calls = [pool.call.plots_in_turns.options(worker_id=1)(n) for n in range(3)]
    for call in calls:
        call.result()
    assert [each.call_id for each in sunk] == [call.call_id for call in calls]


def test_a_warning_of_all_workers_is_shown_once(
    pool: WorkerProcedureCall, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        list(pool.map("warns", range(20), chunk_size=1))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("UserWarning: careful")
    assert lines[1] == '  warnings.warn("careful")'


def test_a_warning_of_a_later_cell_is_shown_there_again(pool: WorkerProcedureCall, sunk: list[Any]) -> None:
    for origin in ({"cell": 1}, {"cell": 2}):
        pool.origin = origin
        list(pool.map("warns", range(20), chunk_size=1))
    pool.origin = None
    assert [(each.origin, each.stream) for each in sunk] == [({"cell": 1}, "stderr"), ({"cell": 2}, "stderr")]


def test_functions_may_record_warnings_themselves(pool: WorkerProcedureCall, sunk: list[Any]) -> None:
    assert pool.call.records().result() == ["kept"]
    assert sunk == []


def test_what_filters_warnings_in_a_worker_can_be_given_on(pool: WorkerProcedureCall) -> None:
    assert pool.call.filters_again().result() is None


def test_a_record_arrives_before_the_value_with_its_worker_and_its_call(
    pool: WorkerProcedureCall, logged: list[logging.LogRecord]
) -> None:
    call = pool.call.logs.options(worker_id=1)(logging.WARNING)
    call.result()
    (record,) = logged
    assert (record.name, record.levelname, record.getMessage()) == ("tests.of.records", "WARNING", "at 30")
    assert (record.worker_id, record.call) == (1, f"logs #{call.call_id}")  # type: ignore[attr-defined]
    assert record.funcName == "logs"


def test_a_level_that_is_changed_holds_for_the_next_call(
    pool: WorkerProcedureCall, logged: list[logging.LogRecord], level: Callable[[int], None]
) -> None:
    logs = pool.call.logs.options(worker_id=2)
    levels = logging.DEBUG, logging.INFO, logging.ERROR
    for each in (logging.INFO, logging.DEBUG, logging.ERROR, logging.NOTSET):
        level(each)
        logs(*levels).result()
    assert [record.levelno for record in logged] == [20, 40, 10, 20, 40, 40, 40]
    logging.disable(logging.ERROR)
    try:
        logs(*levels, logging.CRITICAL).result()
    finally:
        logging.disable(logging.NOTSET)
    assert [record.levelno for record in logged[7:]] == [50]


def test_a_level_that_is_changed_holds_for_a_call_that_runs(
    pool: WorkerProcedureCall, logged: list[logging.LogRecord], level: Callable[[int], None], door: Any
) -> None:
    call = pool.call.logs_before_and_after.options(worker_id=1)(door.path)
    visit = door.wait()
    level(logging.INFO)
    pool.stack(1, timeout_ms=60_000)  # the worker takes both in order
    visit.let_go()
    call.result()
    assert [record.getMessage() for record in logged] == ["after"]


def test_records_that_are_not_wanted_are_not_sent(
    pool: WorkerProcedureCall, level: Callable[[int], None]
) -> None:
    found: list[OutputRecord] = []

    class Sink:
        def __call__(self, output: object) -> None: ...

        def log(self, output: OutputRecord) -> None:
            found.append(output)

    level(logging.WARNING)
    pool.output_sink = Sink()
    try:
        pool.call.logs(logging.INFO, logging.WARNING).result()
    finally:
        pool.output_sink = None
    assert [each.text for each in found] == ["at 30\n"]


def test_a_handler_of_the_workers_own_takes_a_record_too(
    pool: WorkerProcedureCall, logged: list[logging.LogRecord], tmp_path: Any
) -> None:
    pool.call.logs_beside_a_file(tmp_path / "log").result()
    assert (tmp_path / "log").read_text() == "twice\n"
    assert [record.getMessage() for record in logged] == ["twice"]
