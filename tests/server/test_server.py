"""A real Jupyter server with two kernels, and its page in a real browser."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from jupyter_client import BlockingKernelClient
from jupyter_core.utils import ensure_event_loop
from playwright.sync_api import expect

from tests.browser.lab import chromium, free_port, until, url_of_server

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-of-this-test"
PATIENCE_S = 60.0
BASE = "/behind/a/proxy"


class Server:
    """A Jupyter server that finds our configuration and our kernel where an installation puts them."""

    def __init__(self, folder: Path) -> None:
        self.url = ""  # known when the server has bound a port
        self.runtime = folder / "runtime"
        self._log = folder / "server.log"
        (folder / "notebooks").mkdir()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")},
            "HOME": str(folder / "home"),
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_CONFIG_PATH": str(ROOT / "jupyter-config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_PATH": str(ROOT / "jupyter-config"),
            "JUPYTER_RUNTIME_DIR": str(self.runtime),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }
        command = [
            *(sys.executable, "-m", "jupyter", "server", "--no-browser", "--ServerApp.ip=127.0.0.1"),
            *(f"--ServerApp.port={free_port()}", "--ServerApp.port_retries=50"),
            f"--ServerApp.base_url={BASE}",
            *(f"--IdentityProvider.token={TOKEN}", "--ServerApp.allow_root=True"),
            f"--ServerApp.root_dir={folder / 'notebooks'}",
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait_until_up(self) -> None:
        until(self._answers, "the server answers", self._log.read_text)

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        self.url = url_of_server(self.runtime).removesuffix("/")
        try:
            return self.ask("/api")[0] == 200
        except (OSError, ValueError):
            return False

    def ask(
        self, path: str, data: Any = None, method: str | None = None, token: str = TOKEN
    ) -> tuple[int, Any]:
        """Return the status and the body of an answer; JSON is read."""
        request = urllib.request.Request(
            f"{self.url}{path}", None if data is None else json.dumps(data).encode(), method=method
        )
        if token:
            request.add_header("Authorization", f"token {token}")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                body, kind = answer.read().decode(), answer.headers.get("Content-Type", "")
                return answer.status, json.loads(body) if "json" in kind and body else body
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def names(self, kernel: str) -> list[str]:
        """Return the names of the pools of a kernel."""
        found = self.ask("/wpc-magic/api/pools")[1]["pools"]
        return [each["pool"]["name"] for each in found if each["kernel"]["id"] == kernel]

    def pools(self) -> dict[str, dict[str, Any]]:
        """Return the pools by the kernel."""
        status, found = self.ask("/wpc-magic/api/pools")
        assert status == 200
        return {each["kernel"]["id"]: each for each in found["pools"]}

    def start_kernel(self) -> str:
        return str(self.ask("/api/kernels", {"name": "wpc-magic"})[1]["id"])

    def run(self, kernel: str, code: str) -> None:
        """Run a cell in a kernel."""
        client = BlockingKernelClient(connection_file=str(self.runtime / f"kernel-{kernel}.json"))
        client.load_connection_file()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=PATIENCE_S)
            assert client.execute_interactive(code, timeout=PATIENCE_S)["content"]["status"] == "ok"
        finally:
            client.stop_channels()

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)  # its own session
            self._process.wait(20)


@pytest.fixture(scope="module", autouse=True)
def event_loop_of_jupyter_client() -> Iterator[None]:
    """Create the loop that jupyter_client would otherwise create in some test, and never close."""
    with closing(ensure_event_loop()):
        yield


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="server-"))
    server = Server(folder)
    try:
        server.wait_until_up()
        yield server
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def kernels(server: Server) -> Iterator[list[str]]:
    kernels = [server.start_kernel(), server.start_kernel()]
    until(lambda: set(server.pools()) == set(kernels), "both kernels are listed", lambda: str(server.pools()))
    yield kernels
    for kernel in kernels:
        server.ask(f"/api/kernels/{kernel}", method="DELETE")


@pytest.mark.kernel
@pytest.mark.slow
def test_the_pools_of_all_kernels_are_listed_while_these_run(server: Server, kernels: list[str]) -> None:
    first, second = kernels
    server.run(first, "%wpc_start 2")
    until(lambda: len(server.pools()[first]["pool"]["workers"]) == 2, "its workers are listed")
    found = server.pools()
    assert found[first]["kernel"]["name"] == "wpc-magic"
    assert found[first]["kernel"]["pid"] != found[second]["kernel"]["pid"]
    assert found[first]["pool"]["name"] == "wpc"
    assert found[second]["pool"]["state"] == "stopped"
    server.run(
        second,
        "from wpc_magic.pool import WorkerProcedureCall\n"
        "mine = WorkerProcedureCall(name='mine')\nmine.start_workers(1)",
    )
    until(lambda: server.names(second) == ["wpc", "mine"], "a pool of the user's own is listed, too")
    server.run(second, "mine.stop_workers()")
    until(lambda: server.names(second) == ["wpc"], "while it has workers")
    files = sorted(server.runtime.glob("wpc-*.json"))
    assert [path.name for path in files] == sorted(f"wpc-kernel-{kernel}.json" for kernel in kernels)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}

    server.ask(f"/api/kernels/{first}", method="DELETE")
    until(lambda: set(server.pools()) == {second}, "a kernel that has ended is not listed")
    until(lambda: len(list(server.runtime.glob("wpc-*"))) == 1, "a kernel that ends removes its file")


@pytest.mark.kernel
def test_without_the_token_nothing_is_told(server: Server) -> None:
    for path in ("/wpc-magic/api/pools", "/wpc-magic/"):
        for token in ("", "wrong"):
            status, body = server.ask(path, token=token)
            assert status == 403 or "Password or token" in body  # a page leads to where one logs in
            assert "Pools of workers" not in body
    assert server.ask("/wpc-magic/api/pools", token="")[0] == 403


@pytest.mark.kernel
def test_nothing_can_be_changed(server: Server) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert server.ask("/wpc-magic/api/pools", {}, method)[0] in (403, 405)


@pytest.mark.browser
@pytest.mark.kernel
@pytest.mark.slow
def test_the_page_shows_the_pools_and_follows_them(
    server: Server, kernels: list[str], tmp_path: Path
) -> None:
    server.run(kernels[0], "%wpc_start 2\nwpc.submit_function(abs, (1,)).result()")
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1100, "height": 600})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{server.url}/wpc-magic/?token={TOKEN}")
        page.set_default_timeout(PATIENCE_S * 1000)
        page.get_by_text("running, 2 workers").wait_for()
        page.get_by_text("1 done").wait_for()
        expect(page.locator("section")).to_have_count(2, timeout=PATIENCE_S * 1000)
        expect(page.locator("td.ready")).to_have_count(2, timeout=PATIENCE_S * 1000)
        page.screenshot(path=str(Path(os.environ.get("WPC_SHOTS") or tmp_path) / "pools.png"))
        server.ask(f"/api/kernels/{kernels[1]}", method="DELETE")
        page.wait_for_function("() => document.querySelectorAll('section').length === 1")
        assert errors == []
