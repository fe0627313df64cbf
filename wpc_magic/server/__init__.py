"""The extension of the Jupyter server: it lists the pools of all running kernels, and changes nothing.

``jupyter_server_config.d/wpc_magic.json``, which is installed with the package, switches it on.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__: list[str] = []


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "wpc_magic.server"}]


def _load_jupyter_server_extension(serverapp: Any) -> None:
    from .handlers import handlers

    serverapp.web_app.add_handlers(".*$", handlers(serverapp.web_app.settings["base_url"]))
