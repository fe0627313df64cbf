"""The implementation of ``%wpc_events --log``, without IPython."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .messages import Message

if TYPE_CHECKING:
    from wpc_magic.pool import WorkerProcedureCall

__all__ = ["event_log_command"]


def event_log_command(pool: WorkerProcedureCall, file: str | None) -> Message:
    """Write the events of a pool to a file, and no longer to another one.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    file : str or None
        The file; None: no file any more.

    Raises
    ------
    OptionError
        If it cannot be written to.
    """
    before = pool.event_logs
    if file is None:
        for number in before.values():
            pool.off_worker_event(listener_id=number)
        return Message(
            f"events are no longer written to {', '.join(before)}" if before else "there was no log"
        )
    path = os.path.abspath(os.path.expanduser(file))
    pool.log_events(path)
    for other, number in before.items():
        if other != path:
            pool.off_worker_event(listener_id=number)
    return Message(f"events are written to {file} from now on; %wpc_events --no-log ends it")
