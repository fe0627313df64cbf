"""``?`` and ``??`` of registered functions and resources: what they are, and their source."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from IPython.core.oinspect import OInfo

from wpc_magic.pool.procedures import Procedure, read_doc, read_signature

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from wpc_magic.pool import WorkerProcedureCall

__all__ = ["Inspection"]

_MIME_TYPES = ("text/plain", "text/html")
_FIND = "_object_find"  # of the shell: what a name before a question mark stands for


class _Resource(NamedTuple):
    """Stands for a resource, whose objects are in the workers."""

    name: str


class Inspection:
    """Makes a shell show a registered function as its author wrote it, by ``wpc.call.f?`` and by ``f?``.

    A resource is shown by its name, too: ``db?``.

    Parameters
    ----------
    shell : InteractiveShell
        The shell.
    pool : WorkerProcedureCall
        The pool.
    """

    def __init__(self, shell: InteractiveShell, pool: WorkerProcedureCall) -> None:
        self._shell: Any = shell  # IPython is mostly untyped
        self._pool = pool
        self._before: dict[str, Callable[..., Any] | None] = {}
        self._hooks = {kind: self._hook(kind) for kind in _MIME_TYPES}
        self._original_find: Any = None
        self._wrapper = self._find

    def install(self) -> None:
        """Hook into the shell's inspector, and into how it finds names."""
        hooks = self._shell.inspector.mime_hooks
        self._before = {kind: hooks.get(kind) for kind in _MIME_TYPES}
        self._shell.inspector.mime_hooks = {**hooks, **self._hooks}
        self._original_find = getattr(self._shell, _FIND, None)
        if self._original_find is not None:
            setattr(self._shell, _FIND, self._wrapper)

    def uninstall(self) -> None:
        """Restore both, where nobody has replaced them since."""
        hooks = dict(self._shell.inspector.mime_hooks)
        for kind, before in self._before.items():
            if hooks.get(kind) is self._hooks[kind]:
                del hooks[kind]
                if before is not None:
                    hooks[kind] = before
        self._shell.inspector.mime_hooks = hooks
        if self._shell.__dict__.get(_FIND) is self._wrapper:
            delattr(self._shell, _FIND)

    def _find(self, name: str, namespaces: Any = None) -> Any:
        """Find an object by its name; a function or resource that the notebook does not have, in the pool."""
        found = self._original_find(name, namespaces)
        pool, word = self._pool, name.strip()
        if found.found or self._shell.user_ns.get(pool.name) is not pool:
            return found
        if pool.describe(word) is not None:
            return self._original_find(f"{pool.name}.call.{word}")
        if any(info.name == word for info in pool.get_worker_resources()):
            return OInfo(
                ismagic=False,
                isalias=False,
                found=True,
                namespace="the workers",
                parent=None,
                obj=_Resource(word),
            )
        return found

    def _hook(self, kind: str) -> Callable[..., Any]:
        def show(data: Any, info: Any = None) -> Any:
            # Before IPython 8.22, `data` is the object itself, and the level of detail is not told.
            inspected = data if info is not None else data.obj
            if isinstance(inspected, Procedure | _Resource):
                level = getattr(data, "detail_level", 1)
                if isinstance(inspected, Procedure):
                    fields = self._fields(inspected, level)
                else:
                    fields = self._resource_fields(inspected, level)
                return [(title, self._formatted(title, text, kind)) for title, text in fields]
            before = self._before.get(kind)
            return None if before is None else before(data) if info is None else before(data, info)

        return show

    def _formatted(self, title: str, text: str, kind: str) -> str:
        is_code = title in ("Signature", "Source")
        if kind == "text/html":
            return f"<pre>{html.escape(text)}</pre>"
        return str(self._shell.inspector.format(text)) if is_code else text

    def _fields(self, procedure: Procedure, detail_level: int) -> list[tuple[str, str]]:
        """Return what is shown of a function: titles and texts."""
        name = procedure.__name__
        about = self._pool.describe(name)
        if about is None:
            return [("Type", f"{procedure!r}".strip("<>"))]
        info = next(each for each in self._pool.get_remote_functions() if each.name == name)
        signature = read_signature(info.parameter_signature, about.source)
        parameters = info.parameter_signature if signature is None else signature
        fields = [("Signature", f"{self._pool.name}.call.{name}{parameters}")]
        if detail_level and about.source:
            fields.append(("Source", about.source))
        else:
            fields.append(("Docstring", read_doc(about.source) or info.doc or "<no docstring>"))
        if about.file:
            fields.append(("Defined in", self._place(about.file, about.first_line)))
        parts = ["function of the workers"]
        if info.requires:
            parts.append("needs " + ", ".join(info.requires))
        if info.revision > 1:
            parts.append(f"revision {info.revision}")
        return [*fields, ("Type", " · ".join(parts))]

    def _resource_fields(self, resource: _Resource, detail_level: int) -> list[tuple[str, str]]:
        """Return what is shown of a resource."""
        name = resource.name
        info = next((each for each in self._pool.get_worker_resources() if each.name == name), None)
        if info is None:  # it was removed meanwhile
            return [("Type", f"{name}, which is not registered")]
        fields = [("Made by", info.made_by)]
        source = self._pool.resource_source(name).strip("\n")
        if detail_level and source:
            fields.append(("Source", source))
        parts = ["resource, an object of each worker's own", "made when a worker starts"]
        if not info.eager:
            parts[1] = "made for the first call that needs it"
        parts += ["checked before each call"] * info.is_checked + ["closed at the end"] * info.is_closed
        if info.requires:
            parts.append("needs " + ", ".join(info.requires))
        if info.timeout_ms is not None:
            parts.append(f"time limit {info.timeout_ms} ms")
        if info.revision > 1:
            parts.append(f"revision {info.revision}")
        return [*fields, ("Type", " · ".join(parts))]

    def _place(self, file: str, line: int) -> str:
        label = getattr(self._shell.compile, "format_code_name", lambda name: None)(file)
        where = " ".join(label) if label else file
        return f"{where}, line {line}" if line else where
