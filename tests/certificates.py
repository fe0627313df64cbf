"""Real certificates for tests, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Authority", "Certificate"]

_USAGE = "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"  # Python 3.13 asks for it, and for the next
_EXTENSIONS = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Certificate(NamedTuple):
    """The paths of two files in PEM."""

    file: str
    key: str


class Authority:
    """An authority that issues certificates.

    Parameters
    ----------
    folder : Path
        Where its files go.
    name : str
        What it is called.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self.own = Certificate(str(folder / f"{name}.pem"), str(folder / f"{name}-key.pem"))
        _openssl(
            *("req", "-x509", *_KEY, "-days", "2", "-subj", f"/CN={name}", "-addext", _USAGE),
            *("-out", self.own.file, "-keyout", self.own.key),
        )

    def issue(self, name: str) -> Certificate:
        """Return a new certificate."""
        made = Certificate(str(self._folder / f"{name}.pem"), str(self._folder / f"{name}-key.pem"))
        extensions = self._folder / f"{name}-extensions"
        extensions.write_text(_EXTENSIONS)
        request = str(self._folder / f"{name}-request.pem")
        _openssl("req", "-new", *_KEY, "-subj", f"/CN={name}", "-out", request, "-keyout", made.key)
        _openssl(
            *("x509", "-req", "-in", request, "-CA", self.own.file, "-CAkey", self.own.key),
            *("-set_serial", "7", "-days", "2", "-out", made.file, "-extfile", str(extensions)),
        )
        return made

    def security(self, **options: Any) -> Any:
        """Return the `Security` of a cluster with a certificate for each role, which are in files."""
        from distributed import Security

        roles = {who: self.issue(who) for who in ("client", "scheduler", "worker")}
        pairs = {f"tls_{who}_cert": made.file for who, made in roles.items()}
        keys = {f"tls_{who}_key": made.key for who, made in roles.items()}
        return Security(tls_ca_file=self.own.file, require_encryption=True, **pairs, **keys, **options)


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
