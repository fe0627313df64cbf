"""Build the wheel and the sdist, check both, and install each into an empty environment of each interpreter.

Run as ``python -m tests.distribution python3.11 python3.12 ...``: `make dist`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]

TRIAL = """
import importlib.metadata, sys
from pathlib import Path
import wpc_magic
from wpc_magic import WorkerProcedureCall
assert Path(wpc_magic.__file__).is_relative_to(sys.prefix), wpc_magic.__file__
with WorkerProcedureCall() as pool:
    pool.define_worker_function(name="square", worker_func="def square(x): return x * x")
    pool.start_workers(2)
    assert list(pool.map("square", range(5))) == [0, 1, 4, 9, 16]
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "wpc_magic")
shell.run_line_magic("wpc_start", "1")
shell.run_line_magic("wpc_stop", "")
assert (Path(sys.prefix) / "share/jupyter/kernels/wpc-magic/kernel.json").exists()
assert (Path(wpc_magic.__file__).parent / "py.typed").exists()
print("wpc_magic", importlib.metadata.version("wpc_magic"), "works on Python", sys.version.split()[0])
"""


def run(*command: object, cwd: Path) -> None:
    subprocess.run([str(word) for word in command], cwd=cwd, check=True, stdin=subprocess.DEVNULL)


def build(folder: Path) -> list[Path]:
    """Return the sdist, and the wheel that is built of it, in a folder; both are checked."""
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    made = sorted(folder.iterdir())
    if [each.suffix for each in made] != [".whl", ".gz"]:
        sys.exit(f"built were {[each.name for each in made]}")
    run(sys.executable, "-m", "twine", "check", "--strict", *made, cwd=folder)
    return made


def try_out(python: str, made: Path, folder: Path) -> None:
    """Install what was built into an empty environment, and use it."""
    environment = folder / "environment"
    run(python, "-m", "venv", "--clear", environment, cwd=folder)
    own = environment / "bin/python"
    run(own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", made, cwd=folder)
    run(own, "-m", "pip", "check", cwd=folder)
    run(own, "-c", TRIAL, cwd=folder)
    print(f"{made.name} on {python}: installed, checked and used", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pythons", nargs="+", help="the interpreters")
    parser.add_argument("--keep", type=Path, help="the folder in which what was built is left")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "dist").mkdir()
        made = build(folder / "dist")
        for python in arguments.pythons:
            for each in made:
                try_out(python, each, folder)
        if arguments.keep is not None:
            arguments.keep.mkdir(parents=True, exist_ok=True)
            for each in made:
                shutil.copy2(each, arguments.keep)


if __name__ == "__main__":
    main()
