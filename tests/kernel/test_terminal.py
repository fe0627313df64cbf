"""IPython in a terminal: the extension works there, and Ctrl-C means what the stop button means."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.kernel.kernels import DEADLINE_S, Gate, Processes, members

pytestmark = pytest.mark.kernel

# Takes the terminal that it is given as its own, as a shell's child has it: so Ctrl-C reaches it. It would be
# ignored where these tests themselves run in the background of a script.
_OF_ITS_OWN = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """IPython at a pseudo-terminal."""

    def __init__(self, folder: Path) -> None:
        self._ours, theirs = pty.openpty()
        options = ["--simple-prompt", "--no-banner", "--colors=NoColor", "--HistoryManager.enabled=False"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _OF_ITS_OWN, "-m", "IPython", *options],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            cwd=folder,
            env={**os.environ, "IPYTHONDIR": str(folder / "ipython"), "TERM": "dumb"},
        )
        os.close(theirs)
        self._shown = ""
        self.until("In [1]: ")

    def until(self, text: str) -> str:
        """Return what is shown up to a text, and wait for that."""
        deadline = time.monotonic() + DEADLINE_S
        while text not in self._shown:
            ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{text!r} was not shown, but {self._shown!r}"
            data = os.read(self._ours, 65536).decode(errors="replace")
            self._shown = _ESCAPES.sub("", self._shown + data.replace("\r\n", "\n"))
        before, _, self._shown = self._shown.partition(text)
        return before + text

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def cell(self, line: str) -> str:
        """Run a line, and return what it shows."""
        self.type(line + "\n")
        shown = self.until("In [")
        self.until("]: ")
        return shown

    def exit(self) -> None:
        """Leave IPython, as a person does."""
        self.type("exit()\n")
        self.process.wait(DEADLINE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with closing(Terminal(tmp_path)) as terminal:
        yield terminal


WAITS = (
    'wpc.define_worker_functions(\'def waits(gate):\\n    print("at the gate", flush=True)\\n'
    "    open(gate).read()\\ndef where():\\n    import os\\n    return os.getpid()\\n')"
)


@pytest.mark.parametrize(
    "code",
    [
        "wpc.call.waits({gate!r}).result()",
        "%wpc_call waits({gate!r})",
        "await wpc.call.waits({gate!r})",
        "list(wpc.map('waits', [{gate!r}]))",
    ],
)
def test_ctrl_c_ends_the_wait_and_the_call_and_no_worker(terminal: Terminal, gate: Gate, code: str) -> None:
    terminal.cell("%load_ext wpc_magic")
    terminal.cell("%wpc_start -n 1")
    terminal.cell(WAITS)
    with Processes.under(terminal.process.pid) as workers:
        sessions = workers.sessions
        terminal.type(code.format(gate=str(gate.path)) + "\n")
        terminal.until("at the gate")
        terminal.type("\x03")
        shown = terminal.until("In [")
        assert "interrupted: 1 call cancelled" in shown
        assert "KeyboardInterrupt" in shown
        if "await" not in code:  # there, IPython shows asyncio's frames, which it hits anywhere
            assert not re.search(r"(driver|waiters|interrupts)\.py", shown), "it is short"
        terminal.until("]: ")
        assert str(workers.pids[0]) in terminal.cell("wpc.call.where().result()")
        terminal.exit()
        workers.wait_until_ended()
        assert members(sessions) == []
