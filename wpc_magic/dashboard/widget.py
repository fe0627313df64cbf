"""The dashboard as a widget: one anywidget over a `Feed`."""

from __future__ import annotations

import pathlib
import time
import weakref
from typing import Any, ClassVar

import anywidget
import IPython
import traitlets

from .afterimage import Afterimage
from .feed import Feed
from .requests import read_request
from .text import Still

__all__ = ["Dashboard"]

_STATIC = pathlib.Path(__file__).parent / "static"


class Dashboard(anywidget.AnyWidget):
    """A live view of a pool: its workers, its events, and buttons to restart, scale and stop.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool; it is not kept alive. When it is dropped, the last frame stays.

    Notes
    -----
    Only the feed's own thread writes `patch`, so that frames go out while a cell runs. A page applies patches
    to its copy of `frame`; a page that opens later is given the whole `frame` of that moment. After `close`
    the views are gone, and so are the thread and the pool's listener.
    """

    _esm = _STATIC / "dashboard.js"
    _css = _STATIC / "dashboard.css"

    # Its value is nothing: it stands for the feed's last frame, which is written out whenever a page asks for
    # the state, and never because it changed.
    frame = traitlets.Any().tag(sync=True, to_json=lambda _, widget: widget._state())
    patch = traitlets.Dict().tag(sync=True)

    _of_pool: ClassVar[weakref.WeakKeyDictionary[Any, Dashboard]] = weakref.WeakKeyDictionary()

    def __init__(self, pool: Any) -> None:
        me = weakref.ref(self)

        def show(message: dict[str, Any]) -> None:
            widget = me()
            if widget is not None:
                widget.patch = message

        def looked(ending: bool) -> None:
            widget = me()
            if widget is not None:
                widget._afterimage.update(widget._feed.latest[0], time.time(), ending)

        self._name = str(pool.name)
        self._afterimage = Afterimage(getattr(IPython.get_ipython(), "kernel", None), self._name)
        self._feed = Feed(pool, show, looked)
        super().__init__()
        self.on_msg(self._take)
        self._feed.follow()

    @classmethod
    def of(cls, pool: Any) -> Dashboard:
        """Return the open dashboard of a pool, or a new one.

        Parameters
        ----------
        pool : WorkerProcedureCall
            The pool.
        """
        found = cls._of_pool.get(pool)
        if found is None or found.comm is None:
            found = cls._of_pool[pool] = cls(pool)
        return found

    def open(self) -> None:
        """Open the line to the page, such that clicks arrive also while a cell runs."""
        super().open()
        # ipykernel 7.4 sends what a page says to where the widget spoke last: to the main thread, which is
        # busy with the cell. The page's own choice, a thread of its own, is the one that works.
        if getattr(self.comm, "_reply_subshell_for", None) is not None:
            self.comm._reply_subshell_for = lambda data, default: default

    def close(self) -> None:
        """Close all views, and end the thread."""
        feed = getattr(self, "_feed", None)  # absent if it could not even be made
        if feed is not None:
            feed.close()
            self._afterimage.update(feed.latest[0], time.time(), ending=True)
        if self.comm is not None:
            self.layout.close()  # a widget too, of which nobody else knows
        super().close()

    def _take(self, _: Any, content: Any, buffers: Any) -> None:
        """Take what a page says, in whatever thread that is; never wait."""
        if not isinstance(content, dict):
            return
        if content.get("do") == "hello":
            if content.get("seq") != self._feed.latest[1]:
                self._feed.resend()
        elif request := read_request(content):
            self._feed.ask(request)

    def _state(self) -> dict[str, Any]:
        frame, seq, notice = self._feed.latest
        now = round(time.time(), 3)
        return {**frame, "seq": seq, "now": now, "notice": notice, "still": self._afterimage.id}

    def __repr__(self) -> str:
        # The same in every run: it is what a test of a notebook compares.
        return f"<dashboard of {self._name}>"

    def _ipython_display_(self, **kwargs: Any) -> None:
        shell: Any = IPython.get_ipython()
        bundle = super()._repr_mimebundle_()
        if bundle is not None:
            shell.display_pub.publish(*bundle)
        still = self._afterimage.bundle(self._feed.latest[0], time.time())
        shell.display_pub.publish(still, transient={"display_id": self._afterimage.id})

    def _repr_html_(self) -> str:
        """Return the last frame, for where there is no kernel."""
        return Still(self._feed.latest[0], time.time())._repr_html_()

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        return {**data, "text/html": self._repr_html_()}, metadata
