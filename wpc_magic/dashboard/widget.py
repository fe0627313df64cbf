"""The dashboard as a widget: one anywidget over a `Feed`."""

from __future__ import annotations

import time
import weakref
from typing import Any, ClassVar

import anywidget
import IPython
import traitlets

from wpc_magic.notebook.page_messages import PageMessages

from .feed import Feed
from .live_timeline import take_timeline
from .page import front_end, joined_styles
from .requests import read_request
from .static_fallback import StaticFallback
from .static_view import StaticView
from .timeline_svg import timeline_svg
from .visibility import Visibility

__all__ = ["Dashboard"]

_MOST_BARS_SAVED = 200  # in a notebook, for each of which it has a line


class Dashboard(anywidget.AnyWidget):
    """A live view of a pool: its workers, its events, and buttons to restart, scale and stop.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool; it is not kept alive. After it is garbage-collected, the last frame stays.

    Notes
    -----
    Only the feed's own thread sends patches, so that frames are sent while a cell runs. A page applies
    patches to its copy of `frame`; a page that opens later receives the full `frame` of that time. `close`
    removes the views, the thread and the pool's listener.
    """

    _esm = front_end()
    _css = joined_styles()

    # A placeholder without a value: the feed's last frame is serialized in its place whenever a page requests
    # the state, and never because it changed.
    frame = traitlets.Any().tag(sync=True, to_json=lambda _, widget: widget._state())
    patch = traitlets.Dict().tag(sync=True)

    _of_pool: ClassVar[weakref.WeakKeyDictionary[Any, Dashboard]] = weakref.WeakKeyDictionary()

    def __init__(self, pool: Any) -> None:
        me = weakref.ref(self)

        def show(message: dict[str, Any]) -> None:
            widget = me()
            if widget is not None:
                widget._send_patch(message)

        def on_poll(last: bool) -> None:
            widget = me()
            if widget is not None:
                widget._fallback.update(widget._feed.latest[0], time.time(), last)

        self._name = str(pool.name)
        shell, of_pool = IPython.get_ipython(), weakref.ref(pool)
        kernel = getattr(shell, "kernel", None)
        self._fallback = StaticFallback(kernel, self._name, lambda: _picture(of_pool()))
        self._feed = feed = Feed(pool, show, on_poll)
        self._visibility = Visibility(shell, feed.panels.want, feed.hide)
        self._messages = PageMessages(self._take, feed.acknowledge)
        super().__init__()
        self.on_msg(self._on_message)
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
        """Open the comm to the page, such that clicks arrive also while a cell runs."""
        super().open()
        # ipykernel 7.4 delivers a page's messages to the thread that last sent: the main thread, which is
        # busy with the cell. The subshell that the page chose, in its own thread, works.
        if getattr(self.comm, "_reply_subshell_for", None) is not None:
            self.comm._reply_subshell_for = lambda data, default: default

    def close(self) -> None:
        """Close all views, and stop the thread."""
        feed = getattr(self, "_feed", None)  # absent if `__init__` failed early
        if feed is not None:
            self._visibility.close()
            feed.close()
            self._fallback.update(feed.latest[0], time.time(), last=True)
        if self.comm is not None:
            self.layout.close()  # a widget too, which nothing else closes
        super().close()

    def _on_message(self, _: Any, content: Any, buffers: Any) -> None:
        """Handle a message of a page, in any thread; never block."""
        self._messages.receive(content)

    def _take(self, content: dict[str, Any]) -> None:
        if content.get("action") == "sync":
            if content.get("seq") != self._feed.latest[1]:
                self._feed.resend()
        elif content.get("action") == "watch":
            self._visibility.watch(content.get("view"), content.get("visible"), content.get("panel"))
            self._feed.wake()
        elif request := read_request(content):
            self._feed.submit(request)

    def _send_patch(self, message: dict[str, Any]) -> None:
        """Send a patch to all pages, as if it were the new value of the trait.

        A trait would be compared, searched for binary data and kept, which takes as long as to send it. And a
        page that opens later has no use for the last patch: `frame` has it.
        """
        self._send({"method": "update", "state": {"patch": message}, "buffer_paths": []})

    def _state(self) -> dict[str, Any]:
        frame, seq, notice = self._feed.latest
        now = round(time.time(), 3)
        return {**frame, "seq": seq, "now": now, "notice": notice, "fallback": self._fallback.id}

    def __repr__(self) -> str:
        # The same in every run, since notebook tests compare it.
        return f"<dashboard of {self._name}>"

    def _ipython_display_(self, **kwargs: Any) -> None:
        shell: Any = IPython.get_ipython()
        bundle = super()._repr_mimebundle_()
        if bundle is not None:
            shell.display_pub.publish(*bundle)
        fallback = self._fallback.bundle(self._feed.latest[0], time.time())
        shell.display_pub.publish(fallback, transient={"display_id": self._fallback.id})

    def _repr_html_(self) -> str:
        """Return the last frame, for a notebook without its kernel."""
        return StaticView(self._feed.latest[0], time.time())._repr_html_()

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        return {**data, "text/html": self._repr_html_()}, metadata


def _picture(pool: Any) -> str:
    """Return the timeline of a pool as SVG; empty: it has run nothing, or is gone."""
    if pool is None:
        return ""
    timeline = take_timeline(pool, most=_MOST_BARS_SAVED)
    return timeline_svg(timeline) if timeline["bars"] else ""
