"""A real JupyterLab and a real Chromium; every wait has a timeout."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

TIMEOUT_S = 60.0
CHROMIUM = "/usr/bin/chromium"
# fmt: off
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]
# fmt: on
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {
        "checkForUpdates": False,
        "doNotDisturbMode": True,
        "fetchNews": "false",
    },
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}


class Lab:
    """A JupyterLab server, or one of Notebook 7.

    Parameters
    ----------
    folder : Path
        Its folder, with subfolders for settings, home and temporary files.
    app : str
        ``"lab"`` or ``"notebook"``.
    """

    def __init__(self, folder: Path, app: str = "lab") -> None:
        self.document = "doc/tree" if app == "lab" else "notebooks"  # the path of a page with one document
        self._expose = "LabApp" if app == "lab" else "JupyterNotebookApp"
        self.root = folder / "notebooks"
        settings = folder / "settings"
        for each in (self.root, settings, folder / "home", folder / "tmp"):
            each.mkdir(parents=True)
        for plugin, values in SETTINGS.items():
            name, _, part = plugin.partition(":")
            path = settings / name / f"{part}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))
        self.url = ""  # known when the server has bound a port
        self._runtime = folder / "runtime"
        self._log_path = folder / "server.log"
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")},
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(self._runtime),
            "JUPYTERLAB_SETTINGS_DIR": str(settings),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        command = [
            *(sys.executable, "-m", "jupyter", app, "--no-browser", f"--ServerApp.root_dir={self.root}"),
            *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={free_port()}", "--ServerApp.port_retries=50"),
            *(
                "--IdentityProvider.token=",
                f"--{self._expose}.expose_app_in_browser=True",
                "--ServerApp.allow_root=True",
            ),
        ]
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    def wait_until_up(self) -> None:
        until(self._answers, "the server answers", lambda: self.log)

    def _answers(self) -> bool:
        assert self._process.poll() is None, f"the server has ended:\n{self.log}"
        self.url = url_of_server(self._runtime)
        with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(f"{self.url}api", timeout=5):
            return True
        return False

    def write(self, name: str, cells: Sequence[str]) -> str:
        """Write a notebook, and return its name."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(notebook, self.root / name)
        return name

    def close(self) -> None:
        """Stop the server and its kernels."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)  # its own session, without other processes
            self._process.wait(20)


def free_port() -> int:
    """Return a port that is free now; if another process takes it first, a server tries others."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def url_of_server(runtime: Path) -> str:
    """Return the address that the Jupyter server of a runtime folder has bound; empty before that."""
    for path in runtime.glob("jpserver-*.json"):
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):  # gone, or half written
            info = json.loads(path.read_text())
            return f"http://127.0.0.1:{info['port']}{info['base_url']}"
    return ""


def until(condition: Callable[[], bool], what: str, details: Callable[[], str] = str) -> None:
    """Poll until a condition holds that provides no notification."""
    deadline = time.monotonic() + TIMEOUT_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}\n{details()}"
        pause.wait(0.1)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser, and close it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=ARGUMENTS, timeout=TIMEOUT_S * 1000
        )
        try:
            yield browser
        finally:
            browser.close()


_SESSION = "jupyterapp.shell.currentWidget?.sessionContext"


class Notebook:
    """A notebook that is open in a page.

    Parameters
    ----------
    page : Page
        An empty page.
    lab : Lab
        The server.
    name : str
        The name of the notebook.
    """

    def __init__(self, page: Page, lab: Lab, name: str) -> None:
        self.page, self.lab, self.name = page, lab, name
        page.set_default_timeout(TIMEOUT_S * 1000)
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, kernel: bool = True) -> Notebook:
        """Open it, and wait until the kernel is usable; the indicator alone is idle even without a kernel."""
        self.page.goto(f"{self.lab.url}{self.lab.document}/{self.name}?reset")
        self.page.wait_for_selector(".jp-Notebook .jp-Cell")
        if kernel:
            self.wait_for_kernel()
        return self

    def wait_for_kernel(self) -> None:
        self.page.wait_for_function(
            f"() => {{ const s = {_SESSION}; const k = s?.session?.kernel;"
            " return s?.isReady && k?.connectionStatus === 'connected' && k?.status === 'idle'; }"
        )

    def command(self, name: str, **arguments: Any) -> None:
        """Execute a command of JupyterLab, without waiting for it: the kernel may end first."""
        self.page.evaluate(
            "([name, args]) => { jupyterapp.commands.execute(name, args); }", [name, arguments]
        )

    def run_all(self) -> None:
        self.command("notebook:run-all-cells")

    def theme(self, name: str) -> None:
        self.command("apputils:change-theme", theme=name)
        light = "false" if "Dark" in name else "true"
        self.page.wait_for_selector(f'body[data-jp-theme-light="{light}"]', state="attached")

    def save(self) -> None:
        self.command("docmanager:save")
        self.page.wait_for_function("() => !jupyterapp.shell.currentWidget.context.model.dirty")

    @property
    def dashboard(self) -> Locator:
        return self.page.locator(".wpc-dashboard").first

    def outputs(self) -> str:
        """The current outputs of all cells, as text."""
        return "\n".join(self.page.locator(".jp-OutputArea").all_inner_texts())

    def output(self, text: str) -> None:
        """Wait until a cell has printed a text."""
        self.page.locator(".jp-OutputArea-output", has_text=text).first.wait_for()

    def screenshot(self, path: Path) -> None:
        """Take a screenshot of the dashboard."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.dashboard.scroll_into_view_if_needed()
        # Written here: Playwright would start threads for it that live as long as Playwright.
        path.write_bytes(self.dashboard.screenshot(animations="disabled"))

    def worker(self, number: int) -> Locator:
        """The row of a worker."""
        return self.dashboard.locator(f'tr[data-worker="{number}"]')

    def pid(self, number: int, other_than: str = "") -> str:
        """Wait until the row of a worker shows a process, other than one that is gone; return its number.

        A frame may have an event, and still the row of the process before it.
        """
        cell = self.worker(number).locator("td").nth(1)
        expect(cell).to_have_text(re.compile(rf"^(?!{other_than or '-'}$)\d+$"))
        return cell.inner_text()

    def event(self, name: str) -> Locator:
        """The log lines of an event."""
        return self.dashboard.locator(".wpc-log li", has=self.page.get_by_text(name, exact=True))

    def button(self, help_: str) -> Locator:
        return self.dashboard.get_by_role("button", name=help_, exact=True)

    def touch(self, name: str) -> None:
        """Create a file in the kernel's folder."""
        (self.lab.root / name).touch()

    def shutdown(self) -> None:
        """Shut the kernel down."""
        self.page.evaluate(f"async () => {{ await {_SESSION}?.shutdown(); }}")

    def close(self) -> None:
        """Shut the kernel down, close the page, and delete the files of the test."""
        self.shutdown()
        self.page.close()
        for path in self.lab.root.iterdir():
            if path.is_file():
                path.unlink()
