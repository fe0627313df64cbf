"""Run a notebook from the command line, save it with its outputs, and print its results.

    python notebooks/run.py INPUT.ipynb OUTPUT.ipynb

The results are the outputs of the cells tagged ``results``. An HTML page of the notebook is saved beside
OUTPUT, unless OUTPUT is INPUT: then the notebook is updated in place, to be committed.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, DeadKernelError
from nbconvert import HTMLExporter

CELL_TIMEOUT_S = 120
# A kernel warns that its port is not encrypted; this one is used on this machine only.
QUIET = ["--IPKernelApp.log_level=40"]


def plain_outputs(cell: nbformat.NotebookNode) -> Iterator[str]:
    """Yield the outputs of a cell as plain text."""
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            yield output.text.rstrip()
        elif "text/plain" in output.get("data", {}):
            yield output.data["text/plain"].rstrip()


def remove_machine_metadata(notebook: nbformat.NotebookNode) -> None:
    """Remove metadata that depends on the machine."""
    notebook.metadata = {"kernelspec": notebook.metadata.kernelspec, "language_info": {"name": "python"}}


def save_page(notebook: nbformat.NotebookNode, target: Path) -> Path:
    """Save an HTML page beside the notebook; return its path."""
    page = target.with_suffix(".html")
    page.write_text(HTMLExporter().from_notebook_node(notebook)[0], encoding="utf-8")
    return page


def main(source: Path, target: Path) -> int:
    notebook = nbformat.read(source, as_version=4)
    where = {"metadata": {"path": str(source.parent), "name": source.stem}}
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        resources=where,
        extra_arguments=QUIET,
        record_timing=False,
        coalesce_streams=True,
    )
    failure = None
    try:
        client.execute()
    except (CellControlSignal, DeadKernelError) as error:  # the outputs so far are saved nevertheless
        failure = error
    remove_machine_metadata(notebook)
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)

    for cell in notebook.cells:
        if "results" in cell.metadata.get("tags", []):
            print(*plain_outputs(cell), sep="\n")
    if failure is not None:
        print(f"{source} failed:\n{failure}", file=sys.stderr)
    print(f"\nThe notebook with all its outputs: {target}")
    if target != source:
        print(f"The same as a page:                {save_page(notebook, target)}")
    return 0 if failure is None else 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
