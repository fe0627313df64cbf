"""A real kernel, driven as a notebook drives it; every wait has a deadline."""

from __future__ import annotations

import errno
import os
import queue
import re
import select
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager

DEADLINE_S = 60.0
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Cell:
    """The output of one cell, including what arrives after its end."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.status = ""

    def _of(self, kind: str) -> list[dict[str, Any]]:
        return [content for name, content in self.messages if name == kind]

    def stream(self, name: str) -> str:
        return "".join(each["text"] for each in self._of("stream") if each["name"] == name)

    @property
    def text(self) -> str:
        """The text on stdout."""
        return self.stream("stdout")

    @property
    def value(self) -> str:
        """The value, or the displayed data, as text."""
        return "".join(bundle["text/plain"] for bundle in self.bundles)

    @property
    def displayed(self) -> list[str]:
        """The displayed data as text, including later updates."""
        shown: dict[str, str] = {}
        for name, content in self.messages:
            if name in ("display_data", "update_display_data"):
                shown[content["transient"].get("display_id", str(len(shown)))] = content["data"]["text/plain"]
        return list(shown.values())

    @property
    def bundles(self) -> list[dict[str, Any]]:
        return [each["data"] for each in self._of("execute_result") + self._of("display_data")]

    @property
    def error(self) -> str:
        """The displayed traceback, without colours."""
        return _COLOUR.sub("", "\n".join(line for each in self._of("error") for line in each["traceback"]))

    @property
    def error_name(self) -> str:
        return "".join(str(each["ename"]) for each in self._of("error"))


class Kernel:
    """A kernel process with its client.

    Parameters
    ----------
    folder : Path
        Its working folder; its temporary files and settings are in subfolders.
    name : str
        The name of its kernelspec.
    specs : Path, optional
        The folder of the kernelspec.
    """

    def __init__(self, folder: Path, name: str = "python3", specs: Path | None = None) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        env = {
            **os.environ,
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "TMPDIR": str(self.temporary),
            # The kernel may import a file that is being written: its bytecode must not persist.
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.manager = KernelManager(kernel_name=name, connection_file=str(folder / "connection.json"))
        if specs is not None:
            self.manager.kernel_spec_manager = KernelSpecManager(kernel_dirs=[str(specs)])
        self.manager.start_kernel(cwd=str(folder), env=env)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=DEADLINE_S)
        self._cells: defaultdict[str, Cell] = defaultdict(Cell)
        self.received: list[tuple[str, str, dict[str, Any]]] = []  # parent, kind and content, in order

    @property
    def pid(self) -> int:
        return int(self.manager.provisioner.pid)  # type: ignore[union-attr, attr-defined]

    @property
    def cells(self) -> list[Cell]:
        """All cells with output."""
        return list(self._cells.values())

    # -- cells ------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Forget what was received, so that a test does not take it for its own; all cells are done."""
        self._cells.clear()
        self.received.clear()

    def begin(self, code: str, store_history: bool = True) -> Cell:
        """Run a cell without waiting for it."""
        return self._cells[self.client.execute(code, allow_stdin=False, store_history=store_history)]

    def run(self, code: str, store_history: bool = True) -> Cell:
        """Run a cell until it is done."""
        return self.wait(self.begin(code, store_history))

    def wait(self, cell: Cell) -> Cell:
        """Wait until a cell is done."""
        self.until(lambda: cell.status == "idle")
        return cell

    def good(self, code: str) -> Cell:
        """Run a cell that must not fail."""
        cell = self.run(code)
        assert not cell.error, cell.error
        assert "UsageError" not in cell.stream("stderr"), cell.stream("stderr")
        return cell

    def until(self, condition: Callable[[], Any]) -> None:
        """Receive messages of the kernel until `condition` holds."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            try:
                message = self.client.get_iopub_msg(timeout=max(deadline - time.monotonic(), 0.01))
            except queue.Empty:
                shown = [cell.messages for cell in self._cells.values()]
                raise AssertionError(f"the kernel did not get there; it sent {shown}") from None
            parent = message["parent_header"].get("msg_id", "")
            cell = self._cells[parent]
            self.received.append((parent, message["msg_type"], message["content"]))
            if message["msg_type"] == "status":
                cell.status = message["content"]["execution_state"]
            else:
                cell.messages.append((message["msg_type"], message["content"]))

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression, which must be a literal."""
        import ast

        return ast.literal_eval(self.good(expression).value)

    def until_true(self, expression: str) -> None:
        """Evaluate an expression until it is true, where no message says when that is."""
        eventually(lambda: self.evaluate(f"bool({expression})"), expression)

    # -- widgets ----------------------------------------------------------------------------------------

    def send_to_widget(self, comm_id: str, **data: Any) -> Cell:
        """Send a message to a widget, without waiting for its callbacks; return what they show."""
        session = self.client.session
        message = session.msg("comm_msg", {"comm_id": comm_id, "data": data})
        cell = self._cells[message["header"]["msg_id"]]
        self.client.shell_channel.send(message)
        return cell

    def click(self, comm_id: str) -> Cell:
        """Click on a button."""
        return self.send_to_widget(comm_id, method="custom", content={"event": "click"})

    def change(self, comm_id: str, **state: Any) -> Cell:
        """Change a widget, as its user does."""
        return self.send_to_widget(comm_id, method="update", state=state, buffer_paths=[])

    def captured(self, comm_id: str) -> str:
        """Return the text that an Output widget captures: what has the parent that it asks for."""
        wanted, text = "", ""
        for parent, kind, content in self.received:
            if kind == "comm_msg" and content["comm_id"] == comm_id:
                wanted = content["data"].get("state", {}).get("msg_id", wanted)
            elif kind == "stream" and wanted and parent == wanted:
                text += content["text"]
        return text

    # -- other requests ---------------------------------------------------------------------------------

    def _reply(self, message_id: str) -> dict[str, Any]:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            reply = self.client.get_shell_msg(timeout=max(deadline - time.monotonic(), 0.01))
            if reply["parent_header"].get("msg_id") == message_id:
                content: dict[str, Any] = reply["content"]
                return content

    def complete(self, code: str) -> list[str]:
        """Return the completions of the Tab key."""
        reply = self._reply(self.client.complete(code, len(code)))
        return [code[: reply["cursor_start"]] + match for match in reply["matches"]]

    def inspect(self, code: str) -> str:
        """Return the help of Shift-Tab."""
        reply = self._reply(self.client.inspect(code, len(code)))
        return _COLOUR.sub("", reply["data"].get("text/plain", ""))

    def ask(self, code: str) -> str:
        """Return the pager's text for ``name?``."""
        reply = self._reply(self.client.execute(code))
        return _COLOUR.sub("", "".join(page["data"]["text/plain"] for page in reply["payload"]))

    # -- the end ----------------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Interrupt, as the stop button does."""
        self.manager.interrupt_kernel()

    def restart(self) -> None:
        """Restart, as the menu does."""
        self.manager.restart_kernel()
        self.client.wait_for_ready(timeout=DEADLINE_S)

    def kill(self) -> None:
        """Kill the kernel itself but not its group, as the out-of-memory killer does."""
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


def eventually(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition of which no message tells."""
    deadline = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        pause.wait(0.005)


class Processes:
    """Processes that a test waits for, by pidfd, so that a reused pid is not mistaken for one of them."""

    def __init__(self, pids: Iterable[int]) -> None:
        self.pids = sorted(pids)
        self._handles = [os.pidfd_open(pid) for pid in self.pids]

    @classmethod
    def under(cls, pid: int) -> Processes:
        """Return all descendants of a process."""
        return cls(child.pid for child in psutil.Process(pid).children(recursive=True))

    @property
    def alive(self) -> list[int]:
        poll = select.poll()
        for handle in self._handles:
            poll.register(handle, select.POLLIN)
        ended = {handle for handle, _ in poll.poll(0)}
        return [pid for pid, handle in zip(self.pids, self._handles, strict=True) if handle not in ended]

    @property
    def sessions(self) -> set[int]:
        """Their sessions; a session whose leader has exited keeps its id while it has members."""
        return {os.getsid(pid) for pid in self.pids}

    def wait_until_ended(self) -> None:
        """Wait until all have exited."""
        deadline = time.monotonic() + DEADLINE_S
        for pid, handle in zip(self.pids, self._handles, strict=True):
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            assert poll.poll(max(deadline - time.monotonic(), 0) * 1000), f"process {pid} is still there"

    def close(self) -> None:
        for handle in self._handles:
            os.close(handle)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def members(sessions: Iterable[int]) -> list[str]:
    """Return the processes in one of the sessions; without zombies, which init has to reap."""
    session_ids, found = set(sessions), []
    for process in psutil.process_iter(["cmdline", "status"]):
        info = process.info
        try:
            member = os.getsid(process.pid) in session_ids
        except ProcessLookupError:
            continue
        if member and info["status"] != psutil.STATUS_ZOMBIE:
            found.append(f"{process.pid} {info['status']} {info['cmdline']}")
    return found


class Gate:
    """Blocks a function in a worker until the test opens it: the function opens a named pipe for reading.

    Parameters
    ----------
    path : Path
        The path of the pipe.
    """

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path

    @property
    def wait(self) -> str:
        """The code that waits at the gate."""
        return f"open({str(self.path)!r}).read()"

    def open(self) -> None:
        """Wait until a function waits at the gate, and release it."""
        eventually(self.open_if_needed, "a function has reached the gate")

    def open_if_needed(self) -> bool:
        """Release the functions that wait at the gate; return whether there are any."""
        try:
            os.close(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            if error.errno != errno.ENXIO:  # no reader
                raise
            return False
        return True


__all__ = ["Cell", "Gate", "Kernel", "Processes", "closing", "eventually", "members"]
