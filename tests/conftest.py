"""What all tests share: none of them leaves anything behind."""

import pytest

from tests import leaks


def pytest_configure(config: pytest.Config) -> None:
    # As a plugin, and not as a fixture of this folder: so that it watches the package's doctests too.
    config.pluginmanager.register(leaks, "wpc-leaks")
