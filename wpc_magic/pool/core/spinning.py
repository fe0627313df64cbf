"""When a wait for a quick call begins with a look at shared memory, instead of sleep, and for how long.

To put two threads to sleep and to wake them takes longer than a quick call itself, if each has a processor.
But where the two share one, or others need it, to look is a loss for both. No system tells which it is, and
it may change at any time. So both ways are tried, a few waits each, and timed: what is clearly quicker is
kept for the next waits. After a trial in vain there is a pause, each time twice as long.
"""

from __future__ import annotations

__all__ = ["Spinning"]

_SLEEPS = 8  # waits that are timed without a look, before a trial
_LOOKS = 16  # waits of a trial
_KEPT = 2_000  # waits with a look, before it is tried again what sleep would take
_FIRST_PAUSE = 512  # waits without a look after the first trial in vain
_LONGEST_PAUSE = 1 << 15
_MAX_FAILURES = 3  # looks in vain in a trial: the first ones find both sides asleep
_WINDOW = 128  # waits after the trial; among so many
_MAX_FAILURES_LATER = 2  # looks in vain: other programs need the processors, and looks take them away
_CLEARLY = 0.8  # of the time of sleep: so much the looks may take at most
_OUTLIER = 8  # a longer wait, of so many looks, tells nothing of the two ways: something else ran meanwhile


class Spinning:
    """Decides for each wait at one worker whether it begins with a look.

    Parameters
    ----------
    limit_ns : int
        How long a look may take, in nanoseconds; 0: none is ever made.

    Attributes
    ----------
    pause : int
        For how many waits there is nothing to be asked or told: they sleep. Whoever waits counts it down.
    look_ns : int
        How long the next wait is to look, if it is not among these; 0: it sleeps at once.

    Examples
    --------
    >>> spinning = Spinning(50_000)
    >>> for _ in range(8):  # sleep
    ...     spinning.waited(80_000, False)
    >>> for _ in range(16):  # look
    ...     spinning.waited(20_000, True)
    >>> spinning.pause, spinning.look_ns
    (0, 50000)
    """

    __slots__ = ("_failures", "_last_pause", "_left", "_limit_ns", "_looks", "_slept", "look_ns", "pause")

    def __init__(self, limit_ns: int) -> None:
        self.set_limit(limit_ns)

    def set_limit(self, limit_ns: int) -> None:
        """Start over with another limit."""
        self._limit_ns = limit_ns
        self._last_pause = 0
        self.pause = 0
        self._sleep()

    def _sleep(self) -> None:
        """Begin with waits that are timed without a look."""
        self.look_ns = 0
        self._slept: list[int] = []
        self._looks: list[int] = []
        self._failures = 0
        self._left = 0

    def waited(self, ns: int, in_time: bool) -> None:
        """Note how long a wait took that was not one of the pause.

        Parameters
        ----------
        ns : int
            The whole wait, in nanoseconds.
        in_time : bool
            If it was to look: whether it has seen what it looked for, within the limit.
        """
        if not self._limit_ns:
            self.pause = _LONGEST_PAUSE
        elif not self.look_ns:
            self._slept.append(min(ns, _OUTLIER * self._limit_ns))
            if len(self._slept) == _SLEEPS:
                self.look_ns = self._limit_ns
        elif self._left:
            self._left -= 1
            self._failures += not in_time
            if self._failures == _MAX_FAILURES_LATER:
                self._give_up()
            elif not self._left:
                self._last_pause = 0
                self._sleep()
            elif not self._left % _WINDOW:
                self._failures = 0
        else:
            self._looks.append(ns)
            self._failures += not in_time
            if self._failures == _MAX_FAILURES:
                self._give_up()
            elif len(self._looks) == _LOOKS:
                self._decide()

    def _decide(self) -> None:
        if _middle(self._looks) > _CLEARLY * _middle(self._slept):
            self._give_up()
        else:
            self._left, self._failures = _KEPT, 0

    def _give_up(self) -> None:
        """Sleep, twice as long as the last time."""
        self._last_pause = self.pause = min(2 * self._last_pause or _FIRST_PAUSE, _LONGEST_PAUSE)
        self._sleep()


def _middle(times: list[int]) -> int:
    return sorted(times)[len(times) // 2]
