"""Completion of the magics' options and of registered names, in a terminal and in a kernel.

``wpc.call.<Tab>`` needs no support here: the pool's ``call`` lists its names by ``dir``.
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

__all__ = ["Completer", "Matches"]

_MAGIC = re.compile(r"^\s*(?:[\w, ]+=\s*)?(?P<percent>%{0,2})(?P<magic>wpc_\w+)\s(?P<line>.*)$")
_WORD = re.compile(r"[-\w]*$")
_ALIAS = re.compile(r"^[^\W\d]\w* +(?!as\b)")
_MODULE = re.compile(r"[-\w.]*$")

# Names that methods of the pool take as text: ``wpc.map("si``, ``wpc.call["si``.
_NAMED = re.compile(
    r"""(?P<pool>[^\W\d]\w*)\.(?:
        (?P<function>(?:map|starmap|broadcast|submit|undefine_worker_function)\(\s*(?:name\s*=\s*)?|call\[\s*)
        |(?P<dependency>undefine_worker_dependency\(\s*alias\s*=\s*)
        |(?P<constant>undefine_worker_constant\(\s*name\s*=\s*)
        |(?P<resource>undefine_worker_resource\(\s*name\s*=\s*)
        |(?P<shared>shared\(\s*|undefine_shared\(\s*name\s*=\s*)
    )["'](?P<fragment>\w*)$""",
    re.VERBOSE,
)


class Matches(NamedTuple):
    """The completions of a text.

    Parameters
    ----------
    fragment : str
        The end of the text, which each completion replaces.
    words : sequence of str
        The completions.
    """

    fragment: str = ""
    words: Sequence[str] = ()


class Completer:
    """Completes the lines of one shell's magics.

    Parameters
    ----------
    magics : WpcMagics
        The magics.

    Attributes
    ----------
    matcher : callable
        For ``ip.Completer.custom_matchers``: the older hook ``complete_command`` is not called in a kernel.
    """

    def __init__(self, magics: WpcMagics) -> None:
        self._magics = magics

        def matcher(context: CompletionContext) -> SimpleMatcherResult:
            try:
                found = self.find(context.text_until_cursor)
            except Exception:  # a pool that is being stopped must not break the Tab key
                found = Matches()
            completions = [SimpleCompletion(word, type="param") for word in found.words]
            return {
                "completions": completions,
                "matched_fragment": found.fragment,
                "suppress": bool(completions),  # no other completion is valid there
            }

        self.matcher = context_matcher(identifier="wpc_magic")(matcher)

    def find(self, text: str) -> Matches:
        """Return the completions of `text`, the line up to the cursor."""
        named = _NAMED.search(text)
        if named is not None and self._is_pool(named["pool"]):
            kinds: tuple[Completes, ...] = (*("function", "dependency", "constant", "resource", "shared"),)
            kind = next(each for each in kinds if named[each] is not None)
            return Matches(named["fragment"], _starting_with(named["fragment"], self._names(kind)))
        magic = _MAGIC.match(text)
        options = self._options(magic["percent"], magic["magic"]) if magic is not None else None
        if magic is None or options is None:
            return Matches()
        is_import = options.positional is not None and options.positional.completes == "dependency"
        word = (_MODULE if is_import else _WORD).search(magic["line"])
        fragment = word[0] if word is not None else ""
        before = magic["line"].removesuffix(fragment)
        return Matches(fragment, _starting_with(fragment, self._candidates(options, before, fragment)))

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
            modules: list[str] | None = module_completion(line)  # type: ignore[no-untyped-call]
            return modules or ()
        if code and options.split_code(before)[1]:
            return []  # inside the code: left to Python's own completion
        # A new constant is usually a variable of the notebook.
        variables = code and positional.completes in ("constant", "shared")
        names = self._variables() if variables else self._names(positional.completes)
        return names if fragment or removes else [*names, *unused]

    def _is_pool(self, name: str) -> bool:
        return self._magics.shell.user_ns.get(name) is self._magics.session.pool

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
            "resource": session.resource_names,
            "shared": session.shared_names,
        }
        return known[what]() if what in known else []


def _import_line(line: str) -> str:
    """Return a line of ``%wpc_dep`` as Python's, up to the cursor.

    Examples
    --------
    >>> _import_line("os.pa"), _import_line("plt matplotlib.py"), _import_line("from os import pa")
    ('import os.pa', 'import matplotlib.py', 'from os import pa')
    """
    line = " ".join(word for word in line.split(" ") if not word.startswith("-"))
    if line.startswith(("from ", "import ")):
        return line
    return f"import {_ALIAS.sub('', line)}"


def _starting_with(start: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(start)]
