"""The chunks of a map: sent, and received."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from typing import Any, NoReturn

from ..core.dependent_calls import DependentCall
from ..core.insights import MapInsight
from ..errors import ArgumentsNotSerializableError, CallError, PoolStoppedError, SaturatedError
from ..futures import CallFuture
from ..options import shown_name
from ..outcomes import rebuild_outcome
from ..wire.value_marks import FutureInValueError
from .arrivals import Arrivals
from .failures import Failures
from .request import ChunkRunner, MapRequest
from .retries import ItemRetries
from .sizes import ChunkSizes
from .values import DeliveredValues, explain_end

__all__ = ["Chunks"]


class Chunks:
    """The chunks of one map.

    Parameters
    ----------
    pool : ChunkRunner
        Makes the calls.
    request : MapRequest
        What is to be done.

    Attributes
    ----------
    failures : Failures
        The items that have failed.
    total : int or None
        How many items there are, if that is known.
    done : int
        How many values have been received.
    sent : int
        How many items have been sent, or were refused.
    ran_s : float
        How long their calls have run, in all workers together; only if somebody shows it.
    began_s : float
        When somebody asked for the first result, on the monotonic clock; 0: nobody has.
    origin : object
        Where the map was made, as of a call.
    is_shown : bool
        Whether what iterates shows how far it is: a bar of `tqdm`.
    exhausted : bool
        Whether no more items are taken.
    stopped_by : exception or None
        What has ended it before its end.
    """

    def __init__(self, pool: ChunkRunner, request: MapRequest) -> None:
        self.failures = Failures()
        self.total = request.total
        self.done = 0
        self.ran_s = self.began_s = 0.0
        self.is_shown = self._is_noted = self._is_stopped = False
        self.stopped_by: BaseException | None = None
        self._slowest = 0.0, 0, 1  # its run time, first item and number of items
        self._measured_s = 0.0
        self.name = request.name
        self._pool = pool
        self._items = request.items
        self._keywords = request.keywords
        self._seed = pool.seed_of_map()
        again = pool.retry_options(request.name, request.options)
        self._again = None if again is None else ItemRetries(again, request.on_error != "raise")
        # The numbers of an item that runs again are those of its place, and the items of a chunk have one.
        is_alone = pool.runs_alone(request.name) or (again is not None and self._seed is not None)
        chunk_size = 1 if is_alone else request.chunk_size
        self._sizes = ChunkSizes(pool, request.name, request.options, chunk_size, request.total)
        self._observer = pool.wait_observer
        self._on_error = request.on_error
        self._keeps_going = request.on_error != "raise"
        self._options = request.options if again is None else again
        self.origin = pool.origin  # of all chunks, wherever the results are asked for
        self._sent: dict[CallFuture | _Refused, int] = {}  # each chunk, and its first item's number
        self.sent = 0
        self._unsent: Sequence[Any] = ()  # taken, but refused because the pool was saturated
        self.exhausted = False
        self._failure: BaseException | None = None
        self._delivered = DeliveredValues()
        self._rest: dict[int, Any] = {}  # values of chunks behind the one that has ended the map
        self._arrivals = None if request.ordered else Arrivals()
        pool.map_made(self)

    def __str__(self) -> str:
        name = shown_name(self.name)
        if not self._sent and self.exhausted:
            return f"{name}: ended after {_in_words(self.sent)}"
        in_flight = sum(chunk.call.items for chunk in self._sent)
        return f"{name}: {_in_words(self.sent)} sent, {in_flight} of them in flight"

    # -- sending ----------------------------------------------------------------------------------------

    def fill(self) -> None:
        """Send chunks until enough are in flight."""
        __tracebackhide__ = True
        size, target = self._sizes.now()
        while not self.exhausted and len(self._sent) < target:
            items = self._unsent or self._items.take(size)
            if not items:
                self.exhausted = True
                self._failure = self._items.error
                return
            try:
                chunk = self._submit(items, self.sent)
            except ArgumentsNotSerializableError as error:
                if self._keeps_going:
                    self._refuse(items, error)
                    continue
                self.exhausted = True
                self._failure = self._with_note(error, self.sent, len(items))
                return
            except FutureInValueError:  # one by one: so none waits for the value that another one needs
                self._unsent = ()
                self._items.take_back(items)
                continue
            except SaturatedError:
                if not self._sent:
                    raise
                self._unsent = items  # to be sent when one of our chunks has ended
                return
            self._unsent = ()
            self._add(chunk, len(items))

    def _submit(self, items: Sequence[Any], first: int, attempts: int = 0) -> CallFuture:
        columns = self._items.columns(items)
        if self._keywords is not None:
            columns = (*columns, self._keywords)
        if self._seed is not None:
            columns = self._seed.of_chunk(columns, first)
        chunk = self._pool.submit_chunk(
            self.name, columns, len(items), self._options, self.origin, self._keeps_going, attempts
        )
        if self._again is not None and not attempts:
            self._again.sent(chunk, items)
        return chunk

    def _run_again(self, chunk: CallFuture, items: Sequence[Any], again: ItemRetries) -> None:
        """Run items of a chunk again, in its place."""
        new = self._submit(items, self._sent[chunk], again.attempts(chunk))
        new.part_of = self
        again.sent_again(chunk, new)
        self.ran_s += chunk.ran_s
        self._sent = {new if each is chunk else each: first for each, first in self._sent.items()}
        if self._arrivals is not None:
            self._arrivals.add(new)

    def _add(self, chunk: CallFuture | _Refused, count: int) -> None:
        chunk.part_of = self
        self._sent[chunk] = self.sent
        self.sent += count
        if self._arrivals is not None:
            self._arrivals.add(chunk)

    def _refuse(self, items: Sequence[Any], error: ArgumentsNotSerializableError) -> None:
        """Give an item that cannot be sent its error, and send the others of its chunk one by one."""
        self._unsent = ()
        if len(items) == 1:
            self._add(_Refused(error), 1)
        else:
            self._items.take_back(items)

    @property
    def is_over(self) -> bool:
        """Whether nothing more is sent, and everything was received; or it was stopped."""
        return self._is_stopped or (self.exhausted and not self._sent)

    @property
    def worker_count(self) -> int:
        """The number of slots of the pool."""
        return self._pool.worker_count

    def in_flight(self) -> list[CallFuture]:
        """Return the calls that have been sent, and whose results were not taken."""
        return [chunk for chunk in list(self._sent) if isinstance(chunk, CallFuture)]

    # -- receiving --------------------------------------------------------------------------------------

    def next(self) -> CallFuture | _Refused | None:
        """Return the chunk whose results are next, ended or not; None if there is none."""
        __tracebackhide__ = True
        if not self.began_s:
            self.began_s = time.monotonic()
        if not self._sent:
            self._raise_failure()
            return None
        chunk = next(iter(self._sent))
        if self._arrivals is None:
            return chunk
        try:
            return self._arrivals.next(self._observer, chunk)  # type: ignore[no-any-return]
        except KeyboardInterrupt as interrupt:
            CallFuture.on_interrupt(interrupt)
            raise interrupt.with_traceback(None) from None

    async def next_async(self) -> CallFuture | _Refused | None:
        """Wait for the chunk whose results are next, and return it; None if there is none."""
        import asyncio

        self.began_s = self.began_s or time.monotonic()
        if not self._sent:
            self._raise_failure()
            return None
        if self._arrivals is not None:
            return await self._arrivals.next_async(self._sent)  # type: ignore[no-any-return]
        chunk = next(iter(self._sent))
        waiter: Any = chunk.wait_in(asyncio.get_running_loop())
        if waiter is not None:
            await waiter
        return chunk

    def _raise_failure(self) -> None:
        __tracebackhide__ = True
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def take(self, chunk: CallFuture | _Refused) -> list[Any]:
        """Return the results of a chunk, and send the next ones."""
        __tracebackhide__ = True
        first = self._sent.get(chunk)
        if first is None:
            return []
        try:
            values, failures = chunk.result()
        except Exception as error:
            # What a call has ended with whose value an item needs may be any error.
            ours = isinstance(error, CallError | ArgumentsNotSerializableError)
            if not (ours or isinstance(chunk.call, DependentCall)):
                raise
            count = chunk.call.items
            self._with_note(error, first + (self._again.first(chunk) if self._again else 0), count)
            if not self._keeps_going or isinstance(error, PoolStoppedError):
                if not ours:
                    raise
                raise error from None
            values, failures = [None] * count, dict.fromkeys(range(count), error)
        runs: dict[int, tuple[Any, int]] = {}
        if self._again is not None and isinstance(chunk, CallFuture):
            items = self._again.ended(chunk, values, failures)
            if items:
                self._run_again(chunk, items, self._again)
                return []
            values, failures, runs = self._again.outcome(chunk)
        del self._sent[chunk]
        if self._sizes.interleaves and chunk.ran_s:
            self._sizes.ran(chunk.ran_s)
        if failures:
            return self._take_failures(chunk, first, values, failures, runs)
        self.done += len(values)
        if self._observer is not None:
            self._tell(chunk)
        self._delivered.add(first, values)
        if self._failure is None:
            self.fill()
        return values  # type: ignore[no-any-return]  # what a worker has sent

    def _tell(self, chunk: CallFuture | _Refused) -> None:
        """Tell who shows the map that a chunk has ended."""
        self.ran_s += chunk.ran_s
        if self._observer is not None:
            self._observer.map_went_on(self)

    def _take_failures(
        self,
        chunk: CallFuture | _Refused,
        first: int,
        values: list[Any],
        failures: dict[int, Any],
        runs: dict[int, tuple[Any, int]],
    ) -> list[Any]:
        """Return the results of a chunk in which items have failed, and send the next ones."""
        __tracebackhide__ = True
        errors = self._errors(chunk, first, failures, runs)
        self.done += len(values) - sum(n < len(values) for n in errors)
        self._tell(chunk)
        if values:
            self._delivered.add(first, values, errors)
        if not self._keeps_going:
            return self._until_error(values, errors)
        if isinstance(chunk, CallFuture):
            self._pool.note_error(chunk.call, errors[max(errors)])
        if self._failure is None:
            self.fill()
        if self._on_error == "skip":
            return [value for n, value in enumerate(values) if n not in errors]
        return [errors.get(n, value) for n, value in enumerate(values)]

    def _errors(
        self,
        chunk: CallFuture | _Refused,
        first: int,
        failures: dict[int, Any],
        runs: dict[int, tuple[Any, int]],
    ) -> dict[int, BaseException]:
        """Return the errors of a chunk by position; `runs` is that of an `Outcome`."""
        errors: dict[int, BaseException] = {}
        for n, failure in sorted(failures.items()):
            error = failure
            if not isinstance(failure, BaseException):
                failed = self._pool.failed_item(*runs.get(n, (chunk, n)))
                error = rebuild_outcome(failure, f"in item {first + n}: {failed}", CallFuture.raises_exits)
                failed.add_to(error)
            errors[n] = error
            self.failures.add(first + n, error)
        return errors

    def _until_error(self, values: list[Any], errors: dict[int, BaseException]) -> list[Any]:
        """Return the results before an error, which is raised when they have been taken."""
        __tracebackhide__ = True
        n = min(errors)
        self._take_rest()
        if not n:
            raise errors[n]
        self._failure = errors[n]
        return values[:n]

    def _with_note(self, error: Any, first: int, count: int) -> Any:
        items = f"item {first}" if count == 1 else f"items {first} to {first + count - 1}"
        error.add_note(f"in {items} of the map over {shown_name(self.name)}")
        return error

    # -- the end ----------------------------------------------------------------------------------------

    def _take_rest(self) -> None:
        """Take what has been computed by now, and cancel the rest."""
        for chunk, first in list(self._sent.items()):
            try:
                values, failures = chunk.result(0)
            except Exception:  # it has not ended, was cancelled, or its worker has died
                self._take_computed(chunk, first)
                continue
            runs: dict[int, tuple[Any, int]] = {}
            if self._again is not None and isinstance(chunk, CallFuture):
                if self._again.ended(chunk, values, failures):
                    self._take_computed(chunk, first)
                    continue
                values, failures, runs = self._again.outcome(chunk)
            errors = self._errors(chunk, first, failures, runs)
            self.ran_s += chunk.ran_s
            found = {first + n: value for n, value in enumerate(values) if n not in errors}
            self._rest |= found
            self.done += len(found)
            del self._sent[chunk]
        self.close()

    def _take_computed(self, chunk: CallFuture | _Refused, first: int) -> None:
        """Take the values of a chunk of which some items have failed, and were to run again."""
        if self._again is not None:
            computed = self._again.computed(chunk)
            self.done += len(computed)
            self._rest |= {first + n: value for n, value in computed.items()}

    def explain(self, error: BaseException) -> None:
        """Give the exception that ends the map what has been computed, and say so."""
        self._take_rest()
        self.stopped_by = error
        self.end()
        if not hasattr(error, "partial"):  # else it is the function's own
            partial = self._delivered.by_item() | self._rest
            self._delivered, self._rest = DeliveredValues(), {}
            explain_end(error, partial, self.failures, self.done, self.total, self._pool.keep_partial)

    def close(self) -> None:
        """Cancel what is in flight, and take no more items."""
        self.exhausted = True
        self._unsent, self._failure = (), None
        if self._arrivals is not None:
            self._arrivals.close()
        for chunk in reversed(self._sent):  # so none begins because one before it has been stopped
            chunk.cancel()
        self._sent.clear()

    def stop(self) -> None:
        """Cancel what is in flight, and have the caller's next look raise a CancelledError; in any thread."""
        # This is raised where all that was in flight has ended by now; else a call that is cancelled raises.
        self._failure = CancelledError(f"the map over {shown_name(self.name)} was stopped")
        self.exhausted = self._is_stopped = True
        self._pool.give_up(self.in_flight())

    def end(self) -> None:
        """Tell who shows the map that it is over."""
        if self.began_s and not self._is_noted:
            self._is_noted = True
            self._pool.note_map(self.seen(time.monotonic()))
        if self._observer is not None:
            self._observer.map_ended(self)

    def ran_slowly(self, chunk: CallFuture, ran_s: float) -> None:
        """Record a chunk that took about 1 ms or more. Under the pool's lock."""
        self._measured_s += ran_s
        if ran_s > self._slowest[0]:
            self._slowest = ran_s, self._sent.get(chunk, 0), chunk.call.items

    def seen(self, now: float) -> MapInsight:
        """Return how it has run until now."""
        failed = self.failures.count
        took_s, ran_s = max(now - self.began_s, 1e-3), self.ran_s or self._measured_s
        items = self.done + failed
        return MapInsight(
            shown_name(self.name), items, failed, took_s, ran_s, self.worker_count, *self._slowest
        )

    def close_nowait(self) -> None:
        """Do the same as `close`, without waiting for anything: a finalizer may call it."""
        self.exhausted = True
        if self._sent:
            self._pool.give_up([chunk for chunk in self._sent if isinstance(chunk, CallFuture)])
            self._sent.clear()


class _Refused:
    """Stands for the chunk of an item that cannot be sent; it has ended from the start."""

    class call:  # as of a future
        items = 1

    part_of: Any = None
    ran_s = 0.0

    def __init__(self, error: ArgumentsNotSerializableError) -> None:
        self._error = error

    def result(self, timeout: float | None = None) -> NoReturn:
        raise self._error

    def done(self) -> bool:
        return True

    def cancel(self) -> bool:
        return False

    def when_ended(self, callback: Callable[[_Refused], object]) -> None:
        callback(self)

    def wait_in(self, loop: object) -> None:
        return None


def _in_words(count: int) -> str:
    return f"{count} item" if count == 1 else f"{count} items"
