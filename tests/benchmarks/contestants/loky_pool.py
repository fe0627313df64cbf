"""loky, which joblib stands on."""

from loky import ProcessPoolExecutor

from .executor import Executor


class Loky(Executor):
    """Its executor starts fresh processes instead of forks."""

    package = "loky"
    make = ProcessPoolExecutor


CONTESTANT = Loky
