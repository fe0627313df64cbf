"""The options of a magic's line, declared once for parsing, for the help at ``?`` and for completion."""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import inspect
import re
import shlex
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from wpc_magic.pool.engines.choice import ENGINES
from wpc_magic.pool.options import PoolOptions, did_you_mean

from .parsing import UsageMistake

__all__ = [
    "ENGINE_OPTIONS",
    "QUEUE_TIMEOUT",
    "TIMEOUT",
    "WORKER",
    "LineOptions",
    "Option",
    "Positional",
    "pool_options",
    "read_literal",
]

Completes = Literal["", "function", "dependency", "constant", "resource", "shared", "worker", "severity"]


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Parameters
    ----------
    flags : str
        Its spellings, separated by spaces: ``"-n --count"``.
    help : str
        One line.
    value : {"", "number", "text", "literal", "names"}
        Its value: none, a positive whole number, a word, a number, True, False, None or a word, or several
        words: the option may be repeated.
    choices : tuple of str
        The accepted words; empty: any.
    completes : str
        The kind of completions of its value.
    """

    flags: str
    help: str
    value: Literal["", "number", "text", "literal", "names"] = ""
    choices: tuple[str, ...] = ()
    completes: Completes = ""

    @property
    def names(self) -> list[str]:
        """Its spellings."""
        return self.flags.split()


TIMEOUT = Option("--timeout-ms", "End a call that runs for longer, in milliseconds.", "number")
QUEUE_TIMEOUT = Option("--queue-timeout-ms", "Give up a call that waits longer, in milliseconds.", "number")
WORKER = Option("--worker", "The worker, by its number.", "number", completes="worker")


@dataclasses.dataclass(frozen=True, slots=True)
class Positional:
    """The words that are not options.

    Parameters
    ----------
    name : str
        Their name in the help and in the parsed result.
    help : str
        One line.
    count : {"?", "*", "+", "code", "one"}
        How many there are; ``code``: the rest of the line, unparsed.
    number : bool
        Whether it is a positive whole number, or the name of a variable that holds one.
    completes : str
        The kind of their completions.
    python : bool
        Whether they are Python that is evaluated.
    hashes : bool
        Whether a word may begin with ``#``: then no comment does.
    """

    name: str
    help: str
    count: Literal["?", "*", "+", "code", "one"] = "?"
    number: bool = False
    completes: Completes = ""
    python: bool = False
    hashes: bool = False


def _number(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"takes a positive whole number, not {word!r}")
    return int(word)


def read_literal(word: str) -> Any:
    """Read a number, a boolean or None; leave anything else a word, which the pool's option validates."""
    try:
        return ast.literal_eval(word.capitalize() if word.lower() in ("true", "false", "none") else word)
    except (ValueError, SyntaxError):
        return word


_READERS: dict[str, Callable[[str], Any]] = {
    "number": _number,
    "text": str,
    "literal": read_literal,
    "names": str,
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageMistake(message.removeprefix("argument "))


class LineOptions:
    """Parses the line of one magic.

    Parameters
    ----------
    magic : str
        The magic with its percent signs: ``"%wpc_start"``.
    options : sequence of Option
        Its options.
    positional : Positional, optional
        Its other words.

    Examples
    --------
    >>> line = LineOptions("%wpc_scale", [], Positional("count", "how many", "one", number=True))
    >>> line.parse("3").count
    3
    """

    def __init__(self, magic: str, options: Sequence[Option], positional: Positional | None = None) -> None:
        self.magic = magic
        self.options = tuple(options)
        self.positional = positional
        self._parser = self._make_parser()

    def _make_parser(self) -> _Parser:
        parser = _Parser(prog=self.magic, add_help=False, allow_abbrev=False)
        for option in self.options:
            if not option.value:
                parser.add_argument(*option.names, action="store_true", help=option.help)
                continue
            # SUPPRESS: an option that is not on the line is not in the result, so that the pool's default
            # applies.
            parser.add_argument(
                *option.names,
                action="append" if option.value == "names" else "store",
                type=_READERS[option.value],
                choices=option.choices or None,
                default=argparse.SUPPRESS if option.value == "literal" else None,
                metavar=_metavar(option),
                help=option.help,
            )
        words = self.positional
        if words is not None and words.count != "code":  # code is split off before the words are parsed
            count = {"one": "?", "+": "*"}.get(words.count, words.count)
            parser.add_argument(words.name, nargs=count, help=words.help)
        return parser

    def parse(self, line: str, expand: Callable[[str], str] = str) -> argparse.Namespace:
        """Return the parsed line.

        Parameters
        ----------
        line : str
            What stands behind the magic.
        expand : callable
            Puts values in the place of ``{x}`` and ``$x``; not called for Python code.

        Raises
        ------
        UsageMistake
            If an option is unknown or its value is not accepted, or the number of words is wrong.
        """
        positional = self.positional
        if positional is None or not positional.hashes:
            line = _without_comment(line)
        result = argparse.Namespace()
        if positional is not None and positional.count == "code":
            words, code = self.split_code(line)
            words = [expand(word) for word in words]
            code = code if positional.python else expand(code)
            setattr(result, positional.name, code)
        else:
            words = _split_words(expand(line))
        result, extra = self._parser.parse_known_args(words, result)
        if extra:
            self._refuse(extra[0])
        if positional is not None and positional.number:
            self._read_number(result, positional.name, expand)
        # Checked after the options: a mistyped option is the likelier cause.
        if (
            positional is not None
            and positional.count in ("one", "+")
            and not getattr(result, positional.name)
        ):
            raise UsageMistake(f"no {positional.name} is given. {self.hint}")
        return result

    def _read_number(self, result: argparse.Namespace, name: str, expand: Callable[[str], str]) -> None:
        """Read a word that is a number, or the name of a variable that holds one."""
        word = getattr(result, name)
        if word is None:
            return
        value = word
        if word.isidentifier():
            with contextlib.suppress(UsageMistake):
                value = expand(f"{{{word}}}")
        try:
            setattr(result, name, _number(value if value.isdecimal() else word))
        except argparse.ArgumentTypeError as error:
            raise UsageMistake(f"{name}: {error}") from None

    def split_code(self, line: str) -> tuple[list[str], str]:
        """Split the options off both ends; quotes and spaces in the code between them are preserved.

        At the end those that cannot be Python: long ones, and short ones with a value behind them. ``x -d``
        there may be arithmetic, ``x -o name`` is not.
        """
        valued = {name for option in self.options if option.value for name in option.names}
        taken: list[str] = []
        rest = line.strip()
        while rest.startswith("-"):
            word, rest = _first_word(rest)
            taken.append(word)
            if word in valued and rest:
                word, rest = _first_word(rest)
                taken.append(word)
        while behind := self._behind(rest):
            words, rest = behind
            taken += words
        return taken, rest

    def _behind(self, code: str) -> tuple[list[str], str] | None:
        """Return the words of the last option behind code, and the code before it; None: there is none."""
        found = _LAST_OPTION.search(code)
        if found is None:
            return None
        name, value = found["name"], found["value"]
        option = next((each for each in self.options if name in each.names), None)
        if option is None or bool(option.value) != bool(value) or not (value or name.startswith("--")):
            return None
        return [name, value] if value else [name], code[: found.start()].strip()

    def _refuse(self, word: str) -> NoReturn:
        if not word.startswith("-"):
            raise UsageMistake(f"{word!r} is one word too many. {self.hint}")
        known = [name for option in self.options for name in option.names]
        raise UsageMistake(f"unknown option {word}.{did_you_mean(word, known)} {self.hint}")

    @property
    def hint(self) -> str:
        """The pointer to the help, for errors."""
        return f"{self.magic}? shows the options."

    def help(self) -> str:
        """Return the usage and the options as text for ``?``."""
        lines = [f"    {self.magic} {self._usage()}".rstrip()]
        rows = [(", ".join(option.names) + _placeholder(option), option.help) for option in self.options]
        if self.positional is not None:
            rows.insert(0, (self.positional.name.upper(), self.positional.help))
        for left, right in rows:
            lines += ["", f"    {left}", textwrap.indent(textwrap.fill(right, 88), " " * 8)]
        return "\n".join(lines)

    def _usage(self) -> str:
        is_short = len(self.options) <= 5
        parts = [f"[{o.names[0]}{_placeholder(o)}]" for o in self.options] if is_short else ["[options]"]
        if self.positional is not None:
            name = self.positional.name.upper()
            forms = {"?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} [{name} ...]"}
            parts.append(forms.get(self.positional.count, name))
        return " ".join(parts)


_LAST_OPTION = re.compile(r"(?:^|\s)(?P<name>--?[a-z][-a-z]*)(?:(?:\s+|=)(?P<value>[\w.{}$]+))?\s*$")
"""An option at the end of a line; its value has neither quotes nor brackets."""


def _without_comment(line: str) -> str:
    """Return a line without the comment at its end, as Python and shells know it: behind a space.

    Examples
    --------
    >>> _without_comment("-n 4  # don't take all")
    '-n 4'
    >>> _without_comment("COLOUR = '#fff'")
    "COLOUR = '#fff'"
    """
    quote = ""
    escaped = False
    for position, character in enumerate(line):
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "#" and (not position or line[position - 1].isspace()):
            return line[:position].rstrip()
    return line


def _split_words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        raise UsageMistake("a quote is not closed") from None


def _first_word(text: str) -> tuple[str, str]:
    word, _, rest = text.partition(" ")
    return word, rest.strip()


def _metavar(option: Option) -> str:
    return {"number": "N", "text": "NAME", "names": "NAME", "literal": "VALUE"}[option.value]


def _placeholder(option: Option) -> str:
    if option.choices:
        return " " + "|".join(option.choices)
    return f" {_metavar(option)}" if option.value else ""


_ENTRY = re.compile(r"^(?P<names>\w[\w, ]*?) : .*\n(?P<text>(?:    .*\n?)+)", re.MULTILINE)


ENGINE_OPTIONS = (
    Option("--engine", "Where the workers live: local, this machine; dask, a Dask cluster.", "text", ENGINES),
    Option("--address", "The address of the cluster's scheduler.", "text"),
    Option("--scheduler-file", "The file with that address which the scheduler has written.", "text"),
)


def without_missing(given: Mapping[str, Any], options: Iterable[Option]) -> dict[str, Any]:
    """Return what is given, without those of some options that are None.

    Examples
    --------
    >>> without_missing({"engine": None, "address": "a", "n": None}, ENGINE_OPTIONS)
    {'address': 'a', 'n': None}
    """
    names = {name.lstrip("-").replace("-", "_") for option in options for name in option.names}
    return {name: value for name, value in given.items() if value is not None or name not in names}


def pool_options() -> list[Option]:
    """Return every option of the pool as an option of a line; the help is that of `PoolOptions`.

    Examples
    --------
    >>> next(o for o in pool_options() if o.flags == "--event-history").help
    'How many events are kept for late listeners. Default: 1000.'
    """
    help_texts: dict[str, str] = {}
    for entry in _ENTRY.finditer(inspect.getdoc(PoolOptions) or ""):
        text = " ".join(entry["text"].split())
        help_texts.update({name.strip(): text for name in entry["names"].split(",")})
    fields = {field.name: field.default for field in dataclasses.fields(PoolOptions)}
    kinds = get_type_hints(PoolOptions)
    return [
        Option(
            "--" + name.replace("_", "-"),
            f"{help_texts.get(name, '')} Default: {default}.".strip(),
            "literal",
            get_args(kinds[name]) if get_origin(kinds[name]) is Literal else (),
        )
        for name, default in fields.items()
    ]
