"""What a worker's process runs with, for whoever looks into it; the control thread takes it."""

from __future__ import annotations

import os
import sys

from wpc_magic.pool.wire.protocol import Described
from wpc_magic.pool.worker.secrets import has_secrets, without_secrets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["chosen_variables", "describe"]

_MODULE = type(sys)
_MOST_PACKAGES = 200
_LONGEST = 200  # characters of a value
# Of what computes, and of where it runs: the rest is nobody's business.
# fmt: off
_NAMES = {"LANG", "TZ", "HOME", "PATH", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LD_PRELOAD"}
_BEGINNINGS = (
    "OMP_", "OPENBLAS_", "MKL_", "BLIS_", "NUMEXPR_", "VECLIB_", "NUMBA_", "POLARS_", "DUCKDB_", "KMP_",
    "GOMP_", "XLA_", "JAX_", "TORCH_", "TF_NUM_", "TF_FORCE_", "CUDA_", "NVIDIA_", "ROCR_", "HIP_", "MALLOC_",
    "PYTHON", "CONDA_", "SLURM_", "DASK_", "MPL", "LC_",
)
_SECRET = (
    "KEY", "TOKEN", "SECRET", "PASS", "PWD", "CREDENTIAL", "AUTH", "COOKIE", "SIGNATURE", "URL", "URI",
    "PROXY",
)
# fmt: on


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
        (name, _without_credentials(value)[:_LONGEST])
        for name, value in sorted(environment.items())
        if (name in _NAMES or name.startswith(_BEGINNINGS))
        and not any(word in name.upper() for word in _SECRET)
    )


def _without_credentials(value: str) -> str:
    """Return a value without what a pool was told to hide, and without user and password of a URL."""
    if has_secrets():
        value = without_secrets(value)
    scheme, is_url, rest = value.partition("://")
    user, is_named, host = rest.partition("@")
    return (
        f"{scheme}://***@{_without_credentials(host)}" if is_url and is_named and "/" not in user else value
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
