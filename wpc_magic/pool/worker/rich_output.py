"""What functions show besides text: displays, figures, warnings and log records.

Each comes from a library that most functions never use, so what knows it is loaded once that library is:

=======================  =============================================================
``display(...)``         `displays`, also where IPython's own ``display`` is imported
matplotlib               `figures`
``warnings``             `warnings_shown`
``logging``              `log_records`
=======================  =============================================================
"""

from __future__ import annotations

import builtins
import os

from wpc_magic.pool.wire.lazy_import import interpreter_path_first
from wpc_magic.pool.wire.protocol import LogLevels
from wpc_magic.pool.worker.import_hooks import when_imported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wpc_magic.pool.worker.output import Output

__all__ = ["display", "install_rich_output", "prepare_libraries", "set_log_levels", "target"]

_BACKENDS_OF_NOTEBOOKS = ("", "inline", "ipympl", "nbagg", "notebook", "widget")

_targets: list[Output] = []  # where `displays` sends; empty: this is no worker
_levels = LogLevels({}, 0)
_on_levels: list[Callable[[LogLevels], object]] = []


def display(*objects: Any, **options: Any) -> Any:
    """Display objects as a notebook does: with pictures, tables and formulas, if they have them.

    Parameters
    ----------
    *objects : object
        What is displayed.
    **options
        As for ``display`` of IPython, among them ``display_id``.

    Returns
    -------
    DisplayHandle or None
        What updates the display, if it has an id.
    """
    with interpreter_path_first:
        from wpc_magic.pool.worker import displays
    return displays.display(*objects, **options)


def set_log_levels(levels: LogLevels) -> None:
    """Set which log records the parent process wants."""
    global _levels
    _levels = levels
    for apply in _on_levels:
        apply(levels)


def prepare_libraries() -> None:
    """Set what libraries read while they are imported: backends, and IPython's own ``display``."""
    # A notebook's backend needs its kernel, and a window is out of place: a worker comes and goes.
    backend = os.environ.get("MPLBACKEND", "")
    if backend.lower() in _BACKENDS_OF_NOTEBOOKS or backend.startswith("module://matplotlib_inline"):
        os.environ["MPLBACKEND"] = "agg"
    os.environ.setdefault("PLOTLY_RENDERER", "plotly_mimetype")

    def hook_displays(module: Any) -> None:
        with interpreter_path_first:
            from wpc_magic.pool.worker import displays
        displays.replace_in(module)

    when_imported("IPython.core.display_functions", hook_displays)


def install_rich_output(output: Output) -> None:
    """Install ``display``, and the hooks of the libraries.

    Parameters
    ----------
    output : Output
        Takes what is shown.
    """
    builtins.display = display  # type: ignore[attr-defined]  # as in a notebook
    prepare_libraries()

    def hook_figures(module: Any) -> None:
        with interpreter_path_first:
            from wpc_magic.pool.worker.figures import hook_figures
        hook_figures(module)

    def hook_pyplot(module: Any) -> None:
        with interpreter_path_first:
            from wpc_magic.pool.worker.figures import hook_pyplot
        hook_pyplot(module, output)

    def hook_warnings(module: Any) -> None:
        with interpreter_path_first:
            from wpc_magic.pool.worker.warnings_shown import hook_warnings
        hook_warnings(output)

    def hook_logging(module: Any) -> None:
        with interpreter_path_first:
            from wpc_magic.pool.worker.log_records import LogForwarder
        forwarder = LogForwarder(output)
        forwarder.apply(_levels)
        _on_levels.append(forwarder.apply)

    when_imported("matplotlib.figure", hook_figures)
    when_imported("matplotlib.pyplot", hook_pyplot)
    when_imported("warnings", hook_warnings)
    when_imported("logging", hook_logging)
    _targets.append(output)


def target() -> Output | None:
    """Return what takes the displays of this process; None: it is no worker."""
    return _targets[0] if _targets else None
