"""What the Jupyter server answers: ``/wpc-magic/api/pools``, and a page of it at ``/wpc-magic/``."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.utils import ensure_async, url_path_join
from tornado import web

from wpc_magic.notebook.published import published_path, read_published

__all__ = ["handlers"]


class PoolsHandler(APIHandler):
    """``GET /wpc-magic/api/pools``: the pools of all running kernels, as JSON."""

    auth_resource = "kernels"

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with ``{"pools": [{"kernel": {...}, "written": ..., "pool": {...}}, ...]}``."""
        sessions: Any = self.session_manager  # untyped, as is the other
        kernels: Any = self.kernel_manager
        running = await ensure_async(sessions.list_sessions())
        notebooks = {each["kernel"]["id"]: each["path"] for each in running if each.get("kernel")}
        found: list[dict[str, Any]] = []
        for kernel in await ensure_async(kernels.list_kernels()):
            number = kernel["id"]
            # A gateway's kernels run elsewhere, and have none.
            connection_file = getattr(kernels.get_kernel(number), "connection_file", "")
            published = read_published(published_path(connection_file)) if connection_file else None
            if published is None:
                continue
            about = {
                "id": number,
                "name": kernel["name"],
                "execution_state": kernel.get("execution_state"),
                "notebook": notebooks.get(number),
                "pid": published["pid"],
            }
            found += [
                {"kernel": about, "written": published.get("written"), "pool": pool}
                for pool in published["pools"]
            ]
        self.finish(json.dumps({"pools": found}))


class PageHandler(JupyterHandler):
    """``GET /wpc-magic/``: a page that shows the pools, and asks for them again every two seconds."""

    auth_resource = "kernels"

    @web.authenticated
    @authorized
    def get(self) -> None:
        """Answer with the page."""
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        self.finish(resources.files("wpc_magic.server").joinpath("static", "pools.html").read_text("utf-8"))


def handlers(base_url: str) -> list[tuple[Any, ...]]:
    """Return the handlers, below the server's own path."""
    root = url_path_join(base_url, "wpc-magic")
    return [
        (url_path_join(root, "api", "pools"), PoolsHandler),
        (root, web.RedirectHandler, {"url": f"{root}/", "permanent": False}),
        (f"{root}/", PageHandler),
    ]
