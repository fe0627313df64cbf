"""The part of the public interface that defines functions."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from .caching.checks import check_cacheable
from .capture import Capture
from .checks import ErrorKinds, check_callable, check_flag, check_iterable, check_text, shown
from .core.registry import Kind, Record
from .core.snapshot import FunctionInfo
from .doctests import Doctests, doctest_source, free_test_name
from .errors import (
    DefinitionError,
    FunctionNotDefinedError,
    OptionError,
)
from .listing import Listing
from .options import FunctionOptions, check_name
from .signatures import is_exact
from .source.draft import FunctionDraft, draft_cell, draft_function
from .source.missing import Fix
from .wire import protocol

__all__ = ["Functions"]


@dataclasses.dataclass(frozen=True, slots=True)
class _FunctionDetails:
    """What the registry keeps about a function, besides what is sent to workers."""

    info: FunctionInfo
    source: str
    has_exact_signature: bool
    file: str
    first_line: int


class Functions(Doctests):
    """The methods of a pool that manage its functions."""

    def define_worker_function(
        self,
        *,
        worker_func: Callable[..., Any] | str,
        name: str | None = None,
        timeout_ms: int | None = None,
        queue_timeout_ms: int | None = None,
        retries: int = 0,
        retry_on: ErrorKinds | None = None,
        at_most: int | None = None,
        cache: bool = False,
        resources: Mapping[str, float] | str | None = None,
    ) -> FunctionInfo:
        """Define or redefine a function for the workers.

        Parameters
        ----------
        worker_func : callable or str
            The function, or the source of one ``def``.
        name : str, optional
            Its name in ``pool.call``; by default, the function's own.
        timeout_ms, queue_timeout_ms, retries, retry_on, at_most, cache, resources : object
            As in `FunctionOptions`.

        Returns
        -------
        FunctionInfo
            What was registered.

        Raises
        ------
        DefinitionError
            If it does not parse, uses names that the workers do not have, or a worker could not install it.
            Then the previous definition stays in force everywhere.
        OptionError
            If the name or an option is invalid.
        """
        if name is not None:
            check_name(name, "function name")
        options = _options(timeout_ms, queue_timeout_ms, retries, retry_on, at_most, cache, resources)
        return self._define_functions([self._draft(worker_func, name)], options)[0]

    def define_worker_functions(
        self,
        source: str,
        *,
        names: Sequence[str] | None = None,
        look: Callable[[str], Fix | None] | None = None,
        capture: Mapping[str, Any] | None = None,
        test: bool = False,
        timeout_ms: int | None = None,
        queue_timeout_ms: int | None = None,
        retries: int = 0,
        retry_on: ErrorKinds | None = None,
        at_most: int | None = None,
        cache: bool = False,
        resources: Mapping[str, float] | str | None = None,
    ) -> list[FunctionInfo]:
        """Define the functions of a cell: each public top-level ``def``, or those named.

        The whole source becomes one module in the workers, with its imports, helpers and classes.

        Parameters
        ----------
        source : str
            The source of the cell.
        names : sequence of str, optional
            The functions to define.
        look : callable, optional
            Returns what an unknown name refers to where the source was written, so that the error can say
            what to type; `wpc_magic.pool.source.draft.look_in` makes one from a namespace.
        capture : mapping, optional
            Variables, such as ``globals()``. Those that the functions need and the workers lack are defined
            with them: modules, and objects of modules, as dependencies, values of up to 1 MB as constants.
            `FunctionInfo.captured` names them. What was captured before is taken anew.
        test : bool
            Whether the doctests of the source are run in a worker first; if one fails, nothing is defined.
        timeout_ms, queue_timeout_ms, retries, retry_on, at_most, cache, resources : object
            As in `FunctionOptions`, for each function.

        Raises
        ------
        DefinitionError, OptionError
            As for `define_worker_function`; then none of them is defined.
        DoctestError
            If a doctest fails.
        """
        options = _options(timeout_ms, queue_timeout_ms, retries, retry_on, at_most, cache, resources)
        check_flag("test", test)
        if look is not None:
            check_callable("look", look)
        chosen = None if names is None else _check_names(names)

        def draft(
            known: Collection[str],
            look: Callable[[str], Fix | None] | None = look,
            source: str = source,
            chosen: Sequence[str] | None = chosen,
        ) -> list[FunctionDraft]:
            return draft_cell(
                source,
                chosen,
                known=known,
                look=look,
                describe_fix=self.describe_fix,
                pool_name=self.name,
            )

        taken: dict[str, Record] = {}
        if capture is None:
            drafts = draft(self._known())
        else:
            drafts, taken = self._capture(draft, capture)
        doctests = None
        if test:
            self._function_records(drafts, options)  # refuses what cannot be defined
            functions = [each.name for each in drafts]
            name = free_test_name(functions[0])
            tests = draft(
                self._known() | taken.keys(), source=doctest_source(source, name, functions), chosen=[name]
            )
            doctests = self._run_doctests(
                self._function_records(tests, FunctionOptions())[0], taken, functions
            )
        infos = self._define_functions(drafts, options, taken.values(), doctests)
        for record in taken.values():
            if capture is not None and record.kind is Kind.CONSTANT:
                self._simple.keep(record.name, capture[record.name])
        return infos

    def _capture(
        self, draft: Callable[..., list[FunctionDraft]], namespace: object
    ) -> tuple[list[FunctionDraft], dict[str, Record]]:
        if not isinstance(namespace, Mapping):
            raise OptionError(f"capture takes a mapping of names, such as globals(), not {shown(namespace)}")
        with self._driver.reading() as core:
            known, records = core.state.registry.names(), dict(core.state.registry.records)
        found = Capture(namespace, self._driver.changes, self.describe_fix, self._captured)
        return found.draft(draft, known, records)

    def function(self, worker_func: Any = None, /, **options: Any) -> Any:
        """Define the decorated function; the decorator takes options or none.

        The name stays bound to the function itself; ``pool.call`` has the one that runs in workers.

        Parameters
        ----------
        **options
            As for `define_worker_function`.

        Examples
        --------
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> pool = WorkerProcedureCall()
        >>> @pool.function(timeout_ms=500)
        ... def double(x):
        ...     return 2 * x
        >>> pool.call.double
        <registered function double(x)>
        """

        def define(function: Any) -> Any:
            self.define_worker_function(worker_func=function, **options)
            return function

        return define if worker_func is None else define(worker_func)

    def functions(
        self,
        *worker_funcs: Callable[..., Any],
        timeout_ms: int | None = None,
        queue_timeout_ms: int | None = None,
        retries: int = 0,
        retry_on: ErrorKinds | None = None,
        at_most: int | None = None,
        cache: bool = False,
        resources: Mapping[str, float] | str | None = None,
    ) -> list[FunctionInfo]:
        """Define several functions at once, so that they may need each other.

        Parameters
        ----------
        *worker_funcs : callable
            The functions.
        timeout_ms, queue_timeout_ms, retries, retry_on, at_most, cache, resources : object
            As in `FunctionOptions`, for each function.

        Returns
        -------
        list of FunctionInfo
            What was registered, in the order of the functions.

        Raises
        ------
        DefinitionError, OptionError
            As for `define_worker_function`; then none of them is defined.

        Examples
        --------
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> pool = WorkerProcedureCall()
        >>> def is_even(n):
        ...     return n == 0 or is_odd(n - 1)
        >>> def is_odd(n):
        ...     return n != 0 and is_even(n - 1)
        >>> [info.name for info in pool.functions(is_even, is_odd)]
        ['is_even', 'is_odd']
        """
        options = _options(timeout_ms, queue_timeout_ms, retries, retry_on, at_most, cache, resources)
        names = [
            getattr(check_callable("functions", each), "__name__", type(each).__name__)
            for each in worker_funcs
        ]
        if not names:
            raise OptionError(f"functions takes functions: {self.name}.functions(is_even, is_odd)")
        for name in names:
            if names.count(name) > 1:
                raise OptionError(f"two of the functions have the name {shown(name)}")
        drafts = [self._draft(each, None, names) for each in worker_funcs]
        return self._define_functions(drafts, options)

    def _draft(
        self, worker_func: Callable[..., Any] | str, name: str | None, others: Sequence[str] = ()
    ) -> FunctionDraft:
        """Return the draft of one function that is given as an object or as source; `others` come with it."""
        known = self._known() | {*others, *([name] if name else [])}
        if not isinstance(worker_func, str):
            return draft_function(
                worker_func, name, known=known, describe_fix=self.describe_fix, pool_name=self.name
            )
        drafts = draft_cell(
            worker_func,
            None,
            known=known,
            describe_fix=self.describe_fix,
            pool_name=self.name,
            rename=name,
        )
        if len(drafts) != 1:
            names = ", ".join(draft.name for draft in drafts)
            raise DefinitionError(
                f"the text defines {len(drafts)} functions ({names}); "
                f"define_worker_functions takes a text with several"
            )
        return drafts[0]

    def _define_functions(
        self,
        drafts: list[FunctionDraft],
        options: FunctionOptions,
        captured: Iterable[Record] = (),
        doctests: int | None = None,
    ) -> list[FunctionInfo]:
        """Define functions, and what was captured for them."""
        taken = {record.name: record for record in captured}
        self._change([*taken.values(), *self._function_records(drafts, options, taken, doctests)])
        self._captured |= taken.keys()
        return [self._info_of(draft.name) for draft in drafts]

    def _function_records(
        self,
        drafts: list[FunctionDraft],
        options: FunctionOptions,
        captured: Collection[str] = (),
        doctests: int | None = None,
    ) -> list[Record]:
        """Return the definitions that drafts are of."""
        records, numbers = [], self._driver.parts.cell_loads
        if options.cache:
            check_cacheable(drafts)
        loads = {draft.cell: numbers.next_load(draft.cell) for draft in drafts if draft.cell}
        for draft in drafts:
            key = next(numbers.keys)
            cell = loads[draft.cell] if draft.cell else None
            info = FunctionInfo(
                draft.name,
                draft.signature,
                draft.sha1,
                0,
                requires=draft.needs,
                is_async=draft.is_async,
                doc=draft.doc,
                timeout_ms=options.timeout_ms,
                retries=options.retries or None,
                retry_on=options.retry_on,
                at_most=options.at_most,
                cache=bool(options.cache),
                resources=options.resources or None,
                captured=tuple(need for need in draft.needs if need in captured),
                doctests=doctests,
            )
            wire = protocol.Function(
                draft.name,
                key,
                draft.how,
                cell.wire if cell else None,
                draft.path,
                draft.payload,
                draft.wire_needs if draft.how == "pickle" else draft.needs,
            )
            about = _details(draft, info)
            records.append(
                Record(
                    draft.name,
                    Kind.FUNCTION,
                    wire,
                    about,
                    draft.needs,
                    key,
                    draft.is_async,
                    options,
                    options.at_most,
                    cell=cell,
                )
            )
            if draft.cell is not None:
                self._local.add_cell(draft.cell)
                self.when_cell_added(draft.cell.filename)
        return records

    def undefine_worker_function(self, *, name: str) -> None:
        """Remove a function; running calls of it continue.

        Raises
        ------
        FunctionNotDefinedError
            If there is none of that name.
        """
        self._remove(name, Kind.FUNCTION, FunctionNotDefinedError)

    undefine_woker_function = undefine_worker_function
    """The original documents this misspelling."""

    def get_remote_functions(self) -> list[FunctionInfo]:
        """Return the description of each function, sorted by name."""
        return Listing(self._infos(Kind.FUNCTION), "function")

    def referenced_modules(self) -> dict[str, str]:
        """Return the modules of the functions that workers import, by the functions' names."""
        with self._driver.reading() as core:
            records = list(core.state.registry.of_kind(Kind.FUNCTION))
        return {each.name: each.wire.payload.decode() for each in records if each.wire.how == "module"}

    def refer_again(self, name: str) -> None:
        """Define a function that workers import again, as its module has it here now.

        Raises
        ------
        DefinitionError
            If workers do not import it, or its module does not have it any more.
        """
        record = self._function(name)
        if record.wire.how != "module":
            raise DefinitionError(f"{name} is no function of a module that workers import")
        found: Any = sys.modules.get(record.wire.payload.decode())
        for part in record.wire.path.split("."):
            found = getattr(found, part, None)
        if found is None:
            raise DefinitionError(f"the module of {name} does not have it any more")
        options = dataclasses.asdict(record.options) | {"at_most": record.at_most}
        self._define_functions([self._draft(found, name)], FunctionOptions(**options))

    def local_function(self, name: str) -> Callable[..., Any]:
        """Return a registered function, to be called in this process."""
        return self._local.function(self._function(name).key)

    def local_module(self, name: str) -> Any:
        """Return the module of a registered function in this process; a cell is run here on first use."""
        return self._local.module(self._function(name).wire)

    def _function(self, name: str) -> Record:
        return self._record(name, Kind.FUNCTION, FunctionNotDefinedError)

    def describe(self, name: str) -> Any:
        """Return what is known of a function: its `info`, `source`, and place; None if there is none."""
        record = self._driver.core.state.registry.records.get(name)
        return record.about if record is not None and record.kind is Kind.FUNCTION else None


def _options(
    timeout_ms: int | None,
    queue_timeout_ms: int | None,
    retries: int,
    retry_on: ErrorKinds | None,
    at_most: int | None,
    cache: bool,
    resources: Mapping[str, float] | str | None,
) -> FunctionOptions:
    return FunctionOptions(
        timeout_ms=timeout_ms,
        queue_timeout_ms=queue_timeout_ms,
        retries=retries,
        retry_on=retry_on,
        at_most=at_most,
        cache=cache,
        resources=resources,
    )


def _details(draft: FunctionDraft, info: FunctionInfo) -> _FunctionDetails:
    """Return what the registry keeps about a function."""
    is_exact_text = is_exact(draft.path, draft.source, draft.cell.source if draft.cell is not None else "")
    # Whether a decorated function still yields is not known.
    yields = draft.is_generator and (is_exact_text or draft.cell is None)
    if yields:
        info = dataclasses.replace(info, is_generator=True)
    return _FunctionDetails(info, draft.source, is_exact_text, draft.file, draft.first_line)


def _check_names(names: Sequence[str]) -> list[str]:
    if isinstance(names, str):  # is a sequence of strings, too, but not one of names
        raise OptionError(f"names takes a sequence of names, not {shown(names)}")
    return [check_text("names", name) for name in check_iterable("names", names)]
