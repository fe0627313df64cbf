"""Workers' output in the cell that made the call, with a kernel that only records what is sent."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, ClassVar, NamedTuple

import pytest

from wpc_magic.notebook import output as output_module
from wpc_magic.notebook.output import NotebookOutput

HOUR_S = 3600.0


class Text(NamedTuple):
    """An `OutputText` of the pool."""

    text: str
    origin: Any
    stream: str = "stdout"
    worker_id: int = 1
    call_id: int | None = 1


class Session:
    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str]] = []
        self.arrived = threading.Event()
        self.broken = False

    def send(self, socket: Any, kind: str, content: Any, *, parent: Any, ident: bytes) -> None:
        if self.broken:
            raise RuntimeError("the socket is closed")
        assert kind == "stream"
        assert ident == b"stream." + content["name"].encode()
        self.sent.append((parent["msg_id"], content["name"], content["text"]))
        self.arrived.set()


class Kernel:
    def __init__(self) -> None:
        self.session = Session()
        self.iopub_socket = object()


class Shell:
    """A kernel's shell that runs cells, identified by their names."""

    def __init__(self, kernel: Kernel | None) -> None:
        if kernel is not None:
            self.kernel = kernel
        self.cell = ""

    def get_parent(self) -> dict[str, Any]:
        return {"header": {"msg_id": self.cell}, "content": {"code": "long " * 1000}}


class Setup:
    def __init__(self, make: Callable[[Any, float], NotebookOutput], flush_interval_s: float) -> None:
        self.kernel = Kernel()
        self.shell = Shell(self.kernel)
        self.sink = make(self.shell, flush_interval_s)

    @property
    def sent(self) -> list[tuple[str, str, str]]:
        return self.kernel.session.sent

    def begin(self, cell: str) -> Any:
        self.shell.cell = cell
        return self.sink.begin_cell()

    def flush_once(self) -> None:
        """Make a flush happen, so that subsequent text is buffered."""
        self.from_another_thread(Text("first", {"msg_id": "an earlier cell"}))
        assert self.kernel.session.arrived.wait(30)
        self.sent.clear()

    def from_another_thread(self, *texts: Text) -> None:
        """Deliver texts in another thread."""

        def deliver() -> None:
            for text in texts:
                self.sink(text)

        thread = threading.Thread(target=deliver)
        thread.start()
        thread.join()


@pytest.fixture
def make() -> Iterator[Callable[[Any, float], NotebookOutput]]:
    made: list[NotebookOutput] = []

    def make(shell: Any, flush_interval_s: float) -> NotebookOutput:
        made.append(NotebookOutput(shell, flush_interval_s))
        return made[-1]

    yield make
    for sink in made:
        sink.close()


@pytest.fixture
def slow(make: Callable[[Any, float], NotebookOutput], monkeypatch: pytest.MonkeyPatch) -> Setup:
    """A sink that would buffer for an hour, while the kernel's own streams are in place."""
    monkeypatch.setattr(output_module, "_is_captured", lambda stream: False)
    return Setup(make, HOUR_S)


def test_text_in_the_cells_own_thread_is_written_among_its_prints(
    slow: Setup, capsys: pytest.CaptureFixture[str]
) -> None:
    origin = slow.begin("A")
    print("before ", end="")
    slow.sink(Text("worker ", origin))
    print("after", end="")
    assert capsys.readouterr().out == "before worker after"
    assert slow.sent == []


def test_text_from_another_thread_reaches_its_cell_before_that_is_done(
    slow: Setup, capsys: pytest.CaptureFixture[str]
) -> None:
    slow.flush_once()
    origin = slow.begin("A")
    slow.from_another_thread(Text("one\n", origin), Text("two\n", origin))
    assert (capsys.readouterr().out, slow.sent) == ("", [])
    slow.sink.end_cell()
    assert capsys.readouterr().out + "".join(text for _, _, text in slow.sent) == "one\ntwo\n"


def test_text_of_no_call_belongs_to_the_request_that_came_last(
    make: Callable[[Any, float], NotebookOutput], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_module, "_is_captured", lambda stream: False)
    setup = Setup(make, HOUR_S)
    setup.begin("A")
    setup.sink.end_cell()
    setup.flush_once()
    setup.from_another_thread(Text("of a setup", None))
    setup.sink.flush()
    assert setup.sent == [("A", "stdout", "of a setup")]


def test_text_of_an_earlier_cell_goes_to_that_cell(slow: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    first = slow.begin("A")
    slow.sink.end_cell()
    second = slow.begin("B")
    slow.sink(Text("late", first))
    slow.sink(Text("now", second))
    slow.sink.flush()
    assert slow.sent == [("A", "stdout", "late")]
    assert capsys.readouterr().out == "now"


def test_text_from_another_thread_goes_before_later_text_in_the_cells_own(
    slow: Setup, capsys: pytest.CaptureFixture[str]
) -> None:
    slow.flush_once()
    origin = slow.begin("A")
    slow.from_another_thread(Text("1", origin))
    slow.sink(Text("2", origin))
    assert capsys.readouterr().out == "12"


def test_what_the_cell_itself_has_printed_goes_before_text_from_another_thread(
    slow: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stream(io.StringIO):
        def flush(self) -> None:
            if self.getvalue():
                slow.sent.append(("the cell", "stdout", self.getvalue()))
                self.truncate(0)

    monkeypatch.setattr(sys, "stdout", Stream())
    origin = slow.begin("A")
    print("mine", end="")
    slow.from_another_thread(Text("the worker's", origin))
    assert slow.kernel.session.arrived.wait(30)
    assert [text for _, _, text in slow.sent] == ["mine", "the worker's"]


@pytest.mark.parametrize("leads_to", ["A", "B"])
def test_a_stream_that_leads_to_the_running_cell_takes_its_text_in_any_thread(
    slow: Setup, monkeypatch: pytest.MonkeyPatch, leads_to: str
) -> None:
    class Stream(io.StringIO):
        parent_header: ClassVar[dict[str, str]] = {"msg_id": leads_to}

    stream = Stream()
    monkeypatch.setattr(sys, "stdout", stream)
    slow.flush_once()
    origin = slow.begin("A")
    slow.from_another_thread(Text("at once", origin))
    assert stream.getvalue() == ("at once" if leads_to == "A" else "")


def test_neighbours_travel_together_and_the_order_stays(slow: Setup) -> None:
    slow.flush_once()
    origin = slow.begin("A")
    slow.sink.end_cell()
    other = slow.begin("B")
    slow.from_another_thread(
        Text("1", origin), Text("2", origin), Text("3", origin, "stderr"), Text("4", origin), Text("x", other)
    )
    slow.sink.end_cell()
    assert [each for each in slow.sent if each[0] == "A"] == [
        ("A", "stdout", "12"),
        ("A", "stderr", "3"),
        ("A", "stdout", "4"),
    ]


def test_gathered_text_goes_out_by_itself(
    make: Callable[[Any, float], NotebookOutput], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_module, "_is_captured", lambda stream: False)
    quick = Setup(make, 0.001)
    origin = quick.begin("A")
    quick.from_another_thread(Text("soon", origin))
    assert quick.kernel.session.arrived.wait(30)
    assert quick.sent == [("A", "stdout", "soon")]


def test_a_stream_put_in_place_of_the_kernels_gets_the_text(
    make: Callable[[Any, float], NotebookOutput], capsys: pytest.CaptureFixture[str]
) -> None:
    # pytest replaces the stream, as `%%capture` and `redirect_stdout` do.
    setup = Setup(make, HOUR_S)
    origin = setup.begin("A")
    setup.from_another_thread(Text("captured", origin))
    assert capsys.readouterr().out == "captured"


def test_closing_sends_what_is_left_and_ends_the_one_thread(slow: Setup) -> None:
    slow.flush_once()
    origin = slow.begin("A")
    slow.sink.end_cell()
    slow.begin("B")
    slow.from_another_thread(Text("a", origin))
    slow.from_another_thread(Text("b", origin))
    assert [thread.name for thread in threading.enumerate()].count("wpc-output") == 1
    slow.sink.close()
    assert slow.sent == [("A", "stdout", "ab")]
    assert "wpc-output" not in [thread.name for thread in threading.enumerate()]
    slow.from_another_thread(Text("c", origin))  # late text does not start the thread again
    assert "wpc-output" not in [thread.name for thread in threading.enumerate()]


def test_a_kernel_that_shuts_down_makes_no_noise(slow: Setup) -> None:
    origin = slow.begin("A")
    slow.sink.end_cell()
    slow.kernel.session.broken = True
    slow.from_another_thread(Text("a", origin))
    slow.sink.flush()


def test_without_a_kernel_text_is_written_at_once(
    make: Callable[[Any, float], NotebookOutput], capsys: pytest.CaptureFixture[str]
) -> None:
    sink = make(Shell(None), HOUR_S)
    sink.begin_cell()
    sink(Text("out\n", None))
    sink(Text("err\n", None, "stderr"))
    assert capsys.readouterr() == ("out\n", "err\n")


def test_the_origin_is_small(slow: Setup) -> None:
    assert slow.begin("A") == {"msg_id": "A"}


class ParentStream(io.StringIO):
    """A stream of the kernel: it keeps the text of each request apart."""

    def __init__(self, name: str, log: list[tuple[str, str, str]]) -> None:
        super().__init__()
        self._parent_header: ContextVar[dict[str, str]] = ContextVar("parent_header")
        self._name, self._log = name, log

    def write(self, text: str) -> int:
        self._log.append((self._parent_header.get()["msg_id"], self._name, text))
        return len(text)

    def flush(self) -> None:
        self._log.append(("", self._name, "flush"))


@pytest.fixture
def kept_apart(
    make: Callable[[Any, float], NotebookOutput], monkeypatch: pytest.MonkeyPatch
) -> tuple[Setup, list[tuple[str, str, str]]]:
    """A sink whose kernel has streams that keep requests apart, and what was written to them."""
    log: list[tuple[str, str, str]] = []
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(Kernel, f"_{name}", ParentStream(name, log), raising=False)
    return Setup(make, HOUR_S), log


def test_text_is_written_to_the_kernels_stream_as_of_its_origin_in_any_thread(
    kept_apart: tuple[Setup, list[tuple[str, str, str]]],
) -> None:
    setup, log = kept_apart
    first = setup.begin("A")
    setup.sink.end_cell()
    setup.begin("B")
    setup.sink(Text("in the main thread", first))
    setup.from_another_thread(Text("in another", first))
    assert log == [("A", "stdout", "in the main thread"), ("A", "stdout", "in another")]
    assert setup.sent == []


def test_the_other_stream_is_flushed_first_so_that_the_order_stays(
    kept_apart: tuple[Setup, list[tuple[str, str, str]]],
) -> None:
    setup, log = kept_apart
    origin = {"msg_id": "A"}
    setup.from_another_thread(Text("1", origin), Text("2", origin, "stderr"), Text("3", origin))
    assert log == [
        ("A", "stdout", "1"),
        ("", "stdout", "flush"),
        ("A", "stderr", "2"),
        ("", "stderr", "flush"),
        ("A", "stdout", "3"),
    ]


def test_redirected_text_of_the_callback_that_runs_is_redirected(
    kept_apart: tuple[Setup, list[tuple[str, str, str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    # pytest replaces the stream. No cell runs: the main thread handles a message of a widget.
    setup, log = kept_apart
    setup.shell.cell = "a click"
    setup.sink(Text("captured,", {"msg_id": "a click"}))
    # The thread that reads it delivers it, if the main thread does not wait yet.
    setup.from_another_thread(
        Text(" too", {"msg_id": "a click"}), Text("not captured", {"msg_id": "another click"})
    )
    assert capsys.readouterr().out == "captured, too"
    assert log == [("another click", "stdout", "not captured")]


def test_an_origin_that_is_no_request_is_written_to_the_stream(
    slow: Setup, capsys: pytest.CaptureFixture[str]
) -> None:
    slow.begin("A")
    slow.sink(Text("of a run", "the nightly run"))
    slow.sink.flush()
    assert capsys.readouterr().out == "of a run"
