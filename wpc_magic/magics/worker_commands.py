"""The commands that start, change, restart and stop the workers of a pool, and say what these cannot do."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wpc_magic.pool.engines.choice import SETTINGS

from .messages import Message
from .tables import plural

if TYPE_CHECKING:
    from wpc_magic.pool import WorkerProcedureCall

__all__ = ["WorkerCommands"]


class WorkerCommands:
    """The operations of one shell on the workers of its pool.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    workers : int or None
        How many workers a start without a number creates; None: the pool's default.
    """

    def __init__(self, pool: WorkerProcedureCall, workers: int | None) -> None:
        self.pool = pool
        self.workers = workers

    def start(
        self, count: int | None = None, options: Mapping[str, Any] | None = None, wait: bool = True
    ) -> Message:
        """Start the workers; if they run already, apply the changes."""
        if self.pool.is_running:
            changed = self._change(options or {})
            if count is not None and count != self.count():
                return self._scale(count, changed)
            return self._about_workers(f"{plural(self.count(), 'worker')} running already", changed)
        began = time.perf_counter()
        self.pool.start_workers(count or self.workers, wait=wait, **(options or {}))
        if not wait:
            return Message(f"{plural(self.count(), 'worker')} starting")
        self.pool.wait_until_ready()
        return self._about_workers(f"{self._ready()} in {time.perf_counter() - began:.2f} s")

    def _change(self, options: Mapping[str, Any]) -> list[str]:
        """Change options of the pool while it runs; return what that has changed."""
        where = {name: options[name] for name in ("engine", *SETTINGS) if name in options}
        if where and where != {"engine": self.pool.engine}:
            self.pool.use_engine(**{"engine": self.pool.engine, **where})  # which says that they run
        options = {name: value for name, value in options.items() if name not in where}
        before, broken = self.pool.options, self._broken()
        self.pool.configure(**options)
        changed = []
        for name, value in options.items():
            old = getattr(before, name)
            changed.append(f"{name}={value} {'as before' if old == value else f'(was {old})'}")
        again = ", ".join(name for name in broken if name not in self._broken())
        return [*changed, f"{again}: tried again"] if again else changed

    def _ready(self) -> str:
        """Return how many workers are ready; all are that have not failed."""
        states = [each.health_state for each in self.pool.get_worker_health_states()]
        # One that starts still waits for a place on a cluster.
        count, failed = self.count(), sum(each in ("failed", "starting") for each in states)
        return (
            f"{count - failed} of {plural(count, 'worker')} ready"
            if failed
            else f"{plural(count, 'worker')} ready"
        )

    def _failed(self) -> list[int]:
        return [
            each.worker_id for each in self.pool.get_worker_health_states() if each.health_state == "failed"
        ]

    def _broken(self) -> dict[str, str]:
        """Return the definitions that no worker could install, and why."""
        found: dict[str, str] = {}
        for info in self.pool.get_remote_functions():
            found |= {info.name: info.broken} if info.broken else {}
        for dependency in self.pool.get_worker_dependencies():
            found |= {dependency.alias: dependency.broken} if dependency.broken else {}
        for constant in self.pool.get_worker_constants():
            found |= {constant.name: constant.broken} if constant.broken else {}
        for resource in self.pool.get_worker_resources():
            found |= {resource.name: resource.broken} if resource.broken else {}
        for shared in self.pool.get_shared_objects():
            found |= {shared.name: shared.broken} if shared.broken else {}
        setup = self.pool.get_worker_setup()
        found |= {"the setup": setup.broken} if setup is not None and setup.broken else {}
        return found

    def _about_workers(self, text: str, changed: Sequence[str] = ()) -> Message:
        """Return a message about the workers, with what they cannot do."""
        failed = self._failed()
        parts = [text, *changed]
        if failed:
            one = len(failed) == 1
            numbers = f"worker {failed[0]} has" if one else f"workers {', '.join(map(str, failed))} have"
            fix = f"%wpc_restart {failed[0]} starts it again" if one else "%wpc_restart starts them again"
            parts.append(f"{numbers} failed: {fix}")
            if len(failed) == self.count():
                del parts[0]
        by_reason: dict[str, list[str]] = {}
        for name, why in self._broken().items():
            by_reason.setdefault(why, []).append(name)
        lines = [f"without {', '.join(names)}: {why}" for why, names in by_reason.items()]
        return Message("\n".join([" · ".join(parts), *lines]))

    def stop(self, drain: bool = False, timeout_ms: int | None = None) -> Message:
        """Stop the workers; definitions are kept."""
        if not self.pool.is_running:
            return Message("the workers are not running")
        count = self.count()
        self.pool.stop_workers(drain=drain, timeout_ms=timeout_ms)
        return Message(f"{plural(count, 'worker')} stopped")

    def restart(self, worker_id: int | None = None, drain: bool = True) -> Message:
        """Restart one worker, or all of them with the current folder, path and environment."""
        if worker_id is not None:
            self.pool.restart_worker(worker_id, drain=drain)
            self.pool.wait_until_ready()
            return self._about_workers(f"worker {worker_id} restarted")
        self.pool.restart_workers(drain=drain)
        self.pool.wait_until_ready()
        return self._about_workers(f"{plural(self.count(), 'worker')} restarted")

    def scale(self, count: int) -> Message:
        """Change the number of workers."""
        return self._scale(count)

    def _scale(self, count: int, changed: Sequence[str] = ()) -> Message:
        before = self.count()
        self.pool.resize(count)
        self.pool.wait_until_ready()
        return self._about_workers(f"{self._ready()}, {before} before", changed)

    def count(self) -> int:
        """Return the number of slots."""
        return len(self.pool.get_worker_health_states()) if self.pool.is_running else 0
