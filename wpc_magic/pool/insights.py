"""The methods of a pool that tell how its functions and maps have run."""

from __future__ import annotations

from .core.calls import Call
from .core.history import shortened
from .core.insights import Insights, MapInsight
from .core.runs import runs_of
from .functions import Functions
from .futures import CallFuture

__all__ = ["Measured"]


class Measured(Functions):
    """The methods of a pool that tell how its functions and maps have run."""

    def insights(self) -> Insights:
        """Return how the functions and the latest maps have run, with advice.

        Who works and waits, and what is slow, is told of the calls that `history` keeps. Nothing is measured
        for it that costs a quick call anything: of calls of less than about 1 ms, only their number and a
        histogram is known.

        Returns
        -------
        Insights
            ``functions``, ``maps`` and ``advice``: what stands out, in words.

        Examples
        --------
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> with WorkerProcedureCall() as pool:
        ...     _ = pool.define_worker_function(name="double", worker_func="def double(x): return 2 * x")
        ...     _ = pool.start_workers(1)
        ...     values = [pool.call.double(n).result() for n in range(300)]
        ...     pool.insights().functions[0].calls
        300
        """
        with self._driver.reading() as core:
            history = core.state.history
            rows, processes = history.rows(), history.processes()
        workers = {each.incarnation: each.worker_id for each in processes}
        runs = runs_of(rows, workers, history.sizes)  # without the lock: there may be many
        with self._driver.reading() as core:
            state, facts = core.state, self._driver.facts()
            memory = {
                slot.incarnation: facts[number].memory_bytes
                for number, slot in state.slots.items()
                if number in facts
            }
            return state.measures.insights(state.registry, state.stats, memory, runs)

    def began_s(self, future: CallFuture, after_s: float, before_s: float) -> float | None:
        """Return when a call began to run, in seconds of the monotonic clock; None: it is not known now.

        It is known until its worker begins another call.

        Parameters
        ----------
        future : CallFuture
            The call.
        after_s, before_s : float
            It was made after the first, and had ended before the second.
        """
        with self._driver.reading() as core:
            found = [core.state.running(slot.incarnation) for slot in core.state.slots.values()]
        since = [since for seq, since in found if seq == future.call.seq and after_s <= since <= before_s]
        return since[0] if len(since) == 1 else None

    def note_error(self, call: Call, error: BaseException) -> None:
        """Record what an item of a map has failed with, given its chunk: the core knows only how many."""
        with self._driver.reading() as core:
            state = core.state
            state.call_counts.of_call(call, state.registry).last_error = shortened(error)

    def note_map(self, seen: MapInsight) -> None:
        """Record how a map has run."""
        self._driver.core.state.measures.maps.append(seen)
