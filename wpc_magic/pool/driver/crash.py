"""Diagnosis of a worker's death: signal, exit code, stack, and whether the OOM killer did it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..engines.oom_kills import OomKills
from ..wire.status_page import PEAK
from .stack_report import StackReport, parse_dump

if TYPE_CHECKING:
    from ..core.calls import Call
    from .link import Link

__all__ = ["Crash", "crash_of"]


class Crash(NamedTuple):
    """How a worker died.

    Parameters
    ----------
    reason : str
        The end of a sentence: ``"was killed by SIGSEGV"``.
    details_of : callable
        Given a call that the worker held, returns further attributes of its `WorkerCrashedError`.
    """

    reason: str
    details_of: Callable[[Call], Mapping[str, Any]]


def crash_of(link: Link, exitcode: int | None, oom_kills: OomKills) -> Crash:
    """Return how the worker of a link died. Call it when everything that the worker wrote has been read.

    Parameters
    ----------
    link : Link
        The link, not closed yet.
    exitcode : int or None
        The exit code; minus the signal's number if a signal killed it. None: unknown.
    oom_kills : OomKills
        Consulted if the signal was SIGKILL.
    """
    name = _signal_name(exitcode)
    memory = max(link.process.peak_bytes, link.process.page.words[PEAK]) or None
    # Else it has ended by itself, after what it had sent.
    was_malformed = bool(link.malformed) and (exitcode is None or name == "SIGKILL")
    if was_malformed:
        reason = f"was killed, since it had sent malformed data: {link.malformed}"
    elif link.process.lost:
        reason = link.process.lost
    elif name:
        reason = f"was killed by {name}"
    elif exitcode is not None:
        reason = f"exited with code {exitcode}"
    else:
        reason = "exited, its code is unknown (this program ignores SIGCHLD, or waits for every child)"
    if name == "SIGKILL" and not link.process.lost and not was_malformed:
        happened_recently = link.process.oom_killed
        if not link.process.host:
            happened_recently = oom_kills.happened_recently()
        if happened_recently:
            reason += ", most likely by the system: memory had run out"
            if memory:
                reason += f", of which it had up to {memory / (1 << 20):,.0f} MB"
        elif happened_recently is None:
            reason += " (by somebody, or by the system because memory ran out)"
    why, stacks = parse_dump(link.process.dump.read())
    stack: object = ""
    if why:  # else the dump answers a request for stacks
        stack = StackReport(why, stacks)

    def details_of(call: Call) -> Mapping[str, Any]:
        output = link.recent_output.of(call.id)
        return {"signal": name, "stack": stack, "output": output, "memory_bytes": memory}

    return Crash(reason, details_of)


def _signal_name(exitcode: int | None) -> str | None:
    if exitcode is None or exitcode >= 0:
        return None
    try:
        return signal.Signals(-exitcode).name
    except ValueError:
        return f"signal {-exitcode}"
