"""IPython in a terminal: the extension works there, and Ctrl-C does what the stop button does."""

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

# Makes the given terminal its controlling terminal, so that Ctrl-C reaches it. SIGINT would be ignored if
# these tests themselves run in the background of a script.
_WITH_TERMINAL = """
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
            [sys.executable, "-c", _WITH_TERMINAL, "-m", "IPython", *options],
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
        """Wait for a text, and return the output up to it."""
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
        """Run a line, and return its output."""
        self.type(line + "\n")
        shown = self.until("In [")
        self.until("]: ")
        return shown

    def exit(self) -> None:
        """Exit IPython, as a user does."""
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
        assert not re.search(r"(driver|waiters|interrupts|base_events|selectors)\.py", shown), "it is short"
        assert shown.count("\n") < 12
        terminal.until("]: ")
        assert str(workers.pids[0]) in terminal.cell("wpc.call.where().result()")
        terminal.exit()
        workers.wait_until_ended()
        assert members(sessions) == []


def test_a_failed_call_is_debugged_here_with_its_variables(terminal: Terminal) -> None:
    terminal.cell("%load_ext wpc_magic")
    terminal.cell(
        "wpc.define_worker_functions('def bad(rows):\\n    n = len(rows)\\n    return n / int(rows[0])\\n')"
    )
    assert "in bad(['0', 'x']) #1 on worker" in terminal.cell("wpc.call.bad(['0', 'x']).result()")
    terminal.type("%debug\n")
    shown = terminal.until("ipdb> ")
    assert "variables stay in the worker. Type: %wpc_debug" in shown
    terminal.type("q\n")
    terminal.until("]: ")
    for line in ("%wpc_debug", "%wpc_debug #1"):
        terminal.type(line + "\n")
        shown = terminal.until("ipdb> ")
        assert re.search(r"on worker \d it ran for [^:]+: ZeroDivisionError: division by zero\n", shown)
        assert "bad(['0', 'x']) #1, run again here:\nZeroDivisionError: division by zero" in shown
        assert "return n / int(rows[0])" in shown
        terminal.type("p rows, n\n")
        assert "(['0', 'x'], 2)" in terminal.until("ipdb> ")
        terminal.type("q\n")
        terminal.until("]: ")
    terminal.cell(
        "wpc.define_worker_functions('async def waits(rows):\\n    n = len(rows)\\n    return 1 / n\\n')"
    )
    assert "in waits([]) #" in terminal.cell("wpc.call.waits([]).result()")
    terminal.type("%wpc_debug\n")
    assert "return 1 / n" in terminal.until("ipdb> ")
    terminal.type("p rows, n\n")
    assert "([], 0)" in terminal.until("ipdb> ")
    terminal.type("q\n")
    terminal.until("]: ")
    assert "none of the last that failed" in terminal.cell("%wpc_debug #7")
    assert "is given by its number" in terminal.cell("%wpc_debug bad")
    terminal.exit()


@pytest.mark.parametrize("code", ["wpc.call.waits({gate!r}).result()", "await wpc.call.waits({gate!r})"])
def test_a_long_wait_is_one_line_that_rewrites_itself(terminal: Terminal, gate: Gate, code: str) -> None:
    terminal.cell("%load_ext wpc_magic")
    terminal.cell("%wpc_start -n 1")
    terminal.cell("%config WpcMagics.progress = 0.001")
    terminal.cell(WAITS)
    terminal.type(code.format(gate=str(gate.path)) + "\n")
    terminal.until("at the gate\n")
    terminal.until("\rwaits('/")
    terminal.until("\rwaits('/")
    gate.open()
    shown = terminal.until("In [")
    assert " took " in shown.rpartition("\r")[2]
    assert "wpc_magic" not in shown
    terminal.until("]: ")
    terminal.exit()


def test_a_map_is_one_line_and_its_end_stays(terminal: Terminal, gate: Gate) -> None:
    terminal.cell("%load_ext wpc_magic")
    terminal.cell("%wpc_start -n 1")
    terminal.cell("%config WpcMagics.progress = 0.001")
    terminal.cell(WAITS)
    terminal.type(f"x = list(wpc.map('waits', ['/dev/null', {str(gate.path)!r}], chunk_size=1))\n")
    terminal.until("\r██████████░░░░░░░░░░ item 1/2 · ")
    gate.open()
    shown = terminal.until("In [")
    assert re.search(r"\r2 items in [^\r]* s( · workers \d+ % busy)?\n", shown)  # busy: if it took a while
    terminal.until("]: ")
    terminal.exit()


def test_a_background_cell_tells_its_end_and_its_value(terminal: Terminal) -> None:
    terminal.cell("%load_ext wpc_magic")
    terminal.cell("K = 3")
    # Its end may be told at once, or while it is waited for.
    shown = terminal.cell(r"get_ipython().run_cell('%%wpc_cell -o y\ny = K * 2\ny + 1');")
    terminal.type("%wpc_wait y\n")
    shown += terminal.until("In [") + terminal.until("]: ")
    shown += terminal.cell("y")
    assert re.search(r"Cell In\[\d+\] finished( in .+)? → y\n7\n", shown)
    assert ": 6\n" in shown


def test_what_goes_on_says_what_to_type_to_stop_it(terminal: Terminal, gate: Gate) -> None:
    terminal.cell("%load_ext wpc_magic")
    terminal.cell("%wpc_start -n 1")
    terminal.cell(WAITS)
    shown = terminal.cell(f"wpc.call.waits({str(gate.path)!r})")
    (typed,) = re.findall(r"waits #1: [^\n]* · (Out\[\d+\]\.cancel\(\)) stops it\n", shown)
    # What the worker prints, and the end of the cell, are told at any time, also in the middle of a line.
    assert "it was True" in terminal.cell(f"print('it was %s' % {typed})")
    background = f"%%wpc_cell\\nopen({str(gate.path)!r}).read()"
    shown = terminal.cell(f'get_ipython().run_cell("{background}").result')
    assert re.search(r"Cell In\[\d+\] [^\n]* · Out\[\d+\]\.cancel\(\) stops it\n", shown)
    assert "it was True" in terminal.cell("print('it was %s' % _.cancel())")
    terminal.exit()


def test_the_workers_are_watched_live_until_ctrl_c_which_ends_no_call(terminal: Terminal, gate: Gate) -> None:
    terminal.cell("%load_ext wpc_magic")
    terminal.cell("%wpc_start -n 1")
    terminal.cell(WAITS)
    terminal.cell(f"f = wpc.call.waits({str(gate.path)!r})")
    assert "This stands still." in terminal.cell("%wpc_dashboard")
    terminal.type("%wpc_status --watch\n")
    for _ in range(2):
        terminal.until("waits #1")
        terminal.until("Live; Ctrl-C ends this, and nothing else.")
    gate.open()
    terminal.until("Live; Ctrl-C ends this, and nothing else.")
    while "waits #1" in terminal.until("Live; Ctrl-C ends this, and nothing else."):
        pass
    terminal.type("\x03")
    shown = terminal.until("In [")
    assert "no longer live." in shown
    assert "interrupted" not in shown
    assert "KeyboardInterrupt" not in shown
    terminal.until("]: ")
    assert "finished" in terminal.cell("f")
    terminal.exit()
