"""The implementation of ``%wpc_upload``, without IPython."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .messages import Message
from .parsing import UsageMistake
from .tables import size_text, upload_table

if TYPE_CHECKING:
    from wpc_magic.dashboard.table import Table
    from wpc_magic.pool import WorkerProcedureCall
    from wpc_magic.pool.core.snapshot import UploadInfo

__all__ = ["upload_command"]


def upload_command(pool: WorkerProcedureCall, words: Sequence[str], delete: bool) -> Message | Table:
    """Upload modules, remove or list them.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    words : sequence of str
        Files, folders or names of modules; with `delete`, the names of uploads.
    delete : bool
        Whether these are removed.

    Raises
    ------
    UsageMistake
        If `delete` has no names.
    """
    if delete:
        if not words:
            raise UsageMistake("no name is given. Type for example: %wpc_upload -d helpers")
        for word in words:
            pool.remove_upload(name=word)
        return Message(f"{', '.join(words)} removed from what is uploaded")
    if not words:
        return upload_table(pool.get_uploads())
    return Message("\n".join(_told(pool, pool.upload_module(word)) for word in words))


def _told(pool: WorkerProcedureCall, info: UploadInfo) -> str:
    brings = f" with {', '.join(info.brings)}" if info.brings else ""
    if pool.needs_uploads:
        size = size_text(info.nbytes)
        return f"{info.name}{brings} ({size}) goes to each machine, once · {info.digest[:7]}"
    folder = os.path.dirname(info.path)
    return f"{info.name} is importable already: workers of this machine find it in {folder}"
