"""The anonymous functions that this worker holds for later calls, by their keys."""

from __future__ import annotations

import sys

from wpc_magic.pool.errors import InitializerError, RequirementMissingError
from wpc_magic.pool.wire.codec import decode
from wpc_magic.pool.wire.protocol import IN_BODY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wpc_magic.pool.wire.protocol import HoldFunction

__all__ = ["AnonymousFunctions"]


class AnonymousFunctions:
    """What the pool has told this worker to hold; each is unpickled when its first call comes.

    Attributes
    ----------
    initializer : bytes
        The pickle of a function and its arguments, to be called before the first call; empty: there is none,
        or it has been.
    """

    def __init__(self) -> None:
        self.initializer = b""
        self._pickles: dict[int, bytes] = {}
        self._functions: dict[int, Any] = {}

    def hold(self, message: HoldFunction) -> None:
        """Hold a function, and drop those that the pool has named."""
        for key in message.dropped:
            self._pickles.pop(key, None)
            self._functions.pop(key, None)
        self._pickles[message.key] = message.payload
        if message.is_blank:
            from wpc_magic.pool.wire.blanks import BLANKS

            BLANKS.find = self._held  # of this thread, which unpickles all calls

    def find(self, key: int) -> Callable[..., Any] | None:
        """Return a function; None: it is in the body of the call.

        Raises
        ------
        RequirementMissingError
            If it is not held.
        InitializerError
            If this is the first call, and what is to be called before it has failed.
        BaseException
            Whatever unpickling it raises: it is tried again for the next call.
        """
        if self.initializer:
            self._initialize()
        if key == IN_BODY:
            return None
        function: Callable[..., Any] = self._held(key)
        return function

    def _held(self, key: int) -> Any:
        """Return what is held under a key: a function, or a blank."""
        function = self._functions.get(key)
        if function is None:
            payload = self._pickles.get(key)
            if payload is None:
                raise RequirementMissingError(f"revision {key} of the function is not here")
            function = self._functions[key] = decode(payload)
            del self._pickles[key]
        return function

    def _initialize(self) -> None:
        try:
            from wpc_magic.pool.worker.initialization import call_initializer

            call_initializer(*decode(self.initializer))
        except BaseException as error:
            if "logging" in sys.modules:  # as other executors do
                logger = sys.modules["logging"].getLogger("concurrent.futures")
                logger.critical("Exception in initializer:", exc_info=True)
            raise InitializerError(f"the initializer has failed: {type(error).__name__}: {error}") from error
        self.initializer = b""
