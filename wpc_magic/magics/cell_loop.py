"""A cell that runs once for each item, in all workers."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from wpc_magic.pool.errors import WpcError
from wpc_magic.pool.options import PRIVATE

from .background import define_body, free_name, read_body
from .evaluation import constant_value
from .parsing import UsageMistake
from .taken import Taken, take

if TYPE_CHECKING:
    from wpc_magic.pool import WorkerProcedureCall
    from wpc_magic.pool.source.cell_call import CellBody

    from .session import Session

__all__ = ["Loop", "parse_loop", "run_for_each"]

_EXAMPLE = "Type for example: %%wpc_for x in xs -o results"
_STORE = re.compile(r"\s(?:-o|--store)[\s=]+(\w+)$")
_KEEP_GOING = re.compile(r"\s--keep-going$")


class Loop(NamedTuple):
    """What stands behind ``for``.

    Parameters
    ----------
    names : tuple of str
        The variables.
    is_unpacked : bool
        Whether each item is unpacked into them.
    items : str
        The expression of the items.
    """

    names: tuple[str, ...]
    is_unpacked: bool
    items: str


def parse_loop(text: str) -> tuple[Loop, str | None, bool]:
    """Return the loop of a line, the variable of ``-o``, and whether ``--keep-going`` is there.

    Raises
    ------
    UsageMistake
        If it is not what may stand behind ``for``.

    Examples
    --------
    >>> parse_loop("x, y in zip(xs, ys) --keep-going -o sums")
    (Loop(names=('x', 'y'), is_unpacked=True, items='zip(xs, ys)'), 'sums', True)
    """
    text, store, keep_going = text.strip().removesuffix(":"), None, False
    while True:
        if found := _STORE.search(text):
            text, store = text[: found.start()], found[1]
        elif found := _KEEP_GOING.search(text):
            text, keep_going = text[: found.start()], True
        else:
            break
    text = text.strip().removesuffix(":")
    try:
        tree = ast.parse(f"for {text}: pass").body
    except SyntaxError:
        tree = []
    if len(tree) != 1 or not isinstance(tree[0], ast.For):
        raise UsageMistake(f"{text!r} is not what stands behind for. {_EXAMPLE}")
    target = tree[0].target
    targets = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
    names = tuple(each.id for each in targets if isinstance(each, ast.Name))
    if len(names) < len(targets) or len(set(names)) < len(names):
        raise UsageMistake(f"the variables are names, one or several. {_EXAMPLE}")
    return Loop(names, isinstance(target, ast.Tuple | ast.List), ast.unparse(tree[0].iter)), store, keep_going


def run_for_each(
    session: Session,
    source: str,
    loop: Loop,
    namespace: dict[str, Any],
    number: int,
    say: Callable[[str], object],
    *,
    keep_going: bool,
    **options: int | None,
) -> tuple[list[Any], bool]:
    """Run a cell once for each item in all workers.

    Returns
    -------
    values : list
        The values in the order of the items.
    is_worth_showing : bool
        Whether the cell has values.

    Parameters
    ----------
    session : Session
        Makes the calls.
    source : str
        The text of the cell, with as many lines above it as in the editor.
    loop : Loop
        The items.
    namespace : mapping
        The notebook's variables.
    number : int
        The number of the cell.
    say : callable
        Prints a line.
    keep_going : bool
        Whether the exception of an item that fails stands in its place, instead of ending it all.
    **options
        Those of a map.
    """
    __tracebackhide__ = True
    body = read_body(source)
    _check_independent(body, loop)
    items = constant_value("for", loop.items, namespace)
    columns = _columns(items, loop) if loop.is_unpacked else [items]
    if loop.is_unpacked and not columns[0]:
        return [], True
    pool = session.pool
    taken = take(body, namespace, pool.defined_names(), loop.names)
    private = _Private(pool, free_name(pool, number))
    try:
        private.define(body, loop, taken, namespace)
        if line := str(taken):
            say(line)
        values = session.map_over(private.name, columns, keep_going, kwargs=None, star=False, **options)
        return values, body.has_value or any(value is not None for value in values)
    finally:
        private.undefine()


def _check_independent(body: CellBody, loop: Loop) -> None:
    for name in body.reads:
        if name in body.bound and name not in loop.names:
            raise UsageMistake(
                f"the cell changes {name} from item to item, but items run at the same time. Let the last "
                f"line be the value of an item, and put the values together afterwards"
            )


def _columns(items: Any, loop: Loop) -> list[Any]:
    columns: list[list[Any]] = [[] for _ in loop.names]
    for at, item in enumerate(items):
        values = tuple(item)
        if len(values) != len(columns):
            raise UsageMistake(f"item {at} has {len(values)} values for {', '.join(loop.names)}")
        for column, value in zip(columns, values, strict=True):
            column.append(value)
    return columns


class _Private:
    """The definitions of one such cell: a function, and what it takes along, sent to each worker once."""

    def __init__(self, pool: WorkerProcedureCall, name: str) -> None:
        self.name = name
        self._pool = pool
        self._undo: list[Callable[[], object]] = []

    def define(self, body: CellBody, loop: Loop, taken: Taken, namespace: Mapping[str, Any]) -> None:
        """Define them in the pool."""
        pool = self._pool
        defaults = {each: f"{PRIVATE}of_{self.name[len(PRIVATE) :]}_{each}" for each in taken.values}
        for each, value in taken.values.items():
            name = defaults[each]
            if isinstance(value, ModuleType):
                pool.define_worker_dependency(alias=name, module_specifier=value.__name__)
                self._undo.append(partial(pool.undefine_worker_dependency, alias=name))
            else:
                pool.define_worker_constant(name=name, value=value)
                self._undo.append(partial(pool.undefine_worker_constant, name=name))
        source = body.as_function(self.name, list(taken.values), (), loop.names, defaults)
        define_body(pool, self.name, source, body, namespace)
        self._undo.append(partial(pool.undefine_worker_function, name=self.name))

    def undefine(self) -> None:
        """Remove them."""
        while self._undo:
            try:
                self._undo.pop()()
            except WpcError:  # the pool is gone
                pass
