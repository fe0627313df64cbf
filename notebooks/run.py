"""Run a notebook from the command line, save what came out, and print its results.

    python notebooks/run.py INPUT.ipynb OUTPUT.ipynb

The results are the outputs of the cells tagged ``results``.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

CELL_TIMEOUT_S = 120


def texts(cell: nbformat.NotebookNode) -> Iterator[str]:
    """Yield what a person would read of a cell's outputs."""
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            yield output.text.rstrip()
        elif "text/plain" in output.get("data", {}):
            yield output.data["text/plain"].rstrip()


def main(source: Path, target: Path) -> int:
    notebook = nbformat.read(source, as_version=4)
    where = {"metadata": {"path": str(source.parent)}}
    client = NotebookClient(notebook, timeout=CELL_TIMEOUT_S, resources=where)
    failure = None
    try:
        client.execute()
    except CellExecutionError as error:
        failure = error
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)

    for cell in notebook.cells:
        if "results" in cell.metadata.get("tags", []):
            print(*texts(cell), sep="\n")
    if failure is not None:
        print(f"{source} failed:\n{failure}", file=sys.stderr)
    print(f"The notebook with all its outputs: {target}")
    return 0 if failure is None else 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
