"""Starts the host process of a pool, from a Dask worker.

It runs there, on a machine that need not have the package: it uses nothing of it.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from typing import Any

__all__ = ["await_end", "certificates_of", "start_host"]

_BOOTSTRAP = """\
import sys
sys.path.insert(0, {folder!r})
import wpc_magic
del sys.path[0]
from wpc_magic.pool.engines.dask.host import main
main()
"""
_PATIENCE_S = 5.0


def certificates_of(worker: Any) -> dict[str, Any] | None:
    """Return what the host process needs for TLS, as texts; None: nobody here knows it.

    They are those of the Dask worker, which are files for some clusters, and texts for others.
    """
    if not worker.address.startswith("tls://"):
        return None
    try:
        told = worker.security.get_tls_config_for_role("worker")
        versions = [getattr(worker.security, f"tls_{which}_version", None) for which in ("min", "max")]
        if not (told.get("ca_file") and told.get("cert")):
            return None
        ca, certificate, key = (_text(told.get(name)) for name in ("ca_file", "cert", "key"))
    except (AttributeError, OSError):
        return None
    return {
        "ca": ca,
        "certificate": certificate,
        "key": key,
        "ciphers": told.get("ciphers") or "",
        "oldest": int(versions[0] or 0),
        "newest": int(versions[1] or 0),
    }


def _text(value: str | None) -> str:
    """Return the text of a certificate that is given as that, or as the path of a file."""
    if not value or "\n" in value:
        return value or ""
    with open(value, encoding="utf-8", errors="replace") as file:
        return file.read()


def start_host(
    package: str, bind: str, folder: str, silence_s: float, certificates: dict[str, Any] | None
) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """Start a host process; return it, and what the pool has to know.

    Raises
    ------
    OSError
        If it does not come up.
    """
    secret = secrets.token_bytes(32)
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _BOOTSTRAP.format(folder=package)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    # Not as an argument, which everybody on the machine can read.
    told = {
        "secret": secret.hex(),
        "bind": bind,
        "path": sys.path,
        "folder": folder,
        "silence_s": silence_s,
        "tls": certificates,
    }
    process.stdin.write(json.dumps(told).encode() + b"\n")
    process.stdin.flush()
    line = process.stdout.readline()
    process.stdout.close()
    if not line:
        process.stdin.close()
        raise OSError(f"the host process exited with code {process.wait()}, see the log of the Dask worker")
    answer = {"secret": secret, "bind": bind, "is_secure": certificates is not None, **json.loads(line)}
    return process, answer


def await_end(process: subprocess.Popen[bytes]) -> None:
    """Wait until a host process has exited, which it does soon."""
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
