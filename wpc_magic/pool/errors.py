"""Every exception of the pool.

::

    WpcError
    ├── OptionError (ValueError)            an option, a name or an argument of ours is wrong
    ├── DefinitionError                     a definition was refused; the one before it stays in force
    │   ├── DefinitionSyntaxError           its source does not parse
    │   ├── UnknownNameError                it uses names that the workers do not have
    │   └── InstallError                    a worker could not install it
    ├── PoolStateError (RuntimeError)       the pool is not in a state to do this
    │   ├── NotRunningError                 its workers are not running
    │   ├── StartError                      its workers could not be started
    │   └── NestedCallError                 asked from inside a worker
    ├── CallRefusedError                    the call was not accepted; it did not run
    │   ├── FunctionNotDefinedError (LookupError)
    │   ├── ArgumentsNotSerializableError (TypeError)
    │   ├── RequirementMissingError (LookupError)
    │   ├── NoWorkerError
    │   └── SaturatedError
    └── CallError                           the call was accepted and ended without a value
        ├── CallTimeoutError (TimeoutError)
        │   └── QueueTimeoutError           it waited too long; it did not run
        ├── WorkerLostError                 the worker that ran it is gone
        │   ├── WorkerCrashedError          by itself
        │   └── WorkerReplacedError         because the pool ended it
        │       └── MemoryLimitError        since the call took more memory than a worker may
        ├── PoolStoppedError                the pool was stopped
        └── RemoteError                     the function's own error, where the object itself cannot travel
    CallInterrupted (BaseException)         what a function sees when its call is ended

The first four kinds are the caller's to mend; of the last, `RemoteError` is the function's and the others
are the machine's. A function's own exception comes back as itself wherever it can be pickled.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it, without the import: each worker would pay for it
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "ArgumentsNotSerializableError",
    "CallError",
    "CallInterrupted",
    "CallRefusedError",
    "CallTimeoutError",
    "DefinitionError",
    "DefinitionSyntaxError",
    "FunctionNotDefinedError",
    "InstallError",
    "MemoryLimitError",
    "NestedCallError",
    "NoWorkerError",
    "NotRunningError",
    "OptionError",
    "PoolStateError",
    "PoolStoppedError",
    "QueueTimeoutError",
    "RemoteError",
    "RequirementMissingError",
    "SaturatedError",
    "StartError",
    "UnknownNameError",
    "WorkerCrashedError",
    "WorkerLostError",
    "WorkerReplacedError",
    "WpcError",
]


class WpcError(Exception):
    """Base of everything that the pool itself raises."""


class OptionError(WpcError, ValueError):
    """An option, a name or an argument of the pool's own methods is wrong."""


class DefinitionError(WpcError):
    """A definition was refused. Nothing changed: the definition before it stays in force everywhere."""


class DefinitionSyntaxError(DefinitionError):
    """The source of a definition does not parse.

    Attributes
    ----------
    line : int
        The line, counted from 1 in the source that was given; 0 where unknown.
    """

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.line)


class UnknownNameError(DefinitionError):
    """A function uses names that the workers do not have.

    Attributes
    ----------
    names : tuple of str
        The unknown names, in the order of their lines.
    """

    def __init__(self, message: str, names: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.names = names

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.names)


class InstallError(DefinitionError):
    """A worker could not install a definition; the text carries the worker's own traceback."""


class PoolStateError(WpcError, RuntimeError):
    """The pool is not in a state to do this."""


class NotRunningError(PoolStateError):
    """The workers are not running."""


class StartError(PoolStateError):
    """The workers could not be started."""


class NestedCallError(PoolStateError):
    """The pool was used from inside one of its workers, or from a fork of its process."""


class CallRefusedError(WpcError):
    """The call was not accepted, and did not run."""


class FunctionNotDefinedError(CallRefusedError, LookupError):
    """No function of that name is defined."""


class ArgumentsNotSerializableError(CallRefusedError, TypeError):
    """The arguments of the call cannot be pickled."""


class RequirementMissingError(CallRefusedError, LookupError):
    """The function needs a dependency, a constant or a function that is not defined."""


class NoWorkerError(CallRefusedError):
    """Every slot that could run the call is stopped or failed."""


class SaturatedError(CallRefusedError):
    """As many calls are pending as `max_pending_calls_per_worker` allows."""


class CallError(WpcError):
    """The call was accepted, and ended without a value or an error of its own."""


class CallTimeoutError(CallError, TimeoutError):
    """The call ran for longer than its time-out, and was stopped.

    Attributes
    ----------
    stack : str
        What its worker did at that moment, with source lines, or why that could not be seen; part of the
        error's text.
    """

    def __init__(self, message: str, stack: object = "") -> None:
        super().__init__(message)
        self._stack = stack

    @property
    def stack(self) -> str:
        """What its worker did at that moment."""
        return str(self._stack)  # only here are source lines looked up

    @stack.setter
    def stack(self, stack: object) -> None:
        self._stack = stack

    def __str__(self) -> str:
        return "\n\n".join(part for part in (self.args[0], self.stack) if part)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.stack)


class QueueTimeoutError(CallTimeoutError):
    """The call waited in the queue for longer than its `queue_timeout_ms`; it did not run."""


class WorkerLostError(CallError):
    """The worker that ran the call is gone."""


class WorkerCrashedError(WorkerLostError):
    """The worker that ran the call died.

    Attributes
    ----------
    worker_id : int or None
        The slot of the worker.
    exitcode : int or None
        Its exit code; minus the signal's number where a signal ended it.
    signal : str or None
        The name of that signal: ``"SIGSEGV"``.
    stack : str
        Where it crashed, with source lines; empty where it just ended. Part of the error's text.
    output : str
        The last lines that the call printed. Part of the error's text.
    memory_bytes : int or None
        The most memory that it is known to have had, in bytes.
    """

    def __init__(
        self,
        message: str,
        worker_id: int | None = None,
        exitcode: int | None = None,
        signal: str | None = None,
        stack: object = "",
        output: str = "",
        memory_bytes: int | None = None,
    ) -> None:
        super().__init__(message)
        self.worker_id = worker_id
        self.exitcode = exitcode
        self.signal = signal
        self._stack = stack
        self.output = output
        self.memory_bytes = memory_bytes

    @property
    def stack(self) -> str:
        """Where it crashed."""
        return str(self._stack)  # only here are source lines looked up

    def __str__(self) -> str:
        output = f"The last that it printed:\n{self.output.rstrip()}" if self.output.strip() else ""
        return "\n\n".join(part for part in (self.args[0], output, self.stack) if part)

    def __reduce__(self) -> tuple[Any, ...]:
        known = self.worker_id, self.exitcode, self.signal, self.stack, self.output, self.memory_bytes
        return type(self), (self.args[0], *known)


class WorkerReplacedError(WorkerLostError):
    """The pool ended the worker that ran the call, for a cause that was not this call."""


class MemoryLimitError(WorkerReplacedError):
    """The call took more memory than `hard_memory_per_worker_mb`; it is not tried again."""


class PoolStoppedError(CallError):
    """The pool was stopped before the call ended."""


class RemoteError(CallError):
    """An error of the function that cannot itself travel, told by name, message and stack.

    Attributes
    ----------
    name : str
        The class of the error, with its module.
    message : str
        What it says.
    stack : str
        The traceback in the worker, as text.
    """

    def __init__(self, name: str, message: str, stack: str = "") -> None:
        super().__init__(name, message, stack)
        self.name = name
        self.message = message
        self.stack = stack

    def __str__(self) -> str:
        head = f"{self.name}: {self.message}" if self.message else self.name
        return f"{head}\n\nIn the worker:\n{self.stack}" if self.stack else head


class CallInterrupted(BaseException):
    """Raised inside a function when its call is ended from outside, so that it can clean up.

    A `BaseException`, so that ``except Exception`` in the function does not swallow it.
    """
