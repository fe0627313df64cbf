"""Which views of a dashboard are looked at: nothing is sent while none is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["Visibility"]

_MOST_VIEWS = 64  # of which it is remembered what they show


class Visibility:
    """What the views of one dashboard say of themselves.

    Where the messages of a page arrive in the main thread (ipykernel 6, and the first ones everywhere), they
    wait for the end of the cell that runs. So then, everything is sent while a cell runs, in case that
    somebody begins to look; until a message arrives in another thread.

    Parameters
    ----------
    shell : InteractiveShell or None
        Tells when a cell begins and ends.
    want : callable
        Takes the panels that are looked at, and the one that a view has begun to look at, if one has.
    hide : callable
        Takes whether nothing is to be sent.
    """

    def __init__(
        self, shell: Any, want: Callable[[Iterable[str], str | None], None], hide: Callable[[bool], None]
    ) -> None:
        self._events: Any = getattr(shell, "events", None)
        self._want, self._hide = want, hide
        self._views: dict[str, str | None] = {}  # the panel that each shows; None: it is not visible
        self._follows_cells = False

    def watch(self, view: Any, visible: Any, panel: Any) -> None:
        """Take what a page says of a view: whether it is visible, and which panel it shows."""
        if not isinstance(view, str) or type(visible) is not bool or not isinstance(panel, str):
            return
        before = self._views.pop(view, None)
        self._views[view] = panel if visible else None
        if len(self._views) > _MOST_VIEWS:
            del self._views[next(iter(self._views))]
        begun = panel if visible and panel != before else None
        self._want({each for each in self._views.values() if each is not None}, begun)
        if threading.current_thread() is threading.main_thread():  # so no cell runs now
            self._follow_cells()
        else:
            self._unfollow_cells()
        self._update()

    def close(self) -> None:
        """Follow the cells no more."""
        self._unfollow_cells()

    def _unfollow_cells(self) -> None:
        if self._follows_cells:
            self._follows_cells = False
            self._events.unregister("pre_run_cell", self._on_begin)
            self._events.unregister("post_run_cell", self._on_end)

    def _follow_cells(self) -> None:
        if self._events is not None and not self._follows_cells:
            self._follows_cells = True
            self._events.register("pre_run_cell", self._on_begin)
            self._events.register("post_run_cell", self._on_end)

    def _on_begin(self, info: Any = None) -> None:
        self._hide(False)

    def _on_end(self, result: Any = None) -> None:
        self._update()

    def _update(self) -> None:
        self._hide(all(panel is None for panel in self._views.values()))
