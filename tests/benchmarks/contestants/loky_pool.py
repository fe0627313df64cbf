"""loky, the backend of joblib."""

from typing import Any

from loky import ProcessPoolExecutor

from .executor import Executor


class Loky(Executor):
    """Its executor spawns processes instead of forking."""

    package = "loky"
    make = ProcessPoolExecutor

    def joblib_backend(self) -> tuple[str, dict[str, Any]]:
        return "loky", {}  # with a pool of joblib's own


CONTESTANT = Loky
