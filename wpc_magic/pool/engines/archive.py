"""Archives of files, the same for the same files: what travels to other machines.

The package itself travels so, too. Then the versions at both ends match, whatever is installed there.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import io
import zipfile
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from typing import NamedTuple

__all__ = ["Archive", "own_package", "pack", "place"]

_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold
_MODE = 0o644 << 16
_UNIX = 3
_LEFT_OUT = ("__pycache__", "static")  # folders of the package that no worker needs


class Archive(NamedTuple):
    """Some files, as a zip.

    Parameters
    ----------
    digest : str
        The SHA-256 of the names and contents of the files: the same for the same files, whenever and wherever
        they were packed.
    data : bytes
        The zip.
    """

    digest: str
    data: bytes


def pack(files: Mapping[str, bytes]) -> Archive:
    """Pack files.

    Parameters
    ----------
    files : mapping
        The contents by name; folders in it are separated by slashes.

    Examples
    --------
    >>> one, same = pack({"a.py": b"1", "b.py": b""}), pack({"b.py": b"", "a.py": b"1"})
    >>> one == same
    True
    >>> one.digest == pack({"a.py": b"", "b.py": b"1"}).digest
    False
    """
    digest = hashlib.sha256()
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, content in sorted(files.items()):
            encoded = name.encode()
            digest.update(b"%d %d\n" % (len(encoded), len(content)) + encoded + content)
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system = _UNIX  # also where it is packed on another system
            info.external_attr = _MODE
            archive.writestr(info, content, zipfile.ZIP_DEFLATED, 9)
    return Archive(digest.hexdigest(), held.getvalue())


@functools.cache
def own_package() -> Archive:
    """Return this package, as it was when it was asked for first.

    Examples
    --------
    >>> len(own_package().data) < 1_000_000
    True
    """
    name = __name__.partition(".")[0]
    return pack(dict(_files(importlib.resources.files(name), f"{name}/")))


def place(digest: str, data: bytes, folder: str) -> str:
    """Unpack an archive below a folder, unless it is there already; return where its files are.

    It is there as a whole or not at all, also if several processes place it at once, or if one is killed.

    Parameters
    ----------
    digest, data : str, bytes
        The `Archive`.
    folder : str
        Where archives lie; it is made if need be.
    """
    # It uses nothing of this module: by this function a machine without the package gets it.
    import io
    import os
    import shutil
    import tempfile
    import zipfile

    placed = os.path.join(folder, digest[:32])
    if os.path.isdir(placed):
        return placed
    os.makedirs(folder, exist_ok=True)
    unfinished = tempfile.mkdtemp(prefix="unfinished-", dir=folder)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as held:
            held.extractall(unfinished)
        try:
            os.rename(unfinished, placed)
        except OSError:
            if not os.path.isdir(placed):  # else another process was quicker
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return placed


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for each in folder.iterdir():
        if each.is_dir():
            if each.name not in _LEFT_OUT:
                yield from _files(each, f"{prefix}{each.name}/")
        elif each.name.endswith((".py", ".typed")):
            yield prefix + each.name, each.read_bytes()
