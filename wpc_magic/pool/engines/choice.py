"""The engine that a user names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..checks import shown
from ..errors import OptionError
from ..options import did_you_mean
from .dask.engine import DaskEngine
from .engine import Engine
from .local import LocalEngine

__all__ = ["ENGINES", "SETTINGS", "make_engine"]

ENGINES = ("local", "dask")
SETTINGS = ("client", "address", "scheduler_file", "resources")
"""What an engine other than the local one has to know."""


def make_engine(name: object, settings: Mapping[str, Any]) -> Engine:
    """Return the engine of that name.

    Parameters
    ----------
    name : {"local", "dask"}
        Its name.
    settings : mapping
        Values for some of `SETTINGS`; those that are None are not given.

    Raises
    ------
    OptionError
        If there is no such engine, or it does not take these settings.

    Examples
    --------
    >>> make_engine("local", {"address": None}).name
    'local'
    >>> make_engine("dask", {"address": "tcp://10.0.0.1:8786"}).name
    'dask'
    """
    given = {key: value for key, value in settings.items() if value is not None}
    if type(name) is not str:
        raise OptionError(f"engine must be one of {', '.join(map(repr, ENGINES))}, not {shown(name)}")
    if name == "local":
        if given:
            raise OptionError(f'{next(iter(given))} is where a cluster is: give engine="dask" with it')
        return LocalEngine()
    if name == "dask":
        return DaskEngine(**given)
    raise OptionError(
        f"engine must be one of {', '.join(map(repr, ENGINES))}, not {shown(name)}."
        f"{did_you_mean(name, ENGINES)}"
    )
