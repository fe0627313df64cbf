"""The state machine of a slot, as a transition table.

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

__all__ = ["ALIVE", "LOST", "SlotState", "Trigger", "transition"]


class SlotState(StrEnum):
    """The health of a slot; the value is what users see."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    RESTARTING = "restarting"
    FAILED = "failed"
    RESTING = "resting"


class Trigger(StrEnum):
    """What makes a slot change its state."""

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
"""The states in which a worker can run calls (none are sent to a degraded one)."""

LOST = frozenset({SlotState.STOPPED, SlotState.FAILED})
"""The states that a slot does not leave without a request."""

_TABLE: dict[tuple[SlotState, Trigger], SlotState] = {
    (SlotState.STOPPED, Trigger.START): SlotState.STARTING,
    (SlotState.STARTING, Trigger.READY): SlotState.READY,
    (SlotState.STARTING, Trigger.DIES): SlotState.RESTARTING,
    (SlotState.READY, Trigger.SILENT): SlotState.DEGRADED,
    (SlotState.READY, Trigger.DIES): SlotState.RESTARTING,
    (SlotState.DEGRADED, Trigger.ANSWERS): SlotState.READY,
    (SlotState.DEGRADED, Trigger.DIES): SlotState.RESTARTING,
    (SlotState.RESTARTING, Trigger.READY): SlotState.READY,
    (SlotState.RESTARTING, Trigger.DIES): SlotState.RESTARTING,
    (SlotState.RESTARTING, Trigger.EXHAUSTED): SlotState.FAILED,
    (SlotState.FAILED, Trigger.REVIVED): SlotState.RESTARTING,
    (SlotState.READY, Trigger.RESTS): SlotState.RESTING,
    (SlotState.RESTING, Trigger.WAKES): SlotState.STARTING,
    **{(state, Trigger.STOP): SlotState.STOPPED for state in SlotState},
}


def transition(state: SlotState, trigger: Trigger) -> SlotState:
    """Return the next state.

    Raises
    ------
    LookupError
        If the table has no such transition: a bug in the pool, never a user error.

    Examples
    --------
    >>> transition(SlotState.READY, Trigger.DIES).value
    'restarting'
    """
    try:
        return _TABLE[state, trigger]
    except KeyError:
        raise LookupError(f"a slot that is {state.value} cannot move by {trigger.value}") from None
