"""What all tests share: none of them leaves anything behind, throws dice, or looks at the clock."""

import pytest
from hypothesis import settings

from tests import leaks

# The same examples in every run, however long a busy machine takes for one; nothing is kept in a folder.
settings.register_profile("wpc", derandomize=True, deadline=None, database=None)
settings.load_profile("wpc")


def pytest_configure(config: pytest.Config) -> None:
    # As a plugin, and not as a fixture of this folder: so that it watches the package's doctests too.
    config.pluginmanager.register(leaks, "wpc-leaks")
