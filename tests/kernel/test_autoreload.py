"""With `%autoreload` on, workers import a local module anew that has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel.kernels import Kernel

pytestmark = pytest.mark.kernel


@pytest.fixture
def folder(started: Kernel, tmp_path: Path) -> Path:
    """Where the modules of a kernel lie that watches them."""
    started.good(
        f"%cd -q {tmp_path}\nimport sys; sys.path.insert(0, {str(tmp_path)!r})\n%load_ext autoreload"
    )
    started.good("%load_ext autoreload\n%autoreload 2\n%wpc_restart")
    return tmp_path


def write(path: Path, value: int) -> None:
    path.write_text(f"def version(): return {value}\n")


def test_a_dependency_that_has_changed_is_taken_anew_before_the_next_call(
    started: Kernel, folder: Path
) -> None:
    write(folder / "rates_a.py", 1)
    started.good("%wpc_dep rates_a\n")
    started.good("%%wpc_function\ndef version(): return rates_a.version()")
    assert started.evaluate("wpc.call.version().result()") == 1
    write(folder / "rates_a.py", 2)
    cell = started.good("wpc.call.version().result()")
    assert cell.value == "2"
    assert "changed: rates_a.py · new workers import rates_a anew" in cell.text
    assert "changed" not in started.good("wpc.call.version().result()").text
    pids = started.evaluate("[worker.pid for worker in wpc.snapshot().workers]")
    write(folder / "unrelated.py", 1)
    started.good("1")
    write(folder / "unrelated.py", 2)
    assert "changed" not in started.good("wpc.call.version().result()").text
    assert started.evaluate("[worker.pid for worker in wpc.snapshot().workers]") == pids
    started.good("%autoreload 0")
    write(folder / "rates_a.py", 3)
    assert started.evaluate("wpc.call.version().result()") == 2


def test_what_a_dependency_imports_and_a_function_of_a_module_are_taken_anew_too(
    started: Kernel, folder: Path
) -> None:
    (folder / "package_b").mkdir()
    (folder / "package_b" / "__init__.py").write_text("from .inner import version\n")
    write(folder / "package_b" / "inner.py", 1)
    write(folder / "rates_b.py", 10)
    started.good("%wpc_dep package_b\nimport rates_b\n_ = wpc.function(rates_b.version)")
    started.good("%%wpc_function\ndef both(): return package_b.version(), version()")
    assert started.evaluate("wpc.call.both().result()") == (1, 10)
    write(folder / "package_b" / "inner.py", 2)
    assert started.evaluate("wpc.call.both().result()") == (2, 10)
    before = started.evaluate("wpc.get_remote_functions()[1].function_hash_sha1")
    write(folder / "rates_b.py", 11)
    assert started.evaluate("wpc.call.both().result()") == (2, 11)
    assert started.evaluate("wpc.get_remote_functions()[1].function_hash_sha1") != before


def test_a_module_that_does_not_compile_is_told_in_a_line_and_the_old_one_goes_on(
    started: Kernel, folder: Path
) -> None:
    write(folder / "rates_c.py", 1)
    started.good("%wpc_dep rates_c")
    started.good("%%wpc_function\ndef version(): return rates_c.version()")
    assert started.evaluate("wpc.call.version().result()") == 1
    (folder / "rates_c.py").write_text("def version(:")
    cell = started.good("wpc.call.version().result()")
    assert cell.value == "1"
    assert "rates_c cannot be imported: " in cell.text
    write(folder / "rates_c.py", 4)
    assert started.evaluate("wpc.call.version().result()") == 4
