"""Log records of a worker, for the loggers of the same names in the parent process."""

from __future__ import annotations

import logging
import sys

from wpc_magic.pool.wire.protocol import Logged
from wpc_magic.pool.worker.cells import show_sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wpc_magic.pool.wire.protocol import LogLevels
    from wpc_magic.pool.worker.output import Output

__all__ = ["LogForwarder"]

_PLAIN = (bool, float, int, str, type(None))
_LEFT_OUT = ("args", "exc_info", "message", "msg")


class LogForwarder(logging.Handler):
    """Sends records to the pool, unless a handler of the user's own has written them to the console.

    It is none of the root logger's handlers: ``logging.basicConfig`` would do nothing then.

    Parameters
    ----------
    output : Output
        Takes the records.
    """

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output
        self._applied: dict[str, int] = {}
        call_handlers = logging.Logger.callHandlers

        def call_and_forward(logger: logging.Logger, record: logging.LogRecord) -> None:
            call_handlers(logger, record)
            if not _writes_to_console(logger):
                self.handle(record)

        logging.Logger.callHandlers = call_and_forward  # type: ignore[assignment, method-assign]
        logging.lastResort = logging.NullHandler()  # the parent process has its own

    def apply(self, levels: LogLevels) -> None:
        """Set the levels that the parent process has set; others, which a function has set, stay."""
        for name, level in {**dict.fromkeys(self._applied, logging.NOTSET), **levels.levels}.items():
            if level != self._applied.get(name):
                logging.getLogger(name or None).setLevel(level)
        self._applied = dict(levels.levels)
        if levels.disabled != logging.root.manager.disable:
            logging.disable(levels.disabled)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        try:
            text = record.getMessage()
            plain: dict[str, Any] = {
                name: value
                for name, value in vars(record).items()
                if type(value) in _PLAIN and name not in _LEFT_OUT
            }
            if record.exc_info and not record.exc_text:
                show_sources()
                plain["exc_text"] = logging.Formatter().formatException(record.exc_info)
            self._output.post(Logged(self._output.current_call(), {**plain, "msg": text}))
        except Exception:
            self.handleError(record)


def _writes_to_console(logger: logging.Logger | None) -> bool:
    while logger is not None:
        if any(getattr(handler, "stream", None) in (sys.stdout, sys.stderr) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False
