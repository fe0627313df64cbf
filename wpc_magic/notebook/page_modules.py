"""The modules of a front end, joined into the one module that a widget carries.

A page loads a widget's module from memory, where ``import "./dom.js"`` finds nothing. So the modules are
joined when the widget is imported, each after those that it imports::

    dom.js      export const count = …       const dom_js = (() => { const count = …; return { count }; })();
    frame.js    import { count } from …      const frame_js = (() => { const { count } = dom_js; … })();

They may use what JavaScript has of imports and exports in these forms only, and no two have the same name.
"""

from __future__ import annotations

import graphlib
import pathlib
import re

__all__ = ["joined_modules"]

_IMPORT = re.compile(r'^import (\{[^}]*\}) from "(\.{1,2}/[\w./-]+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:const|function|class) (\w+))", re.MULTILINE)


def joined_modules(main: pathlib.Path) -> str:
    """Return the text of a module with all that it imports.

    Parameters
    ----------
    main : Path
        The module; it stays as it is, with what it exports.
    """
    texts: dict[pathlib.Path, str] = {}
    needs: dict[pathlib.Path, list[pathlib.Path]] = {}
    missing = [main.resolve()]
    while missing:
        path = missing.pop()
        texts[path] = path.read_text(encoding="utf-8")
        needs[path] = [(path.parent / each).resolve() for _, each in _IMPORT.findall(texts[path])]
        missing += [each for each in needs[path] if each not in texts]
    order = graphlib.TopologicalSorter(needs).static_order()
    return "\n".join(_joined(path, texts[path], is_main=path == main.resolve()) for path in order)


def _joined(path: pathlib.Path, text: str, is_main: bool) -> str:
    """Return a module as a part of the whole: a call that returns what it exports; the main one as it is."""
    body = _IMPORT.sub(lambda found: f"const {found[1]} = {_variable(found[2])};\n", text)
    if is_main:
        return body
    body, exported = _EXPORT.sub("", body), ", ".join(_EXPORT.findall(text))
    return f"const {_variable(path.name)} = (() => {{\n{body}\nreturn {{ {exported} }};\n}})();\n"


def _variable(path: str) -> str:
    return re.sub(r"\W", "_", path.rpartition("/")[2])
