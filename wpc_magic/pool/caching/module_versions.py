"""Versions of modules: of a local one what its files say, of an installed one the number of its release.

What a module imports counts, too: local modules that local ones import, and releases that a release requires.
Nothing is imported for it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from typing import NamedTuple

from ..worker.module_files import is_local

__all__ = ["ModuleVersions", "UnhashableError", "Versions", "imported_names"]

_SUFFIXES = (".py", *EXTENSION_SUFFIXES)
_MAX_FILES = 5_000  # of a local package
_STANDARD = os.path.dirname(os.__file__) + os.sep
_DRAWS = re.compile(rb"\bcontext\s*\.\s*rng\b")
_COMPUTED = {"__import__", "import_module", "exec", "eval", "compile", "globals"}
"""With these, code reaches what its text does not name."""


class UnhashableError(Exception):
    """Something has no hash that is the same as long as it is the same; the text says what, and why."""


class Versions(NamedTuple):
    """What was found of some modules.

    Parameters
    ----------
    texts : tuple of str
        One for each module or release, sorted: equal only if nothing has changed.
    changed_ns : int
        When the latest of their files was changed, on the clock of `time.time_ns`.
    draws : bool
        Whether a local one has ``context.rng`` in its text.
    """

    texts: tuple[str, ...]
    changed_ns: int
    draws: bool


class _Found(NamedTuple):
    """One module or release, and what it needs: names of modules, and of releases."""

    text: str
    changed_ns: int
    modules: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    draws: bool = False


class _File(NamedTuple):
    """What a file of a local module says."""

    mark: object
    digest: str
    imported: tuple[str, ...]
    draws: bool


class ModuleVersions:
    """Finds the versions of modules; what it has found is kept as long as folders and files are the same."""

    def __init__(self) -> None:
        self._folders: tuple[object, ...] = ()
        self._specs: dict[str, ModuleSpec | None] = {}
        self._releases: dict[str, _Found] = {}
        self._release_of: dict[str, tuple[str, ...]] = {}
        self._files: dict[str, _File] = {}

    def of(self, names: Iterable[str]) -> Versions:
        """Return the versions of modules, and of all that they need.

        Raises
        ------
        UnhashableError
            If one cannot be found, or imports what its text does not say.
        """
        self._forget_old()
        found: dict[str, _Found] = {}
        modules = [name.partition(".")[0] for name in names]
        releases: list[str] = []
        seen_modules, seen_releases = set(modules), set[str]()
        for name in modules:  # it grows during the iteration
            one = self._module(name)
            found[name] = one
            releases += one.releases
            modules += [each for each in one.modules if each not in seen_modules]
            seen_modules.update(one.modules)
        for name in releases:  # it grows, too
            if name not in seen_releases:
                seen_releases.add(name)
                found[f"{name} "] = release = self._release(name)
                releases += release.releases
        texts = sorted({each.text for each in found.values() if each.text})
        every = found.values()
        changed_ns = max((each.changed_ns for each in every), default=0)
        return Versions(tuple(texts), changed_ns, any(each.draws for each in every))

    def _forget_old(self) -> None:
        """Forget where modules are if the folders in which they are found have changed."""
        folders: list[object] = []
        for path in sys.path:
            try:
                found = os.stat(path or os.curdir)
            except OSError:
                continue
            folders += [path or os.getcwd(), found.st_mtime_ns, found.st_ctime_ns]
        if tuple(folders) != self._folders:
            self._folders = tuple(folders)
            for memory in (self._specs, self._releases, self._release_of):
                memory.clear()

    def _module(self, name: str) -> _Found:
        if name == "__main__":
            raise UnhashableError("it uses what is defined in the notebook, or in __main__")
        if name not in self._specs:
            self._specs[name] = _spec(name)
        spec = self._specs[name]
        if spec is None:
            raise UnhashableError(f"the module {name} cannot be found")
        if spec.origin in ("built-in", "frozen"):
            return _Found("", 0)
        folders = list(spec.submodule_search_locations or ())
        where = spec.origin if spec.has_location and spec.origin else ""
        if where.startswith(_STANDARD) and not _is_installed(where):
            return _Found("", 0)  # of the standard library: the version of Python says which
        if not where and not folders:
            raise UnhashableError(f"it cannot be seen which version of {name} there is")
        if not is_local(where or folders[0] + os.sep):
            if name not in self._release_of:
                self._release_of[name] = tuple(_releases_with(name))
            if self._release_of[name]:
                return _Found("", 0, (), self._release_of[name])
        return self._local(name, [where] if not folders else _files_in(name, folders))

    def _local(self, name: str, paths: Iterable[str]) -> _Found:
        digest, latest = hashlib.sha256(), 0
        imported: set[str] = set()
        draws = False
        for path in paths:
            try:
                status = os.stat(path)
                mark = status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
                known = self._files.get(path)
                if known is None or known.mark != mark:
                    known = self._files[path] = _read(path, mark)
            except OSError as error:
                raise UnhashableError(f"the module {name} cannot be read: {error}") from None
            digest.update(f"{os.path.basename(path)}\0{known.digest}\0".encode(errors="surrogatepass"))
            imported.update(known.imported)
            draws = draws or known.draws
            latest = max(latest, status.st_ctime_ns)  # nobody can set that one back
        return _Found(f"{name} {digest.hexdigest()}", latest, tuple(sorted(imported - {name})), (), draws)

    def _release(self, name: str) -> _Found:
        if name not in self._releases:
            self._releases[name] = _read_release(name)
        return self._releases[name]


def imported_names(source: str, what: str) -> tuple[str, ...]:
    r"""Return the modules that a source imports, by their first parts.

    Parameters
    ----------
    source : str
        Source that compiles.
    what : str
        What it is, for the error.

    Raises
    ------
    UnhashableError
        If it may import, or run, what its text does not name.

    Examples
    --------
    >>> imported_names("import os.path\ndef f():\n    from math import pi", "it")
    ('math', 'os')
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module).partition(".")[0])
        else:
            called = getattr(node, "id", None) or getattr(node, "attr", None)
            is_bare = isinstance(node, ast.Name)
            if (is_bare and called in _COMPUTED) or called == "import_module":
                raise UnhashableError(f"{what} may run or import what its text does not name ({called})")
    return tuple(sorted(names - {"__future__"}))


def _spec(name: str) -> ModuleSpec | None:
    if name in sys.builtin_module_names:
        return ModuleSpec(name, None, origin="built-in")
    try:
        return PathFinder.find_spec(name) or importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None


def _is_installed(path: str) -> bool:
    return any(f"{os.sep}{folder}{os.sep}" in path for folder in ("site-packages", "dist-packages"))


def _files_in(name: str, folders: Iterable[str]) -> list[str]:
    """Return the modules in the folders of a package, in the same order each time."""
    paths: list[str] = []
    for folder in folders:
        for where, inner, files in os.walk(folder):
            inner[:] = sorted(each for each in inner if not each.startswith((".", "__pycache__")))
            paths += [os.path.join(where, file) for file in sorted(files) if file.endswith(_SUFFIXES)]
            if len(paths) > _MAX_FILES:
                raise UnhashableError(f"the package {name} has more than {_MAX_FILES:,} modules")
    return paths


def _read(path: str, mark: object) -> _File:
    with open(path, "rb") as file:
        content = file.read()
    digest = hashlib.sha256(content).hexdigest()
    imported: tuple[str, ...] = ()
    if path.endswith(".py"):
        try:
            imported = imported_names(importlib.util.decode_source(content), os.path.basename(path))
        except (SyntaxError, ValueError):
            pass  # whoever imports it fails
    return _File(mark, digest, imported, bool(_DRAWS.search(content)))


def _releases_with(module: str) -> Iterator[str]:
    """Yield the names of the installed releases that a module is of."""
    try:
        found = importlib.metadata.distribution(module)
    except importlib.metadata.PackageNotFoundError:
        pass
    else:
        listed = found.read_text("top_level.txt") or ""
        record = "\n" + (found.read_text("RECORD") or "")
        if module in listed.split() or f"\n{module}/" in record or f"\n{module}.py," in record:
            yield _plain(module)
            return
    for name in importlib.metadata.packages_distributions().get(module, ()):  # slow: it reads all of them
        yield _plain(name)


def _read_release(name: str) -> _Found:
    """Return the version of a release, and what it requires; one that is not installed has no text."""
    try:
        found = importlib.metadata.distribution(name)
        version, required = found.version, found.requires or []
    except importlib.metadata.PackageNotFoundError:
        return _Found("", 0)
    names = (re.match(r"[\w.-]+", each) for each in required)
    path = getattr(found, "_path", None) or found.locate_file("")
    try:
        latest = os.stat(str(path)).st_ctime_ns
    except OSError:
        latest = 0
    return _Found(f"{name}=={version}", latest, (), tuple(_plain(each[0]) for each in names if each))


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
