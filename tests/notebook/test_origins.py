"""Which request a task or thread works for, with shells that only say what the last request was."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from multiprocessing.pool import ThreadPool
from typing import Any

import pytest

from wpc_magic.notebook.origins import Origins, same_origin


class Terminal:
    """A shell without a kernel."""


class Six:
    """A shell of ipykernel 6, whose stream has the variable, and holds headers."""

    def __init__(self) -> None:
        self.kernel: Any = type("Kernel", (), {})()
        self.kernel._stdout = type("Stream", (), {})()
        self.kernel._stdout._parent_header = self.variable = ContextVar("parent_header")
        self.parent: dict[str, Any] = {}

    def request(self, name: str) -> None:
        self.parent = {"header": {"msg_id": name}, "content": {"code": "long"}}
        self.variable.set(self.parent["header"])

    def get_parent(self) -> dict[str, Any]:
        return self.parent


class Seven(Six):
    """A shell of ipykernel 7, which has the variable itself, and holds whole requests."""

    def __init__(self) -> None:
        super().__init__()
        del self.kernel._stdout
        self._parent_header = self.variable

    def request(self, name: str) -> None:
        super().request(name)
        self.variable.set(self.parent)


class Other(Six):
    """A shell of some other kernel, without the variable."""

    def __init__(self) -> None:
        super().__init__()
        del self.kernel._stdout


class Cells:
    """Runs cells, and asks for the origin of what they do."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.origins = Origins(shell)
        self.current = self.origins.current

    def begin(self, name: str) -> Any:
        if not isinstance(self.shell, Terminal):
            self.shell.request(name)
        return self.origins.begin_cell()


@pytest.fixture(params=[Terminal, Six, Seven, Other])
def cells(request: pytest.FixtureRequest) -> Iterator[Cells]:
    cells = Cells(request.param())
    cells.origins.threads.install()
    yield cells
    cells.origins.threads.uninstall()


def test_a_call_belongs_to_the_cell_that_runs(cells: Cells) -> None:
    first = cells.begin("A")
    assert cells.current() == cells.origins.cell() == first
    second = cells.begin("B")
    assert cells.current() == cells.origins.cell() == second
    assert first != second


def test_the_origin_is_the_header_without_the_text_of_the_cell() -> None:
    assert Cells(Six()).begin("A") == Cells(Seven()).begin("A") == {"msg_id": "A"}


def test_a_thread_works_for_the_cell_that_has_started_it(cells: Cells) -> None:
    going, found = threading.Event(), list[Any]()

    def inner() -> None:
        assert going.wait(60)
        found.append(cells.current())

    def outer() -> None:
        thread = threading.Thread(target=inner)
        thread.start()
        thread.join()

    first = cells.begin("A")
    thread = threading.Thread(target=outer)
    thread.start()
    cells.begin("B")
    going.set()
    thread.join()
    assert found == [first]


def test_a_thread_of_the_pool_works_for_every_cell(cells: Cells) -> None:
    going, found = threading.Event(), list[Any]()
    cells.begin("A")
    thread = threading.Thread(
        target=lambda: (going.wait(60), found.append(cells.current())), name="wpc-driver"
    )
    thread.start()
    second = cells.begin("B")
    going.set()
    thread.join()
    assert found == [second]


def test_an_executor_works_for_the_cell_that_submits(cells: Cells) -> None:
    with ThreadPoolExecutor(1) as executor:
        first = cells.begin("A")
        assert executor.submit(cells.current).result() == first
        second = cells.begin("B")
        assert executor.submit(cells.current).result() == second
        assert executor.submit(lambda *args, **kwargs: (args, kwargs), 1, x=2).result() == ((1,), {"x": 2})
        assert isinstance(executor.submit("no function").exception(), TypeError)  # type: ignore[arg-type]


def test_a_pool_of_threads_works_for_the_cell_that_submits(cells: Cells) -> None:
    def asks(*_: object) -> Any:
        return cells.current()

    cells.begin("A")
    with ThreadPool(1) as pool:
        second = cells.begin("B")
        assert pool.apply(asks) == second
        assert pool.map(asks, [1]) == pool.starmap(asks, [(1,)]) == [second]
        assert list(pool.imap(asks, [1])) == list(pool.imap_unordered(asks, [1])) == [second]
        pool.close()
        pool.join()


@pytest.mark.parametrize("shell", [Terminal, Six, Seven])
def test_a_task_works_for_the_cell_that_has_created_it(shell: Any) -> None:
    cells, found = Cells(shell()), list[Any]()

    async def run(going: asyncio.Event) -> None:
        await going.wait()
        found.append(cells.current())

    async def two_cells() -> Any:
        going, first = asyncio.Event(), cells.begin("A")
        task = asyncio.create_task(run(going))
        cells.begin("B")
        going.set()
        await task
        return first

    first = copy_context().run(asyncio.run, two_cells())
    assert found == [first]


def test_what_a_thread_is_given_by_the_kernel_counts_more_than_who_started_it() -> None:
    # As ``with out:`` does in a thread: its text is captured by the request that the kernel names there.
    cells, found = Cells(Seven()), list[Any]()
    cells.origins.threads.install()
    try:
        cells.begin("A")
        thread = threading.Thread(target=lambda: (cells.shell.request("B"), found.append(cells.current())))
        thread.start()
        thread.join()
    finally:
        cells.origins.threads.uninstall()
    assert found == [{"msg_id": "B"}]


def test_a_cell_is_right_where_something_has_replaced_the_stream() -> None:
    # ipykernel 6 then sets nothing but what `get_parent` returns.
    cells = Cells(Six())
    cells.begin("A")
    cells.shell.parent = {"header": {"msg_id": "B"}}
    assert cells.origins.begin_cell() == cells.current() == {"msg_id": "B"}


@pytest.mark.parametrize("shell", [Six, Seven, Other, Terminal])
def test_before_the_first_request_there_is_no_origin(shell: Any) -> None:
    assert copy_context().run(Cells(shell()).current) is None


def test_threads_are_as_before_after_it() -> None:
    def methods() -> list[dict[str, Any]]:
        return [dict(vars(owner)) for owner in (threading.Thread, ThreadPoolExecutor, ThreadPool)]

    before, cells = methods(), Cells(Terminal())
    cells.origins.threads.install()
    assert all(now != then for now, then in zip(methods(), before, strict=True))
    cells.origins.threads.uninstall()
    assert methods() == before


def test_who_has_wrapped_them_since_keeps_working(monkeypatch: pytest.MonkeyPatch) -> None:
    cells, started = Cells(Terminal()), list[str]()
    monkeypatch.setattr(threading.Thread, "start", threading.Thread.start)  # restored at the end
    cells.origins.threads.install()
    ours = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        started.append(thread.name)
        ours(thread)

    threading.Thread.start = start  # type: ignore[method-assign]
    cells.origins.threads.uninstall()
    assert threading.Thread.start is start
    thread = threading.Thread(target=str, name="theirs")
    thread.start()
    thread.join()
    assert started == ["theirs"]
    assert "origin" not in " ".join(vars(thread))


def test_origins_are_the_same_if_the_request_is() -> None:
    assert same_origin({"msg_id": "A", "date": 1}, {"msg_id": "A"})
    assert not same_origin({"msg_id": "A"}, {"msg_id": "B"})
    assert not same_origin({"cell": 1}, {"cell": 2})
    assert not same_origin(None, None)
    assert not same_origin("a run", "another")
