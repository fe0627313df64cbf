"""Consistency of the project's own files."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

import wpc_magic
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import StartError

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DEADLINE_S = 120


def tracked() -> Iterator[Path]:
    """Yield the files that git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
    )
    if listed.returncode:
        pytest.skip("this is no git checkout")
    names = [name for name in listed.stdout.split("\0") if name]
    yield from (ROOT / name for name in names if (ROOT / name).is_file())


def test_the_version_is_told_once_and_the_changelog_has_it() -> None:
    assert PROJECT["version"] == wpc_magic.__version__
    assert f"## [{wpc_magic.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_extra_all_has_each_that_is_for_users() -> None:
    extras = PROJECT["optional-dependencies"]
    (everything,) = extras["all"]
    for_developers = {"all", "bench", "demo", "dev", "dist", "lint", "test"}
    assert everything == f"wpc_magic[{','.join(sorted(set(extras) - for_developers))}]"


def test_no_lock_file_is_tracked() -> None:
    locks = {"uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock", "package-lock.json", "yarn.lock"}
    assert [path for path in tracked() if path.name in locks] == []


def test_no_tracked_file_names_a_package_index() -> None:
    # Including the index that this machine is configured with, which is private.
    config = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, encoding="utf-8"
    ).stdout
    hosts = re.findall(r"https?://([^/\s'\"]+)", config + os.environ.get("PIP_INDEX_URL", ""))
    words = {"index-url", "pypi.org/simple", "registry.npmjs", *hosts}
    found = []
    for path in tracked():
        if path != Path(__file__):
            text = path.read_text(encoding="utf-8", errors="replace")
            found += [f"{path.relative_to(ROOT)}: {word}" for word in words if word in text]
    assert found == []


@pytest.mark.slow
def test_the_wheel_has_the_types_the_dashboard_and_the_kernel(tmp_path: Path) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--wheel-dir",
            str(tmp_path),
            str(ROOT),
        ],
        check=True,
        capture_output=True,
        timeout=DEADLINE_S,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "wpc_magic/py.typed" in names
    for folder in ("wpc_magic/dashboard/static", "wpc_magic/notebook/static"):
        static = [Path(name).name for name in names if name.startswith(f"{folder}/")]
        assert sorted(static) == sorted(path.name for path in (ROOT / folder).iterdir())
    assert any(name.endswith("data/share/jupyter/kernels/wpc-magic/kernel.json") for name in names)
    assert any(name.endswith("data/etc/jupyter/jupyter_server_config.d/wpc_magic.json") for name in names)
    assert "wpc_magic/server/static/pools.html" in names
    assert [name for name in names if name.startswith(("tests/", "notebooks/"))] == []


def test_the_kernel_loads_the_extension() -> None:
    kernel = json.loads((ROOT / "jupyter-config/kernels/wpc-magic/kernel.json").read_text(encoding="utf-8"))
    assert kernel["argv"][-2:] == ["--ext", "wpc_magic"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_saved_with_outputs_and_without_a_trace_of_its_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    assert any(cell.outputs for cell in cells)
    assert all(set(cell.metadata) <= {"tags"} for cell in cells)
    without_pictures = re.sub(r'"image/png": "[^"]*"', "", text)
    assert re.findall(r"(?:/home|/root|/Users|/tmp|/usr|/opt|site-packages/)[^\"\s]*", without_pictures) == []


def notebook_of(*cells: str) -> nbformat.NotebookNode:
    """Return a notebook whose last cell is tagged as its results."""
    made = [nbformat.v4.new_code_cell(cell) for cell in cells]
    made[-1].metadata["tags"] = ["results"]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": kernel})


def run_notebook(notebook: nbformat.NotebookNode, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a notebook as `make demo` does."""
    nbformat.write(notebook, folder / "in.ipynb")
    return subprocess.run(
        [
            sys.executable,
            str(ROOT / "notebooks/run.py"),
            str(folder / "in.ipynb"),
            str(folder / "out/x.ipynb"),
        ],
        env={
            **os.environ,
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        },
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_S,
    )


@pytest.mark.kernel
def test_the_demo_prints_the_results_and_says_where_everything_is(tmp_path: Path) -> None:
    answer = run_notebook(notebook_of("print('not a result')", "print('the result')\n6 * 7"), tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("the result\n42\n")
    for made in ("out/x.ipynb", "out/x.html"):
        assert str(tmp_path / made) in answer.stdout
        assert "not a result" in (tmp_path / made).read_text(encoding="utf-8")


@pytest.mark.kernel
def test_a_demo_that_fails_says_so_and_saves_what_it_has(tmp_path: Path) -> None:
    answer = run_notebook(notebook_of("print('before')", "1 / 0"), tmp_path)
    assert answer.returncode == 1
    assert "ZeroDivisionError" in answer.stderr
    assert "before" in (tmp_path / "out/x.ipynb").read_text(encoding="utf-8")


def test_make_help_lists_every_command_that_contributing_names() -> None:
    named = re.findall(r"`make (\w+)", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    targets = re.findall(r"^(\w+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert named
    assert set(named) <= set(targets)


def test_windows_is_refused_by_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(StartError, match="need Linux or macOS"):
        WorkerProcedureCall().start_workers(1)
