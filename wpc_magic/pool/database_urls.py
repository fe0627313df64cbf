"""The URL and the options of a database: what of them is secret, and what stands for that elsewhere."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from .checks import shown
from .errors import DefinitionError, OptionError
from .wire.hidden import Hidden

__all__ = ["Database", "read_database"]

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_SECRET = re.compile(r"pass|pwd|secret|token|api_?key|credential", re.IGNORECASE)
_MASK = "***"


@dataclasses.dataclass(frozen=True, slots=True)
class Database:
    """A database as it was defined, without anything secret.

    Parameters
    ----------
    hidden : Hidden
        The URL, the options, and the secrets in them, for workers.
    shown : str
        The URL with its secrets masked.
    template : str
        The URL with the names of environment variables in the place of its secrets.
    options : mapping
        The options of ``create_engine``, likewise.
    variables : tuple of str
        Those of these variables that were not in the definition.
    is_async : bool
        Whether its engine is asynchronous.
    """

    hidden: Hidden
    shown: str
    template: str
    options: Mapping[str, Any]
    variables: tuple[str, ...]
    is_async: bool

    @property
    def made_by(self) -> str:
        """What makes its engine, as text."""
        return f"create_{'async_' if self.is_async else ''}engine({self.shown!r})"


def read_database(name: str, url: Hidden, options: Hidden) -> Database:
    """Read what `define_database` is given.

    Raises
    ------
    OptionError
        If the URL cannot be read, or an environment variable is not set.
    DefinitionError
        If SQLAlchemy, or the driver, is not installed.
    """
    try:
        from sqlalchemy.engine import make_url
    except ModuleNotFoundError:
        raise DefinitionError(
            "define_database needs SQLAlchemy. Install it: pip install 'wpc_magic[database]'"
        ) from None
    given = _with_variables(url.reveal())
    try:
        address = make_url(given.text)
    except Exception:  # its text may have the password in it
        raise OptionError(
            f"the URL of {name} cannot be read. It is for example: sqlite:///data.db, "
            f"postgresql+psycopg://user:${{PASSWORD}}@host/name"
        ) from None
    try:
        dialect = address.get_dialect()
        dialect.import_dbapi()
    except Exception as error:
        raise DefinitionError(
            f"{name} needs a driver for {address.drivername} that is not here: {error}"
        ) from None
    hiding = _Hiding(name, given.variables)
    template = shown_url = given.template
    whole = _VARIABLE.fullmatch(given.template)  # all of it is secret
    if whole:
        hiding.secrets.add(given.text)
        shown_url = _MASK
    elif given.variables:
        shown_url = _VARIABLE.sub(_MASK, shown_url)
    if address.password:
        hiding.secrets.add(str(address.password))
    secret_query = {key for key in address.query if _SECRET.search(key)}
    for key in secret_query:
        value = address.query[key]
        hiding.secrets.update((value,) if isinstance(value, str) else value)
    if not given.variables and (address.password or secret_query):
        template, shown_url = hiding.without(address, secret_query)
    real, public = hiding.options(options.reveal())
    return Database(
        Hidden((given.text, real, sorted(hiding.secrets))),
        shown_url,
        template,
        public,
        tuple(hiding.added),
        bool(getattr(dialect, "is_async", False)),
    )


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class _Given:
    """A text, with environment variables and with their values."""

    template: str
    text: str
    variables: Mapping[str, str]


def _with_variables(template: object) -> _Given:
    if not isinstance(template, str):
        # SQLAlchemy's own URL; its text has the password only if that is asked for.
        render = getattr(template, "render_as_string", None)
        if render is None:
            raise OptionError(f"url takes a text, not {shown(template)}")
        template = str(render(hide_password=False))
    values = {}
    for variable in _VARIABLE.findall(template):
        if variable not in os.environ:
            raise OptionError(f"the environment variable {variable} is not set")
        values[variable] = os.environ[variable]
    if _VARIABLE.fullmatch(template):
        return _Given(template, next(iter(values.values())), values)
    text = _VARIABLE.sub(lambda found: quote(values[found[1]], safe=""), template)
    return _Given(template, text, values)


class _Hiding:
    """Collects what is secret, and gives it names."""

    def __init__(self, name: str, variables: Mapping[str, str]) -> None:
        self._name = name
        self.secrets = {value for value in variables.values() if value}
        self.added: list[str] = []

    def _variable(self, word: str) -> str:
        variable = f"{self._name}_{word}".upper()
        self.added.append(variable)
        return f"${{{variable}}}"

    def without(self, address: Any, secret_query: set[str]) -> tuple[str, str]:
        """Return a URL with variables, and one with masks, in the place of its secrets."""
        marks: dict[str, tuple[str, str]] = {}

        def mark(word: str) -> str:
            key = f"wpcmark{len(marks)}x"
            marks[key] = (self._variable(word), _MASK)
            return key

        if address.password:
            address = address.set(password=mark("password"))
        query = {key: mark(key) if key in secret_query else value for key, value in address.query.items()}
        plain = address.set(query=query).render_as_string(hide_password=False)
        template = masked = plain
        for key, (variable, mask) in marks.items():
            template, masked = template.replace(key, variable), masked.replace(key, mask)
        return template, masked

    def options(self, given: Mapping[str, Any], path: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
        """Return options with the values of variables, and with variables in the place of secrets."""
        real: dict[str, Any] = {}
        public: dict[str, Any] = {}
        for key, value in given.items():
            word = f"{path}{key}"
            if isinstance(value, dict):
                real[key], public[key] = self.options(value, f"{word}_")
            elif isinstance(value, str):
                found = value
                if _VARIABLE.search(value):
                    found = _VARIABLE.sub(lambda each: _value_of(each[1]), value)
                    self.secrets.update(_value_of(each) for each in _VARIABLE.findall(value))
                elif _SECRET.search(str(key)):
                    self.secrets.add(value)
                    value = self._variable(re.sub(r"\W", "_", word))
                real[key], public[key] = found, value
            else:
                real[key] = public[key] = value
        return real, public


def _value_of(variable: str) -> str:
    if variable not in os.environ:
        raise OptionError(f"the environment variable {variable} is not set")
    return os.environ[variable]
