"""The messages of the call channel: definitions, and what the worker is told once or when it changes.

The main thread handles them between calls. Those of the control channel are in `control`.
"""

from __future__ import annotations

import sys

from wpc_magic.pool.wire import protocol
from wpc_magic.pool.worker import rich_output
from wpc_magic.pool.worker.authkey import take_over_authkey
from wpc_magic.pool.worker.outcomes import described_end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wpc_magic.pool.worker.namespaces import Binding
    from wpc_magic.pool.worker.server import Server

__all__ = ["Messages"]


class Messages:
    """Handles the messages that come between the calls.

    Parameters
    ----------
    server : Server
        The server of the call channel.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        server.runtime.open_shared = self._open_first_shared

    def handle(self, message: Any) -> None:
        """Handle a message, or what was received in its place."""
        server, runtime = self._server, self._server.runtime
        if isinstance(message, protocol.Install):
            self._install(message)
        elif isinstance(message, protocol.Forget):
            runtime.forget(message.epoch)
        elif isinstance(message, protocol.Activate):
            # While coroutines of the old one run, the next call does it: it waits for them.
            if runtime.is_newer(message.epoch) and not server.has_coroutines:
                runtime.activate(message.epoch)
        elif isinstance(message, protocol.HoldFunction):
            server.anonymous.hold(message)
            if message.dropped:
                runtime.cells.collect_if_grown()  # one that calls itself is a cycle
        elif isinstance(message, protocol.KeepValue):
            server.kept.add(message.seq)
        elif isinstance(message, protocol.Trace):
            server.trace = message
        elif isinstance(message, protocol.Setup):
            # Not before our own imports, so that a ``queue.py`` beside the notebook breaks nothing here.
            sys.path[:] = message.path
            runtime.context.worker_id = message.worker_id
            server.pool_name = message.pool
            take_over_authkey(message.authkey)
            server.anonymous.initializer = message.initializer
        elif isinstance(message, protocol.Number):
            runtime.context.worker_id = message.worker_id
            if message.epoch:
                server.outgoing.send_message(protocol.Installed(message.epoch))
        elif isinstance(message, protocol.Blocks):
            server.shared.configure(message.limit, message.in_memory)
            if message.come_later:
                server.shared.wait_for_descriptors(lambda: server.shutting_down)
        elif isinstance(message, protocol.LogLevels):
            rich_output.set_log_levels(message)
        elif isinstance(message, protocol.Shutdown):
            server.shutting_down = True
        else:
            server.outgoing.emit("malformed_parent_message", None, {"what": repr(message)[:200]})

    def _install(self, message: protocol.Install) -> None:
        server, runtime = self._server, self._server.runtime
        answer: protocol.FromWorker = protocol.Installed(message.epoch)
        try:
            runtime.install(message)
        except BaseException as error:
            server.interruption.armed = False  # an interrupt may have prevented it
            answer = protocol.Refused(message.epoch, described_end(error), runtime.installing)
        if type(answer) is protocol.Refused:
            runtime.cells.collect_if_grown()  # what the cell had made before it failed
        server.exit_if_forked(None)
        server.output.flush()
        tainted = server.take_taint()
        if tainted is not None:
            server.outgoing.send_message(tainted)
        server.outgoing.send_message(answer)

    def _open_first_shared(self, record: protocol.Shared) -> Binding:
        from wpc_magic.pool.worker.shared_objects import SharedObjects

        server, runtime = self._server, self._server.runtime
        context = runtime.context
        runtime.open_shared = SharedObjects(server.shared, server.output, server.interruption, context).open
        return runtime.open_shared(record)
