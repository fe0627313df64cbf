"""Settings that are validated as the pool does; invalid ones in a configuration are reported and ignored."""

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

__all__ = ["Name", "PoolOption", "ProgressAfter", "Workers", "drop_bad_settings"]

_HELP = {option.names[0][2:].replace("-", "_"): option.help for option in pool_options()}
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(PoolOptions)}


class _Validated(TraitType[Any, Any]):
    """A setting whose validation error is one line."""

    def validate(self, obj: Any, value: Any) -> Any:
        """Return the value.

        Raises
        ------
        TraitError
            If the setting does not accept it.
        """
        try:
            self.check(value)
        except OptionError as error:
            raise TraitError(str(error)) from None
        return value

    def check(self, value: Any) -> None:
        """Raise `OptionError` if the setting does not accept the value."""
        raise NotImplementedError

    def from_string(self, s: str) -> Any:
        """Parse a value from a command line."""
        return read_literal(s)


class Name(_Validated):
    """A Python name."""

    def check(self, value: Any) -> None:
        """Check by the pool's rule for names."""
        check_name(value, self.name or "name")


class Workers(_Validated):
    """A number of workers, or None."""

    def check(self, value: Any) -> None:
        """Check that it is positive."""
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise OptionError(f"{self.name} takes a positive whole number or None, not {value!r}")


class ProgressAfter(_Validated):
    """When a wait is shown: ``"auto"``, False, or after how many seconds."""

    def check(self, value: Any) -> None:
        """Check that it is one of these."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (value is False or value == "auto" or (is_number and 0 < value < 1e6)):
            raise OptionError(
                f"{self.name} takes 'auto', False or a number of seconds above 0, not {value!r}"
            )


class PoolOption(_Validated):
    """An option of the pool.

    Parameters
    ----------
    option : str
        Its name, which is also that of the setting.
    """

    def __init__(self, option: str) -> None:
        super().__init__(_DEFAULTS[option], help=_HELP[option], allow_none=True)
        self.tag(config=True, pool_option=True)

    def check(self, value: Any) -> None:
        """Check as the pool does."""
        PoolOptions(**{str(self.name): value})


def drop_bad_settings(cls: type[Configurable], config: Config, report: Callable[[str], object]) -> None:
    """Remove settings that `cls` rejects from a configuration, and report each in one line.

    They would make every instance raise, so that one mistake in a configuration file would disable all
    magics.
    """
    section = config.get(cls.__name__, {})
    for name in list(section):
        try:
            cls(config=type(config)({cls.__name__: {name: section[name]}}))
        except TraitError as error:
            del section[name]
            report(f"wpc_magic: {cls.__name__}.{name} in the configuration is ignored: {error}")
