"""The states of a slot, as a table of moves.

::

    stopped ──start──> starting ──ready──> ready <──answers── degraded
                          │                 │ └───silent────────^ │
                          └──dies──┐        └──dies──┐   ┌──dies──┘
                                   v                 v   v
                     failed <──exhausted──────── restarting ──ready──> ready
                        └──────── revived ───────────^

    ready ──rests──> resting ──wakes──> starting

    every state ──stop──> stopped
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ALIVE", "LOST", "Cause", "SlotState", "move"]


class SlotState(StrEnum):
    """The health of a slot; the value is the word that users see."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    RESTARTING = "restarting"
    FAILED = "failed"
    RESTING = "resting"


class Cause(StrEnum):
    """Why a slot changes its state."""

    START = "start"
    READY = "ready"
    SILENT = "silent"
    ANSWERS = "answers"
    DIES = "dies"
    EXHAUSTED = "exhausted"
    REVIVED = "revived"
    RESTS = "rests"
    WAKES = "wakes"
    STOP = "stop"


ALIVE = frozenset({SlotState.READY, SlotState.DEGRADED})
"""The states in which a worker can run calls (to a degraded one none are sent)."""

LOST = frozenset({SlotState.STOPPED, SlotState.FAILED})
"""The states that a slot does not leave by itself."""

_TABLE: dict[tuple[SlotState, Cause], SlotState] = {
    (SlotState.STOPPED, Cause.START): SlotState.STARTING,
    (SlotState.STARTING, Cause.READY): SlotState.READY,
    (SlotState.STARTING, Cause.DIES): SlotState.RESTARTING,
    (SlotState.READY, Cause.SILENT): SlotState.DEGRADED,
    (SlotState.READY, Cause.DIES): SlotState.RESTARTING,
    (SlotState.DEGRADED, Cause.ANSWERS): SlotState.READY,
    (SlotState.DEGRADED, Cause.DIES): SlotState.RESTARTING,
    (SlotState.RESTARTING, Cause.READY): SlotState.READY,
    (SlotState.RESTARTING, Cause.DIES): SlotState.RESTARTING,
    (SlotState.RESTARTING, Cause.EXHAUSTED): SlotState.FAILED,
    (SlotState.FAILED, Cause.REVIVED): SlotState.RESTARTING,
    (SlotState.READY, Cause.RESTS): SlotState.RESTING,
    (SlotState.RESTING, Cause.WAKES): SlotState.STARTING,
    **{(state, Cause.STOP): SlotState.STOPPED for state in SlotState},
}


def move(state: SlotState, cause: Cause) -> SlotState:
    """Return the state that follows.

    Raises
    ------
    LookupError
        If the table has no such move: a fault of the pool's, never of a user's.

    Examples
    --------
    >>> move(SlotState.READY, Cause.DIES).value
    'restarting'
    """
    try:
        return _TABLE[state, cause]
    except KeyError:
        raise LookupError(f"a slot that is {state.value} cannot move by {cause.value}") from None
