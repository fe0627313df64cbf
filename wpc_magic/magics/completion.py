"""Completion of the magics' options and of registered names, in a terminal and in a kernel.

``wpc.call.<Tab>`` needs nothing from here: the pool's ``call`` lists its names by ``dir``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher
from IPython.core.completerlib import module_completion

from .options import Completes, LineOptions

if TYPE_CHECKING:
    from .magics import WpcMagics

__all__ = ["Completer", "Found"]

_MAGIC = re.compile(r"^\s*(?:[\w, ]+=\s*)?(?P<percent>%{0,2})(?P<magic>wpc_\w+)\s(?P<line>.*)$")
_WORD = re.compile(r"[-\w]*$")


class Found(NamedTuple):
    """What may stand in the place of the text's end.

    Parameters
    ----------
    fragment : str
        The end of the text that each of the words replaces.
    words : sequence of str
        The words.
    """

    fragment: str = ""
    words: Sequence[str] = ()


class Completer:
    """Knows the words of one shell's magics.

    Parameters
    ----------
    magics : WpcMagics
        The magics.

    Attributes
    ----------
    matcher : callable
        What goes into ``ip.Completer.custom_matchers``: the old hook ``complete_command`` is not asked in a
        kernel.
    """

    def __init__(self, magics: WpcMagics) -> None:
        self._magics = magics

        def matcher(context: CompletionContext) -> SimpleMatcherResult:
            try:
                found = self.find(context.text_until_cursor)
            except Exception:  # a pool that is being stopped at this moment must not break the Tab key
                found = Found()
            completions = [SimpleCompletion(word, type="param") for word in found.words]
            return {
                "completions": completions,
                "matched_fragment": found.fragment,
                "suppress": bool(completions),  # nothing else can stand there
            }

        self.matcher = context_matcher(identifier="wpc_magic")(matcher)

    def find(self, text: str) -> Found:
        """Return what may stand at the end of `text`, a line as far as the cursor."""
        magic = _MAGIC.match(text)
        options = self._options(magic["percent"], magic["magic"]) if magic is not None else None
        if magic is None or options is None:
            return Found()
        word = _WORD.search(magic["line"])
        fragment = word[0] if word is not None else ""
        before = magic["line"].removesuffix(fragment)
        return Found(fragment, _beginning(fragment, self._candidates(options, before, fragment)))

    def _options(self, percent: str, magic: str) -> LineOptions | None:
        tables: dict[str, dict[str, object]] = self._magics.magics
        run = tables["cell" if percent == "%%" else "line"].get(magic)
        options = getattr(run, "line_options", None)
        return options if isinstance(options, LineOptions) else None

    def _candidates(self, options: LineOptions, before: str, fragment: str) -> Iterable[str]:
        words = before.split()
        for option in options.options:
            if words and words[-1] in option.names and option.value:
                return option.choices or self._names(option.completes)
        unused = [o.names[-1] for o in options.options if not set(o.names) & set(words)]
        if fragment.startswith("-"):
            return unused
        positional = options.positional
        if positional is None:
            return unused
        removes = bool({"-d", "--delete"} & set(words))
        code = positional.count == "code" and not removes
        if code and positional.completes == "dependency":
            line = _import_line(before + fragment)
            modules: list[str] = module_completion(line)  # type: ignore[no-untyped-call]
            return modules
        if code and options.split_code(before)[1]:
            return []  # inside the code: Python's own completion knows more
        # What becomes a constant is a variable so far.
        variables = code and positional.completes == "constant"
        names = self._variables() if variables else self._names(positional.completes)
        return names if fragment or removes else [*names, *unused]

    def _variables(self) -> list[str]:
        """Return the notebook's variables that hold values."""
        shell = self._magics.shell
        return [
            name
            for name, value in shell.user_ns.items()
            if not (name.startswith("_") or name in shell.user_ns_hidden or callable(value))
            and not isinstance(value, ModuleType)
        ]

    def _names(self, what: Completes) -> list[str]:
        session = self._magics.session
        if what == "worker":
            return [str(worker_id) for worker_id in session.worker_ids()]
        known = {
            "function": session.function_names,
            "dependency": session.dependency_names,
            "constant": session.constant_names,
        }
        return known[what]() if what in known else []


def _import_line(line: str) -> str:
    line = " ".join(word for word in line.split(" ") if not word.startswith("-"))
    return line if line.startswith(("from ", "import ")) else f"import {line}"


def _beginning(start: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(start)]
