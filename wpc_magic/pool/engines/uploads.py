"""Local modules as archives, for machines that do not have them: files and packages under development."""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from typing import NamedTuple

from ..checks import check_text, shown
from ..errors import DefinitionError, OptionError
from ..worker.module_files import is_local
from .archive import Archive, pack

__all__ = ["Upload", "path_of", "read_upload"]

_MAX_BYTES = 100 << 20
_SUFFIXES = (".py", *EXTENSION_SUFFIXES)


class Upload(NamedTuple):
    """A local module, with the local modules that it imports.

    Parameters
    ----------
    name : str
        The name by which it is imported.
    brings : tuple of str
        The other modules in the archive, sorted.
    path : str
        Its file, or the folder of the package.
    nbytes : int
        The size of all files.
    archive : Archive
        The files, as they are below a folder of ``sys.path``.
    """

    name: str
    brings: tuple[str, ...]
    path: str
    nbytes: int
    archive: Archive

    @property
    def folder(self) -> str:
        """The folder in which it is found."""
        return os.path.dirname(self.path)


def read_upload(what: str) -> Upload:
    """Read a local module, and what it imports of other local modules.

    Parameters
    ----------
    what : str
        A file, the folder of a package, or the name of a module that can be imported here.

    Raises
    ------
    OptionError
        If it is no module, or none that can be uploaded.
    DefinitionError
        If a file does not compile, or cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "helpers.py")
    ...     _ = path.write_text("import os")
    ...     read_upload(str(path)).name
    'helpers'
    """
    if not check_text("module", what):
        raise OptionError("module takes a file, a folder or the name of a module, not ''")
    name, path = _named(what)
    beside = os.path.dirname(path)
    files: dict[str, bytes] = {}
    brings: set[str] = set()
    waiting = {name: path}
    nbytes = 0
    while waiting:
        module, where = waiting.popitem()
        brings.add(module)
        imported: set[str] = set()
        for relative, file in _files(where):
            content = _content(file)
            files[relative] = content
            nbytes += len(content)
            if nbytes > _MAX_BYTES:
                raise OptionError(
                    f"{name} has more than {_MAX_BYTES >> 20} MB of files; data travels as a constant, "
                    f"or lies where the machines of the cluster can read it"
                )
            if file.endswith(".py"):
                # What nobody may ever import, such as a template, is left to those who do.
                imported |= _imported(content, file, must_compile=file in (where, f"{where}/__init__.py"))
        for other in imported - brings:
            found = _local_path(other, beside)
            if found is not None:
                waiting[other] = found
    return Upload(name, tuple(sorted(brings - {name})), path, nbytes, pack(files))


def _named(what: str) -> tuple[str, str]:
    """Return the name and the path of what was asked for."""
    path = os.path.abspath(os.path.expanduser(what))
    if os.path.isdir(path):
        name = os.path.basename(path)
        if name.isidentifier() and any(file.endswith(_SUFFIXES) for _, file in _files(path)):
            return name, path
        if os.sep in what or not what.isidentifier():
            raise OptionError(f"{shown(what)} is no package: its folder has no modules, or no name of one")
    elif os.path.isfile(path):
        name = os.path.basename(path).partition(".")[0]
        if path.endswith(_SUFFIXES) and name.isidentifier():
            return name, path
        raise OptionError(f"{shown(what)} is no module: the name of one is a word, and ends in .py")
    elif os.sep in what or what.endswith(".py"):
        raise OptionError(f"there is no file or folder {shown(what)}")
    return _imported_name(what)


def _imported_name(what: str) -> tuple[str, str]:
    """Return the name and the path of the top module of a dotted name."""
    name = what.partition(".")[0]
    if not all(part.isidentifier() for part in what.split(".")):
        raise OptionError(f"there is no file, folder or module {shown(what)}")
    if name in sys.stdlib_module_names:
        raise OptionError(f"{name} is a part of Python, which every machine has")
    path = path_of(name)
    if path is None:
        raise OptionError(f"there is no file, folder or module {shown(what)}")
    if not is_local(path + os.sep):
        raise OptionError(
            f"{name} is an installed package: install it on the machines of the cluster, as it is here"
        )
    return name, path


def _local_path(name: str, beside: str) -> str | None:
    """Return the path of a local module that another one imports; None: it is not found, or not local."""
    if name in sys.stdlib_module_names:
        return None
    path = path_of(name, beside) or path_of(name)
    return path if path is not None and is_local(path + os.sep) else None


def path_of(name: str, folder: str | None = None) -> str | None:
    """Return the file of a module, or the folder of a package; nothing is imported for it."""
    try:
        if folder is not None:
            spec = PathFinder.find_spec(name, [folder])
        else:
            spec = PathFinder.find_spec(name) or importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())
    if folders:
        return os.path.abspath(folders[0])
    if not spec.has_location or not spec.origin or not spec.origin.endswith(_SUFFIXES):
        return None
    return os.path.abspath(spec.origin)


def _files(path: str) -> Iterator[tuple[str, str]]:
    """Yield the files of a module: the path below a folder of ``sys.path``, and the file."""
    if not os.path.isdir(path):
        yield os.path.basename(path), path
        return
    above = os.path.dirname(path)
    for where, inner, names in os.walk(path):
        inner[:] = sorted(each for each in inner if not each.startswith(".") and each != "__pycache__")
        for name in sorted(names):
            file = os.path.join(where, name)
            if not name.startswith(".") and not name.endswith(".pyc") and os.path.isfile(file):
                yield os.path.relpath(file, above).replace(os.sep, "/"), file


def _content(file: str) -> bytes:
    try:
        with open(file, "rb") as opened:
            return opened.read(_MAX_BYTES + 1)
    except OSError as error:
        raise DefinitionError(f"{file} cannot be read: {error.strerror or error}") from None


def _imported(content: bytes, file: str, must_compile: bool) -> set[str]:
    """Return the top modules that a source imports anywhere; those of its own package are among its files."""
    try:
        tree = ast.parse(importlib.util.decode_source(content))
    except (SyntaxError, ValueError) as error:  # such as a zero byte, or bytes that are no text
        if must_compile:
            raise DefinitionError(f"{file} does not compile: {error}") from None
        return set()
    return set(_names(ast.walk(tree)))


def _names(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]
