"""Settings from a configuration file and from a cell, and the kernelspec."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from tests.kernel.kernels import Kernel

pytestmark = pytest.mark.kernel

SPECS = Path(__file__).parents[2] / "jupyter-config" / "kernels"


def test_a_configuration_file_loads_the_extension_and_sets_it_up(tmp_path: Path) -> None:
    profile = tmp_path / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    (profile / "ipython_kernel_config.py").write_text(
        "c = get_config()\n"
        "c.InteractiveShellApp.extensions = ['wpc_magic']\n"
        "c.WpcMagics.pool_name = 'crew'\n"
        "c.WpcMagics.workers = 1\n"
        "c.WpcMagics.call_timeout_ms = 70\n"
        "c.WpcMagics.stop_timeout_ms = 'soon'\n"
    )
    with closing(Kernel(tmp_path)) as kernel:
        kernel.good("%%wpc_function\nimport threading\ndef waits():\n    threading.Event().wait()\n")
        assert "more than 70 ms" in kernel.run("%wpc_call waits()").error
        assert kernel.evaluate("crew.worker_count, crew.options.stop_timeout_ms") == (1, 2000)
        kernel.good("%config WpcMagics.call_timeout_ms = 60")
        assert "more than 60 ms" in kernel.run("await crew.call.waits()").error
        kernel.good("%config WpcMagics.pool_name = 'gang'")
        assert kernel.evaluate("'crew' in dir(), gang.worker_count") == (False, 1)
        kernel.good("%config WpcMagics.workers = 2\n%wpc_stop\n%wpc_start")
        assert kernel.evaluate("gang.worker_count") == 2


def test_the_kernelspec_starts_a_kernel_with_the_extension_loaded(tmp_path: Path) -> None:
    spec = json.loads((SPECS / "wpc-magic" / "kernel.json").read_text())
    assert spec["display_name"] == "Python (wpc_magic)"
    with closing(Kernel(tmp_path, "wpc-magic", SPECS)) as kernel:
        kernel.good("%%wpc_function\ndef f(x):\n    return x + 1\n")
        kernel.good("%wpc_start -n 1")
        assert kernel.evaluate("%wpc_call f(1)") == 2
        assert kernel.evaluate("type(wpc).__name__") == "WorkerProcedureCall"
