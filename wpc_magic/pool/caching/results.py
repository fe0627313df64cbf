"""The results cache of a pool: which calls have a stored value, and what is stored of those that have run.

What is stored is never that of another function. The key is the hash of the function with all that it needs,
and of the arguments. A value is stored only if nothing of that was defined again while its call ran, and if
the workers have started after the latest change of a file that counts: they have read what it says now.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..driver.driver import Driver
from ..errors import OptionError
from ..listing import Listing
from ..options import shown_name
from ..warning_levels import level_outside
from ..wire.codec import decode
from ..wire.seeded import Seeded
from ..worker.cells import PREFIX
from .argument_keys import arguments_key
from .function_hashes import FunctionHash, FunctionHashes
from .module_versions import UnhashableError
from .store import ResultStore, default_folder

__all__ = ["CachedFunctionInfo", "Entry", "NotCachedWarning", "ResultsCache"]

_CELLS = re.compile(PREFIX.encode() + rb"[0-9a-f]{16}(?:_\d+)?")
_NEVER = 1 << 63


class NotCachedWarning(UserWarning):
    """A call with ``cache=True`` has run as one without it; the text says why."""


class CachedFunctionInfo(NamedTuple):
    """What is stored of a function, as `get_cached_results` returns it.

    Parameters
    ----------
    name : str
        The function.
    entries : int
        How many values are stored, of all its versions.
    size : int
        How large these are, in bytes.
    hits : int
        How many calls of this pool, and items of maps, had a stored value.
    """

    name: str
    entries: int
    size: int
    hits: int


class Entry:
    """The place of one value.

    Parameters
    ----------
    cache : ResultsCache
        Where it is.
    name : str
        The function.
    function : FunctionHash
        The hash of that when the call was made.
    modules : frozenset of str
        The modules that its arguments need.
    key : str
        The key of the call.
    can_keep : bool
        Whether what the workers return now is what the function is now.
    """

    __slots__ = ("_cache", "can_keep", "function", "key", "modules", "name")

    def __init__(
        self,
        cache: ResultsCache,
        name: str,
        function: FunctionHash,
        modules: frozenset[str],
        key: str,
        can_keep: bool,
    ) -> None:
        self._cache = cache
        self.name = name
        self.function = function
        self.modules = modules
        self.key = key
        self.can_keep = can_keep

    def find(self) -> tuple[Any] | None:
        """Return the stored value, in a tuple; None: there is none."""
        return self._cache.find(self)

    def keep(self, body: Any, buffers: Sequence[Any]) -> None:
        """Store a value as it was sent, unless it may be of another version of the function."""
        if self._cache.is_as_it_was(self, {}):
            self._cache.keep(self, body, buffers)


class ResultsCache:
    """The stored values of one pool, which others may share.

    Parameters
    ----------
    driver : Driver
        The driver of the pool.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._hashes = FunctionHashes(driver.reading, driver.changes.buffers)
        self._stores: dict[tuple[str, int], ResultStore] = {}
        self._hits: Counter[str] = Counter()
        self._said: set[tuple[str, str]] = set()

    # -- one value --------------------------------------------------------------------------------------

    def draws(self, name: str) -> bool:
        """Return whether a function may draw numbers from ``context.rng``."""
        try:
            found = self._hashes.of(name)
        except UnhashableError:
            return False
        return found is not None and found.draws

    def entry(self, name: str, args: Any, kwargs: dict[str, Any], seeded: Seeded | None) -> Entry | None:
        """Return the place of the value of a call; None: it is not cached, which a warning says once.

        Parameters
        ----------
        name : str
            The function.
        args, kwargs : object
            The arguments.
        seeded : Seeded or None
            Says which numbers it draws; None: other ones each time.
        """
        return self.entries(name, [args], kwargs, [seeded])[0]

    def entries(
        self,
        name: str,
        calls: Sequence[tuple[Any, ...]],
        kwargs: dict[str, Any],
        seeds: Sequence[Seeded | None],
    ) -> list[Entry | None]:
        """Return the places of the values of several calls; see `entry`.

        Parameters
        ----------
        name : str
            The function.
        calls : sequence of tuple
            The arguments of each.
        kwargs : dict
            The keyword arguments of all.
        seeds : sequence of Seeded or None
            For each.
        """
        try:
            plain = self._hashes.of(name)
            if plain is None:  # the calls are refused, with the reason
                return [None] * len(calls)
            keywords = arguments_key(kwargs)
            self._store()
        except OptionError:
            raise
        except (UnhashableError, OSError, ValueError) as error:
            self._say(name, str(error))
            return [None] * len(calls)
        oldest = self._oldest_start_ns()
        hashes: dict[frozenset[str], FunctionHash | None] = {frozenset(): plain}
        made: list[Entry | None] = []
        for args, seeded in zip(calls, seeds, strict=True):
            try:
                key = arguments_key(args)
                modules = key.modules | keywords.modules
                if modules not in hashes:
                    hashes[modules] = self._hashes.of(name, modules)
                function = hashes[modules]
                digest = key.digest + keywords.digest
                made.append(function and self._entry(name, function, modules, digest, seeded, oldest))
            except UnhashableError as error:
                self._say(name, str(error))
                made.append(None)
        return made

    def _entry(
        self,
        name: str,
        function: FunctionHash,
        modules: frozenset[str],
        arguments: bytes,
        seeded: Seeded | None,
        oldest_ns: int,
    ) -> Entry:
        if function.draws and seeded is None:
            raise UnhashableError("it draws other random numbers each time (context.rng): set a seed")
        numbers = (seeded.seed, seeded.key) if seeded is not None and function.draws else None
        key = hashlib.sha256(repr((function.digest, arguments, numbers)).encode()).hexdigest()
        can_keep = function.changed_ns < oldest_ns
        if not can_keep:
            self._say(
                name,
                "a module that it uses has changed since the workers started. When they have the new one "
                "(%wpc_restart, or restart_workers()), it is cached again",
            )
        return Entry(self, name, function, modules, key, can_keep)

    def is_as_it_was(self, entry: Entry, known: dict[Any, bool]) -> bool:
        """Return whether an entry is of the version that has run; `known` is what was found just now."""
        if not entry.can_keep:
            return False
        which = entry.function, entry.modules
        if which not in known:
            try:
                known[which] = self._hashes.of(entry.name, entry.modules) == entry.function
            except UnhashableError:
                known[which] = False
        return known[which]

    def find(self, entry: Entry) -> tuple[Any] | None:
        """Return the stored value of an entry, in a tuple; None: there is none."""
        found = self._store().find(entry.name, entry.key)
        if found is None:
            return None
        body, buffers = found
        try:
            if not self._hashes.has_cells(entry.name, map(bytes.decode, _CELLS.findall(body))):
                return None  # an object of a class that was loaded in another state
            value = decode(body, buffers)
        except Exception:  # such as one of a class that is not there any more
            return None
        self._hits[entry.name] += 1
        return (value,)

    def keep(self, entry: Entry, body: Any, buffers: Sequence[Any]) -> None:
        """Store the value of an entry. It raises nothing: the call itself is well."""
        try:
            self._store().keep(entry.name, entry.key, body, buffers)
        except Exception as error:
            self._say(entry.name, f"its value cannot be stored: {error}")

    def _oldest_start_ns(self) -> int:
        """Return when the oldest worker was started that may take a call from now on."""
        is_serving = self._driver.core.state.is_serving
        links = [link for link in list(self._driver.parts.links.values()) if is_serving(link.slot)]
        return min((link.process.started_ns for link in links), default=_NEVER)

    def _store(self) -> ResultStore:
        options = self._driver.core.state.options
        where = options.cache_folder or default_folder(), options.cache_limit_mb << 20
        store = self._stores.get(where)
        if store is None:
            store = self._stores[where] = ResultStore(*where)
        return store

    def _say(self, name: str, why: str) -> None:
        """Warn that a call is not cached, once for each reason."""
        if (name, why) not in self._said:
            self._said.add((name, why))
            warnings.warn(
                f"{shown_name(name)} is not cached: {why}", NotCachedWarning, stacklevel=level_outside()
            )

    # -- what is there ----------------------------------------------------------------------------------

    def infos(self) -> list[CachedFunctionInfo]:
        """Return what is stored of each function, sorted by name."""
        infos = [
            CachedFunctionInfo(name, found.entries, found.size, self._hits[name])
            for name, found in self._store().stored().items()
        ]
        return Listing(infos, "cached function")

    def clear(self, names: Iterable[str]) -> None:
        """Remove what is stored of functions."""
        self._store().clear(names)
