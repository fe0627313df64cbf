"""The files that users name, and the pool writes."""

from __future__ import annotations

import os

from .checks import shown
from .errors import OptionError

__all__ = ["checked_path", "write_text"]


def checked_path(path: object) -> str:
    """Return a path in full: the notebook may change its folder.

    Raises
    ------
    OptionError
        If it is none.
    """
    try:
        text = os.fspath(path)  # type: ignore[call-overload]
    except TypeError:
        text = None
    if not isinstance(text, str) or not text.strip():
        raise OptionError(f"path takes the name of a file, not {shown(path)}")
    return os.path.abspath(text)


def write_text(path: str, text: str) -> None:
    """Write a text to a file, which it replaces.

    Raises
    ------
    OptionError
        If that cannot be written to.
    """
    try:
        with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise OptionError(f"path is no file that can be written to: {shown(path)}: {why}") from None
