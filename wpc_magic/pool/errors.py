"""Every exception of the pool.

::

    WpcError
    ├── OptionError (ValueError)            an option, a name or an argument is invalid
    ├── DefinitionError                     a definition was refused; the previous one stays in force
    │   ├── DefinitionSyntaxError           its source does not parse
    │   ├── UnknownNameError                it uses names that the workers do not have
    │   ├── DoctestError                    its doctests fail
    │   └── InstallError                    a worker could not install it
    ├── PoolStateError (RuntimeError)       the pool is not in the state that this needs
    │   ├── NotRunningError                 its workers are not running
    │   ├── StartError                      its workers could not be started
    │   └── NestedCallError                 used from inside a worker, or from a fork
    ├── CallRefusedError                    the call was not accepted; it did not run
    │   ├── FunctionNotDefinedError (LookupError)
    │   ├── ArgumentsNotSerializableError (TypeError)
    │   ├── RequirementMissingError (LookupError)
    │   ├── NoWorkerError
    │   └── SaturatedError
    ├── SharedLockError (RuntimeError)      a lock of a shared object cannot be waited for, or released
    └── CallError                           the call was accepted and ended without a value
        ├── CallTimeoutError (TimeoutError)
        │   └── QueueTimeoutError           it waited too long; it did not run
        ├── ResourceTimeoutError (TimeoutError)  a resource that it needs took too long; it did not run
        ├── WorkerLostError                 the worker that ran it has exited
        │   ├── WorkerCrashedError          by itself
        │   └── WorkerReplacedError         killed by the pool
        │       └── MemoryLimitError        the call used more memory than a worker may
        ├── PoolStoppedError                the pool was stopped
        └── RemoteError                     the function's own error, if it cannot be pickled itself
    CallInterrupted (BaseException)         raised in a function whose call is cancelled

The first four kinds are for the caller to fix; of the last, `RemoteError` comes from the function, and
the others from the machine. A function's own exception is raised as itself if it can be pickled.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in `typing`, without the import, which each worker would pay for
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
    "DoctestError",
    "FunctionNotDefinedError",
    "InitializerError",
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
    "ResourceTimeoutError",
    "SaturatedError",
    "SharedLockError",
    "StartError",
    "UnknownNameError",
    "WorkerCrashedError",
    "WorkerLostError",
    "WorkerReplacedError",
    "WpcError",
]


def qualified_name(kind: type) -> str:
    """Return the name of a class with its module, unless that is `builtins`.

    Examples
    --------
    >>> qualified_name(OSError), qualified_name(WpcError)
    ('OSError', 'wpc_magic.pool.errors.WpcError')
    """
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


class WpcError(Exception):
    """Base class of all errors of the pool itself."""


class OptionError(WpcError, ValueError):
    """An option, a name or an argument of the pool's methods is invalid."""


class DefinitionError(WpcError):
    """A definition was refused. Nothing changed: the previous definition stays in force everywhere."""


class DefinitionSyntaxError(DefinitionError):
    """The source of a definition does not parse.

    Attributes
    ----------
    line : int
        The line, counted from 1 in the given source; 0 if unknown.
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


class DoctestError(DefinitionError):
    """Doctests of a cell fail.

    Attributes
    ----------
    functions : str
        The functions that were to be defined.
    attempted, failed : int
        How many examples there are, and how many of them fail.
    report : str
        The report of doctest.
    filename : str
        What the report calls the file of the cell.
    """

    def __init__(self, functions: str, attempted: int, failed: int, report: str, filename: str) -> None:
        super().__init__(functions, attempted, failed, report, filename)
        self.functions = functions
        self.attempted = attempted
        self.failed = failed
        self.report = report
        self.filename = filename

    def __str__(self) -> str:
        return (
            f"{self.failed} of {self.attempted} doctests fail, so {self.functions} "
            f"stays as it was\n{self.report}"
        )


class InstallError(DefinitionError):
    """A worker could not install a definition; the message includes the worker's traceback."""


class PoolStateError(WpcError, RuntimeError):
    """The pool is not in the state that this needs."""


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


class SharedLockError(WpcError, RuntimeError):
    """A lock of a shared object cannot be waited for, since that would never end; or is not held here."""


class CallError(WpcError):
    """The call was accepted, but ended without a value or an error of its own."""


class ResourceTimeoutError(CallError, TimeoutError):
    """To make or check a resource that the call needs took longer than its limit; the call did not run."""


class CallTimeoutError(CallError, TimeoutError):
    """The call ran for longer than its timeout, and was stopped.

    Attributes
    ----------
    stack : str
        The stack of its worker at that time, with source lines, or why it is not available; part of the
        message.
    """

    def __init__(self, message: str, stack: object = "") -> None:
        super().__init__(message)
        self._stack = stack

    @property
    def stack(self) -> str:
        """The stack of its worker at that time."""
        return str(self._stack)  # source lines are looked up only here

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
    """The worker that ran the call has exited."""


class WorkerCrashedError(WorkerLostError):
    """The worker that ran the call died.

    Attributes
    ----------
    worker_id : int or None
        The slot of the worker.
    exitcode : int or None
        Its exit code; the negative signal number if a signal killed it.
    signal : str or None
        The name of that signal: ``"SIGSEGV"``.
    stack : str
        Where it crashed, with source lines; empty if it just exited. Part of the message.
    output : str
        The last lines that the call printed. Part of the message.
    memory_bytes : int or None
        Its peak memory as far as known, in bytes.
    arguments : str
        The arguments of the call, shortened; empty if they are not known. A note of the error.
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
        arguments: str = "",
    ) -> None:
        super().__init__(message)
        self.worker_id = worker_id
        self.exitcode = exitcode
        self.signal = signal
        self._stack = stack
        self.output = output
        self.memory_bytes = memory_bytes
        self.arguments = arguments
        if arguments:
            self.add_note(f"it was called with {arguments}")

    @property
    def stack(self) -> str:
        """Where it crashed."""
        return str(self._stack)  # source lines are looked up only here

    def __str__(self) -> str:
        output = f"The last that it printed:\n{self.output.rstrip()}" if self.output.strip() else ""
        return "\n\n".join(part for part in (self.args[0], output, self.stack) if part)

    def __reduce__(self) -> tuple[Any, ...]:
        known = self.worker_id, self.exitcode, self.signal, self.stack, self.output, self.memory_bytes
        return type(self), (self.args[0], *known, self.arguments)


class WorkerReplacedError(WorkerLostError):
    """The pool killed the worker that ran the call, for a reason other than this call."""


class MemoryLimitError(WorkerReplacedError):
    """The call used more memory than `hard_memory_per_worker_mb`; it is not retried."""


class InitializerError(CallError):
    """The initializer of an executor has failed in a worker: no call can run."""


class PoolStoppedError(CallError):
    """The pool was stopped before the call ended."""


class RemoteError(CallError):
    """An error of the function that cannot be pickled: its name, message and stack.

    Attributes
    ----------
    name : str
        The qualified name of the error's class.
    message : str
        Its message.
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
    """Raised inside a function when its call is cancelled from outside, so that it can clean up.

    A `BaseException`, so that ``except Exception`` in the function does not swallow it.
    """
