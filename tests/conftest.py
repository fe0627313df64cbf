"""Configuration of all tests: they leak nothing, and do not depend on randomness or on the clock."""

import pytest
from hypothesis import settings

from tests import leaks

# The same examples in every run, without a deadline on slow machines, and without a database on disk.
settings.register_profile("wpc", derandomize=True, deadline=None, database=None)
settings.load_profile("wpc")


def pytest_configure(config: pytest.Config) -> None:
    # As a plugin, and not as a fixture of this folder, so that it checks the package's doctests too.
    config.pluginmanager.register(leaks, "wpc-leaks")
