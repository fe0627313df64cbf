"""The part of the public interface that defines databases: resources that are SQLAlchemy engines."""

from __future__ import annotations

import functools
from typing import Any

from .checks import check_count, check_flag, shown
from .core.snapshot import ResourceInfo
from .database_urls import read_database
from .errors import OptionError
from .options import check_name
from .resources import Resources
from .wire.hidden import Hidden
from .worker.databases import close_database, open_database

__all__ = ["Databases"]


class Databases(Resources):
    """The method of a pool that defines databases."""

    def define_database(
        self, name: str, url: Any, *, eager: bool = False, timeout_ms: int | None = None, **options: Any
    ) -> ResourceInfo:
        """Give each worker an SQLAlchemy engine of its own, as a resource.

        It is connected once when it is made, and each connection is tested before it is used again. A
        statement whose call is stopped, or whose worker dies, is ended on the server where that can be
        (PostgreSQL). A process that a function forks makes connections of its own.

        Nothing shows a password: no repr, event, error of a worker, or export. An export has names of
        environment variables instead.

        Parameters
        ----------
        name : str
            The name in functions.
        url : str
            As SQLAlchemy takes it. ``${NAME}`` in it stands for the environment variable, whose value is
            quoted where it is only a part. If the dialect is asynchronous, so is the engine.
        eager, timeout_ms
            As for `define_worker_resource`.
        **options
            Those of ``create_engine``; ``${NAME}`` in their texts likewise.

        Raises
        ------
        OptionError
            If the URL cannot be read, or an environment variable is not set.
        DefinitionError
            If SQLAlchemy or the driver is not installed; if it is eager, and a worker cannot connect.

        Examples
        --------
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> with WorkerProcedureCall() as pool:
        ...     info = pool.define_database("db", "sqlite://")
        ...     _ = pool.define_worker_function(worker_func='''
        ... import sqlalchemy as sa
        ... def answer():
        ...     with db.connect() as connection:
        ...         return connection.scalar(sa.text("select 6 * 7"))
        ... ''')
        ...     _ = pool.start_workers(1)
        ...     info.made_by, pool.call.answer().result()
        ("create_engine('sqlite://')", 42)
        """
        if not isinstance(url, str) and not hasattr(type(url), "render_as_string"):
            raise OptionError(f"url takes a text, not {shown(url)}")
        url, options = Hidden(url), {"hidden": Hidden(options)}  # no variable of ours has them any more
        check_name(name, "resource name")
        check_flag("eager", eager)
        limit = None if timeout_ms is None else check_count("timeout_ms", timeout_ms)
        database = read_database(name, url, options["hidden"])
        factory = functools.partial(open_database, database.hidden)
        _, drafts = self._resource_drafts(name, factory, close_database, None, None)
        return self._define_resource(name, drafts, "", eager, limit, database.made_by, database)
