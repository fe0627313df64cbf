"""The dashboard's front end: its one module, and its one style sheet."""

from __future__ import annotations

import pathlib

from wpc_magic.notebook.page_modules import joined_modules

__all__ = ["STATIC", "front_end", "joined_styles"]

STATIC = pathlib.Path(__file__).parent / "static"
"""The folder of the files."""


def front_end() -> str:
    """Return the text of the module."""
    return joined_modules(STATIC / "dashboard.js")


def joined_styles() -> str:
    """Return the text of the style sheet."""
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(STATIC.glob("*.css")))
