"""Configuration of all tests: they leak nothing, and do not depend on randomness or on the clock."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests import leaks
from wpc_magic.pool.driver import callbacks

# The same examples in every run, without a deadline on slow machines, and without a database on disk.
settings.register_profile("wpc", derandomize=True, deadline=None, database=None)
settings.load_profile("wpc")


def pytest_configure(config: pytest.Config) -> None:
    # As a plugin, and not as a fixture of this folder, so that it checks the package's doctests too.
    config.pluginmanager.register(leaks, "wpc-leaks")


@pytest.fixture(scope="session", autouse=True)
def threads_of_callbacks_end_soon() -> Iterator[None]:
    """Let the threads of callbacks and listeners end soon after the last one: each test waits for that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks, "_IDLE_S", 0.05)
        yield
