"""The options of a magic's line, told once: they are parsed, explained at ``?`` and completed from here."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import re
import shlex
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn

from wpc_magic.pool.options import PoolOptions, did_you_mean

from .parsing import UsageMistake

__all__ = ["LineOptions", "Option", "Positional", "pool_options", "read_literal"]

Completes = Literal["", "function", "dependency", "constant", "worker", "severity"]


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Parameters
    ----------
    flags : str
        How it is written, separated by spaces: ``"-n --count"``.
    help : str
        One line.
    value : {"", "number", "text", "literal"}
        What follows it: nothing, a positive whole number, a word, or a number, True, False, None or a word.
    choices : tuple of str
        The words that it takes; empty: any.
    completes : str
        What its value is completed with.
    """

    flags: str
    help: str
    value: Literal["", "number", "text", "literal"] = ""
    choices: tuple[str, ...] = ()
    completes: Completes = ""

    @property
    def names(self) -> list[str]:
        """The ways to write it."""
        return self.flags.split()


@dataclasses.dataclass(frozen=True, slots=True)
class Positional:
    """The words that are no options.

    Parameters
    ----------
    name : str
        What they are called in the help and in the answer.
    help : str
        One line.
    count : {"?", "*", "+", "code", "one"}
        How many there are; ``code``: the rest of the line as it is.
    number : bool
        Whether each is a positive whole number.
    completes : str
        What they are completed with.
    """

    name: str
    help: str
    count: Literal["?", "*", "+", "code", "one"] = "?"
    number: bool = False
    completes: Completes = ""


def _number(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"takes a positive whole number, not {word!r}")
    return int(word)


def read_literal(word: str) -> Any:
    """Read a number, a truth value or None; leave the rest a word: the pool says what its option takes."""
    try:
        return ast.literal_eval(word.capitalize() if word.lower() in ("true", "false", "none") else word)
    except (ValueError, SyntaxError):
        return word


_READ: dict[str, Callable[[str], Any]] = {"number": _number, "text": str, "literal": read_literal}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageMistake(message.removeprefix("argument "))


class LineOptions:
    """Reads the line of one magic.

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
            # SUPPRESS: what is not on the line is not in the answer, so that the pool's own default holds.
            parser.add_argument(
                *option.names,
                type=_READ[option.value],
                choices=option.choices or None,
                default=argparse.SUPPRESS if option.value == "literal" else None,
                metavar=_metavar(option),
                help=option.help,
            )
        words = self.positional
        if words is not None and words.count != "code":  # code is split off before the words are parsed
            read = _number if words.number else str
            count = {"one": "?", "+": "*"}.get(words.count, words.count)
            parser.add_argument(words.name, nargs=count, type=read, help=words.help)
        return parser

    def parse(self, line: str) -> argparse.Namespace:
        """Return what the line says.

        Raises
        ------
        UsageMistake
            If an option is unknown or does not take that value, or a word is missing or too many.
        """
        given = argparse.Namespace()
        wanted = self.positional
        if wanted is not None and wanted.count == "code":
            words, code = self.split_code(line)
            setattr(given, wanted.name, code)
        else:
            words = _split_words(line)
        answer, extra = self._parser.parse_known_args(words, given)
        if extra:
            self._refuse(extra[0])
        # Asked after the options: a mistyped option is the nearer cause.
        if wanted is not None and wanted.count in ("one", "+") and not getattr(answer, wanted.name):
            raise UsageMistake(f"no {wanted.name} is given. {self.hint}")
        return answer

    def split_code(self, line: str) -> tuple[list[str], str]:
        """Take the options off both ends: quotes and spaces in the code between stay as they are.

        At the far end only long options without a value, since ``-d`` there may be arithmetic.
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
        front, _, last = rest.rpartition(" ")
        if last.startswith("--") and any(last in o.names and not o.value for o in self.options):
            return [*taken, last], front.strip()
        return taken, rest

    def _refuse(self, word: str) -> NoReturn:
        if not word.startswith("-"):
            raise UsageMistake(f"{word!r} is one word too many. {self.hint}")
        known = [name for option in self.options for name in option.names]
        raise UsageMistake(f"unknown option {word}.{did_you_mean(word, known)} {self.hint}")

    @property
    def hint(self) -> str:
        """Where the help is."""
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
        few = len(self.options) <= 5
        parts = [f"[{o.names[0]}{_placeholder(o)}]" for o in self.options] if few else ["[options]"]
        if self.positional is not None:
            name = self.positional.name.upper()
            forms = {"?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} [{name} ...]"}
            parts.append(forms.get(self.positional.count, name))
        return " ".join(parts)


def _split_words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        raise UsageMistake("a quote is not closed") from None


def _first_word(text: str) -> tuple[str, str]:
    word, _, rest = text.partition(" ")
    return word, rest.strip()


def _metavar(option: Option) -> str:
    return {"number": "N", "text": "NAME", "literal": "VALUE"}[option.value]


def _placeholder(option: Option) -> str:
    if option.choices:
        return " " + "|".join(option.choices)
    return f" {_metavar(option)}" if option.value else ""


_ENTRY = re.compile(r"^(?P<names>\w[\w, ]*?) : .*\n(?P<text>(?:    .*\n?)+)", re.MULTILINE)


def pool_options() -> list[Option]:
    """Return every option of the pool as an option of a line; the help is that of `PoolOptions`.

    Examples
    --------
    >>> next(o for o in pool_options() if o.flags == "--event-history").help
    'How many events are kept for late listeners. Default: 1000.'
    """
    told: dict[str, str] = {}
    for entry in _ENTRY.finditer(inspect.getdoc(PoolOptions) or ""):
        text = " ".join(entry["text"].split())
        told.update({name.strip(): text for name in entry["names"].split(",")})
    fields = {field.name: field.default for field in dataclasses.fields(PoolOptions)}
    return [
        Option("--" + name.replace("_", "-"), f"{told.get(name, '')} Default: {default}.".strip(), "literal")
        for name, default in fields.items()
    ]
