"""Settings that check themselves as the pool does; bad ones in a configuration are told and left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from traitlets import TraitError, TraitType

from wpc_magic.pool.errors import OptionError
from wpc_magic.pool.options import PoolOptions, check_name

from .options import pool_options, read_literal

if TYPE_CHECKING:
    from traitlets.config import Config, Configurable

__all__ = ["Name", "PoolOption", "Workers", "drop_bad_settings"]

_HELP = {option.names[0][2:].replace("-", "_"): option.help for option in pool_options()}
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(PoolOptions)}


class _Checked(TraitType[Any, Any]):
    """A setting whose check raises one line."""

    def validate(self, obj: Any, value: Any) -> Any:
        """Return the value.

        Raises
        ------
        TraitError
            If the setting does not take it.
        """
        try:
            self.check(value)
        except OptionError as error:
            raise TraitError(str(error)) from None
        return value

    def check(self, value: Any) -> None:
        """Raise `OptionError` if the setting does not take the value."""
        raise NotImplementedError

    def from_string(self, s: str) -> Any:
        """Read a value from a command line."""
        return read_literal(s)


class Name(_Checked):
    """A Python name."""

    def check(self, value: Any) -> None:
        """Check by the pool's rule for names."""
        check_name(value, self.name or "name")


class Workers(_Checked):
    """A number of workers, or None."""

    def check(self, value: Any) -> None:
        """Check that it is positive."""
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise OptionError(f"{self.name} takes a positive whole number or None, not {value!r}")


class PoolOption(_Checked):
    """An option of the pool.

    Parameters
    ----------
    option : str
        Its name, which is also the setting's.
    """

    def __init__(self, option: str) -> None:
        super().__init__(_DEFAULTS[option], help=_HELP[option], allow_none=True)
        self.tag(config=True, pool_option=True)

    def check(self, value: Any) -> None:
        """Check as the pool does."""
        PoolOptions(**{str(self.name): value})


def drop_bad_settings(cls: type[Configurable], config: Config, say: Callable[[str], object]) -> None:
    """Take settings that `cls` refuses out of a configuration, and say one line for each.

    They would make every instance raise, so that one slip in a configuration file took all magics away.
    """
    section = config.get(cls.__name__, {})
    for name in list(section):
        try:
            cls(config=type(config)({cls.__name__: {name: section[name]}}))
        except TraitError as error:
            del section[name]
            say(f"wpc_magic: {cls.__name__}.{name} in the configuration is ignored: {error}")
