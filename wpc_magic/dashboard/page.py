"""The front end's files, joined into the one module and the one style sheet that a widget carries.

A page loads a widget's module from memory, where ``import "./dom.js"`` finds nothing. So the modules are
joined when the widget is imported, each after those that it imports::

    dom.js      export const count = …       const dom_js = (() => { const count = …; return { count }; })();
    frame.js    import { count } from …      const frame_js = (() => { const { count } = dom_js; … })();

They may use what JavaScript has of imports and exports in these forms only.
"""

from __future__ import annotations

import graphlib
import pathlib
import re

__all__ = ["STATIC", "joined_modules", "joined_styles"]

STATIC = pathlib.Path(__file__).parent / "static"
"""The folder of the files."""

_MAIN = "dashboard.js"
_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./([\w-]+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:const|function|class) (\w+))", re.MULTILINE)


def joined_modules() -> str:
    """Return the text of the front end's module."""
    texts: dict[str, str] = {}
    needs: dict[str, list[str]] = {}
    missing = [_MAIN]
    while missing:
        name = missing.pop()
        texts[name] = (STATIC / name).read_text(encoding="utf-8")
        needs[name] = [each for _, each in _IMPORT.findall(texts[name])]
        missing += [each for each in needs[name] if each not in texts]
    order = graphlib.TopologicalSorter(needs).static_order()
    return "\n".join(_joined(name, texts[name]) for name in order)


def _joined(name: str, text: str) -> str:
    """Return a module as a part of the whole: a call that returns what it exports; the main one as it is."""
    body = _EXPORT.sub("", _IMPORT.sub(lambda found: f"const {found[1]} = {_variable(found[2])};\n", text))
    if name == _MAIN:
        return body
    exported = ", ".join(_EXPORT.findall(text))
    return f"const {_variable(name)} = (() => {{\n{body}\nreturn {{ {exported} }};\n}})();\n"


def _variable(name: str) -> str:
    return re.sub(r"\W", "_", name)


def joined_styles() -> str:
    """Return the text of the front end's style sheet."""
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(STATIC.glob("*.css")))
