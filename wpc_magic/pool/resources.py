"""The part of the public interface that defines resources: one object for each worker, made there."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .checks import check_callable, check_count, check_flag, shown
from .core.registry import Kind, Record
from .core.snapshot import ResourceInfo
from .database_urls import Database
from .errors import DefinitionError, OptionError, RequirementMissingError
from .functions import Functions
from .listing import Listing
from .options import PRIVATE, FunctionOptions, check_name
from .source.draft import FunctionDraft, draft_cell, draft_function
from .source.missing import Fix
from .source.syntax import normalise, parse
from .source.text import unindent
from .wire import protocol

__all__ = ["ResourceDetails", "Resources"]

_ROLES = ("make", "close", "check")


@dataclasses.dataclass(frozen=True, slots=True)
class ResourceDetails:
    """What the registry keeps about a resource.

    Parameters
    ----------
    info : ResourceInfo
        What the getters return.
    functions : mapping
        The functions that make, close and check it, as they were registered, by what they do.
    source : str
        The text that defines all of them; empty: they were given one by one.
    database : Database or None
        What `define_database` was given, without anything secret.
    """

    info: ResourceInfo
    functions: Mapping[str, Record]
    source: str
    database: Database | None = None


class Resources(Functions):
    """The methods of a pool that manage its resources."""

    def define_worker_resource(
        self,
        name: str,
        factory: Callable[[], Any] | str,
        close: Callable[[Any], Any] | str | None = None,
        check: Callable[[Any], Any] | str | None = None,
        *,
        eager: bool = False,
        timeout_ms: int | None = None,
        look: Callable[[str], Fix | None] | None = None,
    ) -> ResourceInfo:
        r'''Give each worker an object of its own: a model, a connection, a client.

        Its name stands for the object in functions, as that of a constant does. A worker makes it for the
        first call whose function names it, also through other functions; that is no part of the call's time.
        It is closed when it is defined anew, or something that its code needs is; when it is undefined; and
        when the worker ends. A worker that replaces another one makes its own.

        Parameters
        ----------
        name : str
            The name in functions.
        factory : callable or str
            Returns the object; it may be an ``async def``, which is awaited on the event loop of the worker.
            It may need whatever functions may need, also other resources. As a text, it is a function; or it
            defines ``make()``, and maybe ``close(x)`` and ``check(x)``.
        close, check : callable or str, optional
            Given the object, closes it; returns False, or raises, if it does not work any more: it is called
            before each call, and then the object is made again.
        eager : bool
            Whether each worker makes it when it starts, or when this is called, and not for the first call.
            If a worker cannot, nothing is defined; the object that was there before is closed after that.
        timeout_ms : int, optional
            How long each of them may take; by default any time, and 10 s for `close`.
        look : callable, optional
            As for `define_worker_functions`.

        Raises
        ------
        DefinitionError, OptionError
            As for `define_worker_function`.

        Examples
        --------
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> with WorkerProcedureCall() as pool:
        ...     info = pool.define_worker_resource("db", """
        ... import sqlite3
        ... def make(): return sqlite3.connect(":memory:")
        ... def close(db): db.close()
        ... """)
        ...     source = "def one(): return db.execute('select 1').fetchone()"
        ...     _ = pool.define_worker_function(worker_func=source)
        ...     _ = pool.start_workers(1)
        ...     info.is_closed, pool.call.one().result()
        (True, (1,))
        '''
        check_name(name, "resource name")
        check_flag("eager", eager)
        limit = None if timeout_ms is None else check_count("timeout_ms", timeout_ms)
        if look is not None:
            check_callable("look", look)
        source, drafts = self._resource_drafts(name, factory, close, check, look)
        made_by = _made_by(drafts["make"], factory)
        return self._define_resource(name, drafts, source, eager, limit, made_by)

    def _define_resource(
        self,
        name: str,
        drafts: Mapping[str, FunctionDraft],
        source: str,
        eager: bool,
        timeout_ms: int | None,
        made_by: str,
        database: Database | None = None,
    ) -> ResourceInfo:
        """Define a resource, given the drafts of its functions by what they do."""
        made = self._function_records(list(drafts.values()), FunctionOptions())
        functions = dict(zip(drafts, made, strict=True))
        make, end, test = (_private(role, name) if role in drafts else "" for role in _ROLES)
        wire = protocol.Resource(name, make, end, test, eager, timeout_ms or 0)
        info = ResourceInfo(
            name,
            0,
            made_by,
            tuple(sorted({need for draft in drafts.values() for need in draft.needs})),
            eager,
            timeout_ms,
            "close" in drafts,
            "check" in drafts,
            drafts["make"].is_async or (database is not None and database.is_async),
        )
        about = ResourceDetails(info, functions, source, database)
        needs = tuple(record.name for record in made)
        record = Record(name, Kind.RESOURCE, wire, about, needs)
        removed = [each for each in self._own_functions(name) if each not in needs]
        self._change([*made, record], removed, what=name)
        found: ResourceInfo = self._info_of(name)
        return found

    def _resource_drafts(
        self, name: str, factory: Any, close: Any, check: Any, look: Callable[[str], Fix | None] | None
    ) -> tuple[str, dict[str, FunctionDraft]]:
        """Return the text that defines all functions of a resource, if there is one, and their drafts."""
        known = self._known() | {name}
        if isinstance(factory, str):
            source = unindent(normalise(factory))
            there = _functions_in(source)
            if "make" in there:
                if not (close is None and check is None):
                    raise OptionError("a text that defines make() defines close(x) and check(x), too")
                roles = [role for role in _ROLES if role in there]
                drafts = draft_cell(
                    source,
                    roles,
                    known=known,
                    look=look,
                    describe_fix=self.describe_fix,
                    pool_name=self.name,
                )
                found = {draft.path: draft for draft in drafts}  # in the order of the text
                return source, dict(_renamed(roles, [found[role] for role in roles], name))
        given = {"make": factory, "close": close, "check": check}
        roles = [role for role, function in given.items() if function is not None or role == "make"]
        drafts = [self._role_draft(role, given[role], _private(role, name), known) for role in roles]
        return "", dict(_renamed(roles, drafts, name))

    def _role_draft(self, role: str, function: Any, name: str, known: set[str]) -> FunctionDraft:
        if isinstance(function, str):
            if len(_functions_in(unindent(normalise(function)))) != 1 and role == "make":
                raise DefinitionError(
                    "the text of a resource defines one function, or make(), and maybe close(x) and check(x)"
                )
            return self._draft(function, name)
        if not callable(function):
            what = "factory" if role == "make" else role
            raise OptionError(f"{what} takes a function, or its text, not {shown(function)}")
        return draft_function(
            function, name, known=known, describe_fix=self.describe_fix, pool_name=self.name
        )

    def undefine_worker_resource(self, *, name: str) -> None:
        """Remove a resource, and close it; functions that need it are refused from now on.

        Raises
        ------
        RequirementMissingError
            If there is none of that name.
        """
        self._record(name, Kind.RESOURCE, RequirementMissingError)
        self._change([], [name, *self._own_functions(name)], what=name)

    def _own_functions(self, name: str) -> list[str]:
        with self._driver.reading() as core:
            records = core.state.registry.records
            return [each for each in (_private(role, name) for role in _ROLES) if each in records]

    def resource_source(self, name: str) -> str:
        """Return the text of a resource; of one whose functions were given, theirs, where these have any.

        Raises
        ------
        RequirementMissingError
            If there is none of that name.
        """
        about: ResourceDetails = self._record(name, Kind.RESOURCE, RequirementMissingError).about
        if about.database is not None:
            return about.database.made_by
        texts = [record.about.source.strip("\n") for record in about.functions.values()]
        return about.source or "\n\n".join(text for text in texts if text)

    def get_worker_resources(self) -> list[ResourceInfo]:
        """Return the description of each resource, without the objects, sorted by name."""
        return Listing(self._infos(Kind.RESOURCE), "resource")


def _private(role: str, name: str) -> str:
    """Return the name of a function of a resource in the registry."""
    return f"{PRIVATE}resource_{role}_{name}"


def _renamed(roles: list[str], drafts: list[FunctionDraft], name: str) -> Iterator[tuple[str, FunctionDraft]]:
    for role, draft in zip(roles, drafts, strict=True):
        private = _private(role, name)
        needs = tuple(need for need in draft.needs if need not in (private, name))
        yield role, dataclasses.replace(draft, name=private, needs=needs)


def _functions_in(source: str) -> list[str]:
    """Return the names of the functions at the top level of a text."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node.name for node in parse(source).body if isinstance(node, kinds)]


def _made_by(draft: FunctionDraft, factory: object) -> str:
    """Return what makes a resource, as text."""
    own = getattr(factory, "__name__", None)
    name = own if isinstance(own, str) else draft.path or "make"
    return f"{name}()"
