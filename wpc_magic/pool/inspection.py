"""The methods of a pool that look into its workers, for the dashboard."""

from __future__ import annotations

from .driver.driver import Driver
from .driver.sampling import StackSampler

__all__ = ["Inspection"]


class Inspection:
    """The methods of a pool that look into its workers."""

    _driver: Driver

    def stack_sampler(self) -> StackSampler:
        """Return what samples the stacks of the calls that run, through the control channels of workers.

        Nothing is done in the main threads of workers, which run the calls. It does not keep the pool alive.
        """
        return StackSampler(self._driver)
