"""Tasks of joblib, in a module that workers import quickly."""

from __future__ import annotations

import math
import os
import signal
import warnings
from typing import Any

import numpy as np


def pid_of(_: int) -> int:
    return os.getpid()


def most_at_once(folder: str, n: int) -> int:
    here = f"{folder}/{n}"
    with open(here, "w"):
        count = len(os.listdir(folder))
    os.unlink(here)
    return count


def nested(n: int) -> list[float]:
    from joblib import Parallel, delayed

    return Parallel(n_jobs=2)(delayed(math.sqrt)(k * k) for k in range(n))  # type: ignore[no-any-return]


def total(array: Any) -> float:
    return float(array.sum())


def kind_and_total(array: Any) -> tuple[str, float]:
    return type(array).__name__, float(array.sum())


def threads_of_blas(_: int) -> int:
    import threadpoolctl

    np.ones((4, 4)) @ np.ones((4, 4))
    return max((each["num_threads"] for each in threadpoolctl.threadpool_info()), default=1)


def limits_of(name: str) -> str | None:
    return os.environ.get(name)


def kinds_within(values: Any) -> list[str]:
    values = values.values() if isinstance(values, dict) else values
    return [type(each).__name__ for each in values]


def by_name(n: int) -> list[int]:
    from joblib import Parallel, delayed

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that there are no workers of workers
        return Parallel(n_jobs=2, backend="wpc")(delayed(abs)(-k) for k in range(n))  # type: ignore[no-any-return]


SET: dict[str, Any] = {}


def set_up(name: str, value: Any) -> None:
    SET.update({name: value, "times": SET.get("times", 0) + 1})


def fail_to_set_up() -> None:
    raise RuntimeError("it cannot be set up")


def what_is_set(name: str) -> tuple[int, Any, int]:
    return os.getpid(), SET.get(name), SET.get("times", 0)


def die_or(n: int, last: int) -> Any:
    if n == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return what_is_set("name")
