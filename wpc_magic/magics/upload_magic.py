"""The magic of local modules that other machines need."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from IPython.core.magic import magics_class

from .base import PoolMagics
from .boundary import magic
from .options import Option, Positional
from .uploads import upload_command

if TYPE_CHECKING:
    from wpc_magic.dashboard.table import Table

    from .messages import Message

__all__ = ["UploadMagics"]


@magics_class
class UploadMagics(PoolMagics):
    """The magic for uploads."""

    @magic(
        Option("-d --delete", "Remove these modules from what is uploaded."),
        words=Positional("module", "Files, folders of packages, or names of modules.", "*"),
    )
    def wpc_upload(self, line: Namespace) -> Message | Table:
        """Bring local modules to the machines of a cluster, with the local modules that they import.

        Each machine gets them once, before the first call there. When they have changed, upload them again.
        Without a word they are listed. Examples::

            %wpc_upload helpers.py
            %wpc_upload mypackage
            %wpc_upload -d helpers
        """
        return upload_command(self.session.pool, line.module, line.delete)
