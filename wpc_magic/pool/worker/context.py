"""What functions find as ``context``."""

from __future__ import annotations

from _collections_abc import Mapping  # `collections.abc`, which need not load `collections`
from _thread import get_ident

from wpc_magic.pool.wire.protocol import Constant, Dependency, Resource
from wpc_magic.pool.worker.progress import no_progress
from wpc_magic.pool.worker.random_numbers import RandomNumbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Protocol

    class Definitions(Protocol):
        """Holds what is registered."""

        def look_up(self, name: str, kind: type, label: str) -> Any:
            """Return what has a name."""

        def names(self, kind: type) -> list[str]:
            """Return the names of one kind."""


__all__ = ["Context"]


class _Names(Mapping):  # type: ignore[type-arg]  # `typing` is not loaded here
    """``context.dependencies``, ``context.constants``, ``context.resources``: by attribute, and by key."""

    def __init__(self, definitions: Definitions, kind: type, label: str) -> None:
        self._registry = (definitions, kind, label)

    def __getitem__(self, name: str) -> Any:
        definitions, kind, label = self._registry
        return definitions.look_up(name, kind, label)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __contains__(self, name: object) -> bool:
        definitions, kind, _ = self._registry
        return name in definitions.names(kind)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of that name, else the default."""
        return self[name] if name in self else default  # noqa: SIM401  # `self.get` would recurse

    def __iter__(self) -> Iterator[str]:
        definitions, kind, _ = self._registry
        return iter(sorted(definitions.names(kind)))

    def __len__(self) -> int:
        definitions, kind, _ = self._registry
        return len(definitions.names(kind))

    def __repr__(self) -> str:
        return f"<{self._registry[2]}: {', '.join(self) or 'none'}>"


class Context:
    """What a function finds as ``context``.

    Attributes
    ----------
    dependencies, constants, resources : mapping
        What is registered, by key or by attribute.
    worker_id : int
        The slot that runs the call; 0 in the parent process.
    rng : numpy.random.Generator
        The random numbers of the call, or of the item of a map; with a seed, the same each time.
    progress : callable
        Tells those who wait for the call how far it is: ``context.progress(done, total, "text")``.
    """

    def __init__(self, definitions: Definitions) -> None:
        self.dependencies = _Names(definitions, Dependency, "dependency")
        self.constants = _Names(definitions, Constant, "constant")
        self.resources = _Names(definitions, Resource, "resource")
        self.worker_id = 0
        self.progress: Callable[..., None] = no_progress
        self._numbers = RandomNumbers(get_ident)

    @property
    def rng(self) -> Any:
        """The random numbers of the code that is running."""
        return self._numbers.generator()
