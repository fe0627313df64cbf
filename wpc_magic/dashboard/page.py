"""The front end's files, joined into the one module and the one style sheet that a widget carries.

A page loads a widget's module from memory, where ``import "./dom.js"`` finds nothing. So the modules are
joined when the widget is imported: each after those that it imports, without its imports and exports. They
share one scope, in which a name that two of them declare is a syntax error.
"""

from __future__ import annotations

import graphlib
import pathlib
import re

__all__ = ["STATIC", "joined_modules", "joined_styles"]

STATIC = pathlib.Path(__file__).parent / "static"
"""The folder of the files."""

_MAIN = "dashboard.js"
_IMPORT = re.compile(r'^import (?:[^"]*? from )?"\./([\w-]+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=const |function |class )", re.MULTILINE)


def joined_modules() -> str:
    """Return the text of the front end's module."""
    texts: dict[str, str] = {}
    needs: dict[str, list[str]] = {}
    missing = [_MAIN]
    while missing:
        name = missing.pop()
        texts[name] = (STATIC / name).read_text(encoding="utf-8")
        needs[name] = _IMPORT.findall(texts[name])
        missing += [each for each in needs[name] if each not in texts]
    parts = [
        f"// -- {name}\n{_EXPORT.sub('', _IMPORT.sub('', texts[name]))}"
        for name in graphlib.TopologicalSorter(needs).static_order()
    ]
    return "\n".join(parts)


def joined_styles() -> str:
    """Return the text of the front end's style sheet."""
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(STATIC.glob("*.css")))
