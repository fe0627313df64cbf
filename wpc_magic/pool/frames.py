"""What the pool tells of itself as DataFrames of pandas, which is imported when somebody asks for one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["frame_of", "with_times"]


def frame_of(rows: Iterable[Any], kind: type) -> Any:
    """Return a DataFrame with a row for each of some instances, and a column for each field.

    Parameters
    ----------
    rows : iterable
        The instances.
    kind : type
        Their class, a dataclass or a named tuple, for the columns if there are none.

    Raises
    ------
    ImportError
        If pandas is not installed.

    Examples
    --------
    >>> Point = dataclasses.make_dataclass("Point", ["x", "y"])
    >>> frame_of([Point(1, 2), Point(3, 4)], Point)["y"].tolist()
    [2, 4]
    """
    try:
        import pandas as pd
    except ImportError:
        raise ImportError("to_pandas needs pandas. Type: pip install pandas", name="pandas") from None
    columns = [*getattr(kind, "_fields", ())] or [field.name for field in dataclasses.fields(kind)]
    return pd.DataFrame([[getattr(row, name) for name in columns] for row in rows], columns=columns)


def with_times(frame: Any, columns: Sequence[str]) -> Any:
    """Return a DataFrame whose columns of seconds of the epoch, or texts, are times in UTC."""
    import pandas as pd

    for name in columns:
        is_text = any(isinstance(each, str) for each in frame[name])
        frame[name] = pd.to_datetime(frame[name], unit=None if is_text else "s", utc=True)
    return frame
