"""``display`` in a worker: objects as mime bundles, which travel to the cell that made the call.

It does what the ``display`` of IPython does, without IPython: that takes longer to import than most functions
to run. Where user code imports IPython's, that one is replaced by this one.
"""

from __future__ import annotations

import binascii
import os
import sys

from wpc_magic.pool.wire.protocol import Shown
from wpc_magic.pool.worker import rich_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

__all__ = ["DisplayHandle", "clear_output", "display", "publish_display_data", "replace_in", "update_display"]

_METHODS = {
    "text/html": "_repr_html_",
    "text/markdown": "_repr_markdown_",
    "image/svg+xml": "_repr_svg_",
    "image/png": "_repr_png_",
    "application/pdf": "_repr_pdf_",
    "image/jpeg": "_repr_jpeg_",
    "text/latex": "_repr_latex_",
    "application/json": "_repr_json_",
    "application/javascript": "_repr_javascript_",
}
_WIDGET = "application/vnd.jupyter.widget-view+json"
"""The view of a widget whose model would have to be in the kernel."""
_WIDTH = 79

formatters: list[Callable[[Any], dict[str, Any] | None]] = []
"""Each returns what it adds to the bundle of an object; None: it does not know the object."""


def display(
    *objects: Any,
    include: Collection[str] | None = None,
    exclude: Collection[str] | None = None,
    metadata: dict[str, Any] | None = None,
    transient: dict[str, Any] | None = None,
    display_id: str | bool | None = None,
    raw: bool = False,
    clear: bool = False,
    update: bool = False,
    **ignored: Any,
) -> DisplayHandle | None:
    """Display objects; see ``display`` of IPython, whose parameters these are.

    Parameters
    ----------
    *objects : object
        What is displayed.
    include, exclude : collection of str, optional
        The mime types that are computed, or left out.
    metadata : dict, optional
        Metadata, by mime type.
    transient : dict, optional
        What is not saved with a notebook.
    display_id : str or bool, optional
        The id by which the display can be updated; True: a new one.
    raw : bool
        Whether `objects` are mime bundles.
    clear : bool
        Whether to clear first what the cell has displayed.
    update : bool
        Whether to update the displays of that id.
    **ignored
        Options of other publishers.

    Returns
    -------
    DisplayHandle or None
        What updates the display, if it has an id.

    Raises
    ------
    TypeError
        If there is no id to update.
    """
    transient = dict(transient or {})
    if display_id:
        transient["display_id"] = display_id = _new_id() if display_id is True else str(display_id)
    if update and "display_id" not in transient:
        raise TypeError("display_id required for update_display")
    if not objects and display_id:
        objects, raw = ({},), True  # an empty display, which is updated later
    if clear:
        clear_output(wait=True)
    for each in objects:
        if raw:
            publish_display_data(each, metadata, transient=transient, update=update)
            continue
        data, found = bundle_of(each, include, exclude)
        if data:
            publish_display_data(data, _merged(found, metadata or {}), transient=transient, update=update)
    return DisplayHandle(str(display_id)) if display_id else None


def update_display(obj: Any, *, display_id: str, **options: Any) -> None:
    """Update the displays that have an id."""
    display(obj, display_id=display_id, update=True, **options)


def publish_display_data(
    data: dict[str, Any],
    metadata: dict[str, Any] | None = None,
    *,
    transient: dict[str, Any] | None = None,
    update: bool = False,
    seq: int | None = None,
    **ignored: Any,
) -> None:
    """Send a mime bundle.

    Parameters
    ----------
    data : dict
        Representations of an object, by mime type.
    metadata : dict, optional
        Metadata, by mime type.
    transient : dict, optional
        What is not saved with a notebook: the ``display_id``.
    update : bool
        Whether to update the displays of that id.
    seq : int, optional
        The call that it belongs to; by default, the one whose code is running.
    **ignored
        Options of other publishers.
    """
    output = rich_output.target()
    if output is None:
        _publish_here(data, metadata, transient, update)
        return
    if not isinstance(data, dict):
        raise TypeError(f"data must be a dict, got: {data!r}")
    data = {mime: value for mime, value in data.items() if mime != _WIDGET}
    content = {"data": data, "metadata": metadata or {}, "transient": transient or {}}
    kind = "update_display_data" if update else "display_data"
    output.post(Shown(output.current_call() if seq is None else seq, kind, _plain(content)))


def clear_output(wait: bool = False) -> None:
    """Clear what the cell has displayed; `wait`: not before there is something new."""
    output = rich_output.target()
    if output is not None:
        output.post(Shown(output.current_call(), "clear_output", {"wait": bool(wait)}))


class DisplayHandle:
    """Updates a display.

    Parameters
    ----------
    display_id : str, optional
        Its id; by default a new one.
    """

    def __init__(self, display_id: str | None = None) -> None:
        self.display_id = display_id or _new_id()

    def display(self, obj: Any, **options: Any) -> None:
        """Display an object once more, under the same id."""
        display(obj, display_id=self.display_id, **options)

    def update(self, obj: Any, **options: Any) -> None:
        """Display an object in the place of the one before."""
        update_display(obj, display_id=self.display_id, **options)

    def __repr__(self) -> str:
        return f"<DisplayHandle display_id={self.display_id}>"


def replace_in(module: Any) -> None:
    """Replace IPython's functions by ours, in the module that defines them."""
    for function in (display, update_display, publish_display_data, clear_output):
        setattr(module, function.__name__, function)


# -- formatting -----------------------------------------------------------------------------------------


def bundle_of(
    obj: Any, include: Collection[str] | None = None, exclude: Collection[str] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the representations of an object, by mime type, and their metadata.

    Both are empty if it has displayed itself.

    Examples
    --------
    >>> class Bold:
    ...     def _repr_html_(self):
    ...         return "<b>bold</b>"
    ...     def __repr__(self):
    ...         return "bold"
    >>> bundle_of(Bold())
    ({'text/plain': 'bold', 'text/html': '<b>bold</b>'}, {})
    >>> bundle_of("text")
    ({'text/plain': "'text'"}, {})
    """
    method = _method(obj, "_ipython_display_")
    if method is not None and _guarded(method) is not _FAILED:
        return {}, {}

    def wanted(mime: str) -> bool:
        return (include is None or mime in include) and (exclude is None or mime not in exclude)

    data: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    if wanted("text/plain"):
        text = _guarded(lambda: _text(obj))
        if text is not _FAILED:
            data["text/plain"] = text
    whole = _method(obj, "_repr_mimebundle_")
    if whole is not None:
        found, about = _pair(_guarded(lambda: whole(include=include, exclude=exclude)))
        data.update({mime: value for mime, value in (found or {}).items() if wanted(mime)})
        metadata.update({mime: value for mime, value in about.items() if wanted(mime)})
    for mime, name in _METHODS.items():
        method = _method(obj, name) if mime not in data and wanted(mime) else None
        if method is not None:
            value, about = _pair(_guarded(method))
            if value is not None:
                data[mime] = value
                if about:
                    metadata[mime] = about
    for formatter in formatters:
        added = _guarded(lambda formatter=formatter: formatter(obj))  # type: ignore[misc]
        if isinstance(added, dict):
            data.update({mime: value for mime, value in added.items() if mime not in data and wanted(mime)})
    return data, metadata


_FAILED = object()


def _guarded(function: Callable[[], Any]) -> Any:
    """Call a method that represents an object; what it raises is shown, and the others go on."""
    try:
        return function()
    except NotImplementedError:
        pass
    except Exception:
        sys.excepthook(*sys.exc_info())
    return _FAILED


def _pair(found: Any) -> tuple[Any, dict[str, Any]]:
    """Return what a method has returned, and its metadata."""
    if found is _FAILED:
        return None, {}
    if isinstance(found, tuple) and len(found) == 2:
        return found[0], dict(found[1] or {})
    return found, {}


def _method(obj: Any, name: str) -> Any:
    """Return a method; None for classes, and for objects that answer to any name."""
    if isinstance(obj, type):
        return None
    try:
        if getattr(obj, "_ipython_canary_method_should_not_exist_", None) is not None:
            return None
        method = getattr(obj, name, None)
    except Exception:
        return None
    return method if callable(method) else None


def _text(obj: Any) -> str:
    pretty = sys.modules.get("IPython.lib.pretty")
    if pretty is not None:
        return str(pretty.pretty(obj))
    text = repr(obj)
    if len(text) > _WIDTH and type(obj) in (dict, frozenset, list, set, tuple):
        from pprint import pformat

        return pformat(obj, width=_WIDTH, sort_dicts=False)
    return text


def _plain(value: Any) -> Any:
    """Return data as JSON has it."""
    if isinstance(value, str):
        # A message to a front end is UTF-8, which has no half of a surrogate pair.
        return value.encode(errors="backslashreplace").decode() if not value.isascii() else str(value)
    if value is None or type(value) in (bool, int, float):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return binascii.b2a_base64(value, newline=False).decode()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    item = getattr(value, "item", None)  # of a number of NumPy
    if callable(item) and getattr(value, "ndim", None) == 0:
        return _plain(item())
    tolist = getattr(value, "tolist", None)
    return _plain(tolist()) if callable(tolist) else str(value)


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    merged = dict(one)
    for key, value in other.items():
        before = merged.get(key)
        merged[key] = (
            _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
        )
    return merged


def _new_id() -> str:
    return os.urandom(16).hex()


def _publish_here(data: Any, metadata: Any, transient: Any, update: bool) -> None:
    """Display in this process, where a function runs locally, or a handle has come back."""
    shell: Any = sys.modules.get("IPython.core.interactiveshell")
    if shell is not None and shell.InteractiveShell.initialized():
        publisher = shell.InteractiveShell.instance().display_pub
        publisher.publish(data, metadata, transient=transient or {}, update=update)
    else:
        sys.stdout.write(f"{data.get('text/plain', '')}\n")
