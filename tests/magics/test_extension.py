"""Loading, loading twice, unloading, reloading, and settings."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

import wpc_magic
from tests.magics.conftest import Loaded
from tests.magics.fakes import FakePool

CELL = "%%wpc_function\ndef f(n): ...\n"


def snapshot(shell: Any) -> dict[str, Any]:
    """Return everything that an extension could leave in a shell."""
    return {
        "line": set(shell.magics_manager.magics["line"]),
        "cell": set(shell.magics_manager.magics["cell"]),
        "registry": {name for name in shell.magics_manager.registry if "Wpc" in name},
        "matchers": [each.__qualname__ for each in shell.Completer.custom_matchers],
        "hooks": {
            name: [each.__qualname__ for each in hooks] for name, hooks in shell.events.callbacks.items()
        },
        "configurables": [each for each in shell.configurables if "Wpc" in str(type(each))] != [],
        "names": set(shell.user_ns) - {"_exit_code", "_dh"},
        "hidden": set(shell.user_ns_hidden),
        "attributes": {name for name in vars(shell) if "wpc" in name},
        "threads": {thread.name for thread in threading.enumerate()},
    }


def test_loading_puts_the_pool_into_the_namespace(loaded: Loaded) -> None:
    assert loaded.shell.user_ns["wpc"] is loaded.pool
    assert "wpc" not in loaded.run("%who")


def test_loading_twice_is_loading_once(loaded: Loaded, pools: list[FakePool]) -> None:
    before = snapshot(loaded.shell)
    assert "already loaded" in loaded.run("%load_ext wpc_magic")
    wpc_magic.load_ipython_extension(loaded.shell)
    assert snapshot(loaded.shell) == before
    assert len(pools) == 1


def test_unloading_stops_the_pool_and_leaves_nothing(shell: InteractiveShell, pools: list[FakePool]) -> None:
    loaded = Loaded(shell, pools)
    loaded.run("1 + 1")
    before = snapshot(shell)
    loaded.run("%load_ext wpc_magic")
    loaded.run("%wpc_start")
    pool, sink = loaded.pool, loaded.pool.output_sink
    loaded.run("%unload_ext wpc_magic")
    assert snapshot(shell) == before
    assert not pool.is_running
    assert (sink is None, pool.output_sink, pool.find_origin, pool.describe_fix) == (False, None, None, str)
    assert (pool.keep_partial, pool.wait_observer) == (None, None)
    loaded.run("%load_ext wpc_magic")
    assert loaded.pool is not pool


def test_unloading_leaves_a_name_that_is_no_longer_ours(loaded: Loaded) -> None:
    loaded.run("wpc = 'mine'")
    loaded.run("%unload_ext wpc_magic")
    assert loaded.shell.user_ns["wpc"] == "mine"


def test_reloading_keeps_the_definitions_and_the_workers(loaded: Loaded, pools: list[FakePool]) -> None:
    loaded.run(CELL)
    loaded.run("%wpc_start -n 3")
    before = snapshot(loaded.shell)
    pool = loaded.pool
    loaded.run("%reload_ext wpc_magic")
    assert pools == [pool]
    assert pool.workers == 3
    assert loaded.shell.user_ns["wpc"] is pool
    assert "f" in pool.infos
    assert snapshot(loaded.shell) == before
    assert pool.output_sink is not None


def test_reloading_a_stopped_pool_starts_no_worker(loaded: Loaded) -> None:
    loaded.run(CELL)
    loaded.run("%reload_ext wpc_magic")
    assert not loaded.pool.is_running
    assert "f" in loaded.pool.infos


def test_a_users_own_variable_is_not_overwritten(shell: InteractiveShell, pools: list[FakePool]) -> None:
    loaded = Loaded(shell, pools)
    loaded.run("wpc = [1]")
    said = loaded.run("%load_ext wpc_magic")
    assert "'wpc' holds your list already" in said
    assert loaded.shell.user_ns["wpc"] == [1]
    loaded.run("%config WpcMagics.pool_name = 'pool'")
    assert loaded.shell.user_ns["pool"] is loaded.pool
    loaded.run("%unload_ext wpc_magic")
    assert "pool" not in shell.user_ns
    assert shell.user_ns["wpc"] == [1]


def test_the_name_can_change_while_loaded(loaded: Loaded) -> None:
    loaded.run("%config WpcMagics.pool_name = 'crew'")
    assert loaded.shell.user_ns["crew"] is loaded.pool
    assert "wpc" not in loaded.shell.user_ns
    assert loaded.pool.name == "crew"  # by which the analysis recognises it in a function's source


def test_settings_reach_the_pool(make_shell: Callable[..., InteractiveShell], pools: list[FakePool]) -> None:
    loaded = Loaded(make_shell(call_timeout_ms=700, workers=3, pool_name="crew"), pools)
    loaded.run("%load_ext wpc_magic")
    assert loaded.shell.user_ns["crew"] is loaded.pool
    assert loaded.pool.options.call_timeout_ms == 700
    loaded.run("%wpc_start")
    assert loaded.pool.workers == 3
    loaded.run("%config WpcMagics.call_timeout_ms = 800")
    assert loaded.pool.options.call_timeout_ms == 800


def test_bad_settings_are_told_in_a_line_and_break_nothing(
    make_shell: Callable[..., InteractiveShell], pools: list[FakePool]
) -> None:
    settings = {"workers": -1, "call_timeout_ms": "soon", "pool_name": "class", "saturation": "wait"}
    loaded = Loaded(make_shell(**settings), pools)
    said = loaded.run("%load_ext wpc_magic")
    assert [line.split(" is ignored: ")[0] for line in said.splitlines()] == [
        "wpc_magic: WpcMagics.workers in the configuration",
        "wpc_magic: WpcMagics.call_timeout_ms in the configuration",
        "wpc_magic: WpcMagics.pool_name in the configuration",
    ]
    assert "workers takes a positive whole number or None, not -1" in said
    assert loaded.pool.options.saturation == "wait"
    assert loaded.shell.user_ns["wpc"] is loaded.pool


def test_a_bad_setting_typed_later_is_one_line_and_a_reload_survives_it(
    loaded: Loaded, caplog: pytest.LogCaptureFixture
) -> None:
    said = loaded.run("%config WpcMagics.call_timeout_ms = 'soon'") + caplog.text
    assert "call_timeout_ms takes a positive whole number, not 'soon'" in said
    assert "Traceback" not in said
    assert loaded.pool.options.call_timeout_ms is None
    loaded.run("%reload_ext wpc_magic")
    assert loaded.run("%wpc_start -n 1").startswith("1 worker ready")


def test_the_settings_explain_themselves(loaded: Loaded) -> None:
    said = loaded.run("%config WpcMagics")
    assert "WpcMagics.call_timeout_ms" in said
    assert "How long a call may run" in said


def test_errors_of_the_pool_tell_magic_lines(loaded: Loaded) -> None:
    class Fix:
        kind, name, module, export, detail = "dependency", "np", "numpy", None, ""

    assert loaded.pool.describe_fix(Fix) == "%wpc_dep numpy as np"


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, wpc_magic; "
        "bad = {'IPython', 'traitlets', 'cloudpickle', 'typing', 'asyncio', 'ipywidgets'}; "
        "bad &= set(sys.modules); "
        "assert not bad, bad; assert not hasattr(wpc_magic, '__path'); "
        "assert 'wpc_magic.pool' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-S", "-E", "-c", f"import sys; sys.path.insert(0, '.'); {code}"], check=True
    )
