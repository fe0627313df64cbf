"""Figures of matplotlib in a worker: ``plt.show()``, and those that a call leaves open at its end."""

from __future__ import annotations

import io
import sys

from wpc_magic.pool.worker import displays

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wpc_magic.pool.worker.output import Output

__all__ = ["hook_figures", "hook_pyplot"]

_CALL = "_wpc_magic_call"  # the attribute of a figure's manager: the call that has made it; 0: none


def hook_figures(module: Any) -> None:
    """Have ``display`` show figures as pictures.

    Parameters
    ----------
    module : module
        ``matplotlib.figure``.
    """

    def picture(obj: Any) -> dict[str, Any] | None:
        if not isinstance(obj, module.Figure) or not (obj.axes or obj.lines):  # an empty one is only blank
            return None
        file = io.BytesIO()
        colors = {"facecolor": obj.get_facecolor(), "edgecolor": obj.get_edgecolor()}
        obj.canvas.print_figure(file, format="png", dpi=obj.dpi, bbox_inches="tight", **colors)
        return {"image/png": file.getvalue()}

    displays.formatters.append(picture)


def hook_pyplot(pyplot: Any, output: Output) -> None:
    """Have ``show`` display figures, and each call display those that it leaves open.

    Parameters
    ----------
    pyplot : module
        ``matplotlib.pyplot``.
    output : Output
        Takes them.
    """
    managers: Any = sys.modules["matplotlib.backend_bases"].FigureManagerBase
    open_figures: Any = sys.modules["matplotlib._pylab_helpers"].Gcf
    initialize, show_window, show_windows = managers.__init__, managers.show, pyplot.show

    def show_of(seq: int, *others: int) -> None:
        for manager in list(open_figures.figs.values()):
            if getattr(manager, _CALL, 0) in (seq, *others):
                try:
                    show_one(manager, seq)
                finally:
                    open_figures.destroy(manager)

    def show_one(manager: Any, seq: int) -> None:
        data, metadata = displays.bundle_of(manager.canvas.figure)
        if data:
            displays.publish_display_data(data, metadata, seq=seq)

    def __init__(manager: Any, *args: Any, **named: Any) -> None:
        setattr(manager, _CALL, output.current_call())
        initialize(manager, *args, **named)

    def show_figure(manager: Any) -> None:
        if _has_window(manager):
            show_window(manager)
            return
        show_one(manager, output.current_call())
        open_figures.destroy(manager)

    def show(*args: Any, **named: Any) -> Any:
        """Display all figures that the call has made, and close them."""
        if any(map(_has_window, open_figures.figs.values())):
            return show_windows(*args, **named)
        show_of(output.current_call(), 0)
        return None

    managers.__init__, managers.show, pyplot.show = __init__, show_figure, show
    output.endings.append(show_of)
    output.item_endings.append(show_of)


def _has_window(manager: Any) -> bool:
    return getattr(type(manager.canvas), "required_interactive_framework", None) is not None
