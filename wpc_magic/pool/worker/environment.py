"""What a worker's process runs with, for whoever looks into it; the control thread takes it."""

from __future__ import annotations

import os
import re
import sys

from wpc_magic.pool.wire.protocol import Described
from wpc_magic.pool.worker.secrets import without_secrets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["chosen_variables", "describe"]

_MODULE = type(sys)
_MOST_PACKAGES = 200
_LONGEST = 200  # characters of a value
# Of what computes, and of where it runs: the rest is nobody's business.
_CHOSEN = re.compile(
    r"(?:OMP|OPENBLAS|MKL|BLIS|NUMEXPR|VECLIB|NUMBA|POLARS|DUCKDB|KMP|GOMP|XLA|JAX|TORCH|TF_NUM|TF_FORCE|CUDA|NVIDIA|ROCR|HIP"
    r"|MALLOC|PYTHON|CONDA|SLURM|DASK|MPL)\w*"
    r"|LANG|LC_\w+|TZ|HOME|PATH|TMPDIR|VIRTUAL_ENV|LD_LIBRARY_PATH|LD_PRELOAD"
)
_SECRET = re.compile(
    r"KEY|TOKEN|SECRET|PASS|PWD|CREDENTIAL|AUTH|COOKIE|SIGNATURE|URL|URI|PROXY", re.IGNORECASE
)


def describe(token: int) -> Described:
    """Return what this process runs with.

    Parameters
    ----------
    token : int
        That of the request.
    """
    try:
        folder = os.getcwd()
    except OSError:
        folder = ""  # it is gone
    python = f"{sys.version.split()[0]}, {sys.executable}"
    return Described(token, python, folder, chosen_variables(os.environ), _packages())


def chosen_variables(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the environment variables that tell how code runs, without those that may be secret.

    Examples
    --------
    >>> chosen_variables({"OMP_NUM_THREADS": "2", "DASK_TOKEN": "x", "MY_PASSWORD": "y", "TZ": "a://me:b@c"})
    (('OMP_NUM_THREADS', '2'), ('TZ', 'a://***@c'))
    """
    return tuple(
        (name, re.sub(r"(?<=://)[^/@\s]*(?=@)", "***", without_secrets(value))[:_LONGEST])
        for name, value in sorted(environment.items())
        if _CHOSEN.fullmatch(name) and not _SECRET.search(name)
    )


def _packages() -> tuple[tuple[str, str], ...]:
    """Return the packages that are loaded, and their versions, without running code of theirs."""
    found = []
    for name, module in sys.modules.copy().items():  # the main thread may import
        if type(name) is not str or "." in name or name in sys.stdlib_module_names:
            continue
        if issubclass(type(module), _MODULE):
            version = _MODULE.__getattribute__(module, "__dict__").get("__version__")
            if type(version) is str:
                found.append((name, version[:_LONGEST]))
    return tuple(sorted(found)[:_MOST_PACKAGES])
