"""Makes and closes the SQLAlchemy engine that a database is in a worker."""

from __future__ import annotations

import os
import weakref

from wpc_magic.pool.errors import CallInterrupted
from wpc_magic.pool.worker.secrets import hide

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wpc_magic.pool.wire.hidden import Hidden

__all__ = ["close_database", "open_database"]

_GONE_MS = 1000  # after which a server looks whether its client is still there
_engines: weakref.WeakSet[Any] = weakref.WeakSet()


def open_database(hidden: Hidden) -> Any:
    """Return an engine that has connected once; for an asynchronous dialect, a coroutine that returns one.

    Parameters
    ----------
    hidden : Hidden
        The URL, the options of ``create_engine``, and what is to be hidden of these.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url

    url, options, secrets = hidden.reveal()
    hide(secrets)
    address = make_url(url)
    options = {"pool_pre_ping": True, **options, "hide_parameters": options.get("hide_parameters", False)}
    if address.get_dialect().is_async:
        return _open_async(address, options)
    engine = create_engine(address, **options)
    _prepare(engine)
    try:
        engine.connect().close()
    except BaseException:
        engine.dispose()
        raise
    return engine


async def _open_async(address: Any, options: dict[str, Any]) -> Any:
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(address, **options)
    _prepare(engine.sync_engine)
    try:
        async with engine.connect():
            pass
    except BaseException:
        await engine.dispose()
        raise
    return engine


def close_database(engine: Any) -> Any:
    """Close all connections of an engine; of an asynchronous one, return a coroutine that does it."""
    return engine.dispose()


def _prepare(engine: Any) -> None:
    """Have a forked process make connections of its own, and a server stop what a call has begun."""
    from sqlalchemy import event

    if not _engines:
        os.register_at_fork(after_in_child=_after_fork)
    _engines.add(engine)
    event.listen(engine.pool, "invalidate", _cancel)
    if engine.dialect.name == "postgresql" and not engine.dialect.is_async:
        event.listen(engine, "connect", _look_for_clients)


def _after_fork() -> None:
    for engine in list(_engines):
        engine.dispose(close=False)


def _cancel(connection: Any, record: Any, error: BaseException | None) -> None:
    """End a statement whose call was stopped: closing the connection would leave it running."""
    if isinstance(error, CallInterrupted):
        cancel = getattr(connection, "cancel", None)
        if cancel is not None:
            try:
                cancel()
            except Exception:  # the server may be gone
                pass


def _look_for_clients(connection: Any, record: Any) -> None:
    """Have the server end the statement of a worker that has died."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET client_connection_check_interval = {_GONE_MS}")
        connection.commit()
    except Exception:  # a server before version 14, or on a system that does not tell
        connection.rollback()
