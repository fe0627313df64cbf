"""A shell without a kernel, and a pool without workers."""

from __future__ import annotations

import atexit
import contextlib
import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from IPython.core.async_helpers import get_asyncio_loop
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from tests.magics.fakes import FakePool
from wpc_magic.magics import extension


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[FakePool]:
    """Every pool that the extension makes, the latest last."""
    made: list[FakePool] = []

    def make(**options: Any) -> FakePool:
        made.append(FakePool(**options))
        return made[-1]

    monkeypatch.setattr(extension, "make_pool", make)
    return made


@pytest.fixture(scope="package")
def one_shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InteractiveShell]:
    """One shell for all tests of this folder, since a shell is slow to create and hard to dispose of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        # Without history, whose thread and file would leak.
        config = Config({"HistoryManager": {"enabled": False}})
        shell = InteractiveShell.instance(config=config)
    # The loop that IPython would otherwise create for the first cell that awaits, and never close.
    with contextlib.closing(get_asyncio_loop()):
        yield shell
    shell.atexit_operations()
    atexit.unregister(shell.atexit_operations)
    InteractiveShell.clear_instance()


@pytest.fixture
def make_shell(one_shell: InteractiveShell) -> Iterator[Callable[..., InteractiveShell]]:
    """Reset the shell, and configure it."""

    def make(**settings: Any) -> InteractiveShell:
        one_shell.config = Config({"WpcMagics": settings})
        return one_shell

    names = set(one_shell.user_ns)
    yield make
    extension.unload(one_shell)
    one_shell.extension_manager.loaded.discard("wpc_magic")
    one_shell.events.trigger("post_run_cell", None)  # drops the pool that an unload keeps
    one_shell.config = Config()
    for name in set(one_shell.user_ns) - names:
        del one_shell.user_ns[name]


@pytest.fixture
def shell(make_shell: Callable[..., InteractiveShell]) -> InteractiveShell:
    return make_shell()


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


class Loaded:
    """A shell with the extension in it."""

    def __init__(self, shell: InteractiveShell, pools: list[FakePool]) -> None:
        self.shell = shell
        self._pools = pools

    @property
    def pool(self) -> FakePool:
        return self._pools[-1]

    def run(self, cell: str) -> str:
        """Run a cell, and return its output, without colours."""
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
            self.shell.run_cell(cell)
        return without_colours(shown.getvalue())

    def magic(self, line: str) -> Any:
        name, _, rest = line.partition(" ")
        return self.shell.run_line_magic(name, rest)


@pytest.fixture
def loaded(shell: InteractiveShell, pools: list[FakePool]) -> Loaded:
    shell.run_line_magic("load_ext", "wpc_magic")
    return Loaded(shell, pools)
