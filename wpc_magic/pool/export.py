"""Writes the definitions of a pool as a plain Python module, which makes the same pool without a notebook.

The sources of cells stand in it as they were written. A constant stands as its value where that can be read
back, and as a pickle else. Definitions come after what they need; functions that need each other are first
declared as placeholders.
"""

from __future__ import annotations

import ast
import base64
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from .core.registry import Kind, Record
from .errors import DefinitionError
from .worker.cells import PREFIX

__all__ = ["module_text"]

_HEAD = '''"""Functions for worker processes, and what they need.

    from {module} import build_pool

    with build_pool() as pool:
        pool.start_workers()
        pool.call.{example}(...).result()
"""

{imports}
Pool = WorkerProcedureCall  # for annotations: where a stub lies beside this module, it knows the functions


def build_pool(**options):
    """Return a pool with all of this defined; the options are those of WorkerProcedureCall."""
    pool = WorkerProcedureCall(**{pool_options})
    define(pool)
    return pool


def define(pool):
    """Define all of this in a pool."""
'''
_UNPICKLE = """

def _unpickled(text):
    return pickle.loads(zlib.decompress(base64.b85decode(text)))
"""
_WIDTH = 100
_LARGE = 1 << 20


def module_text(
    records: Iterable[Record],
    value_of: Callable[[Record], Any],
    pool_options: Mapping[str, Any],
    module: str = "pipeline",
    seed: int | None = None,
    large: bool = False,
) -> str:
    """Return the text of a module that defines the same.

    Its ``build_pool(**options)`` returns a new pool, and its ``define(pool)`` adds the definitions to one.

    Parameters
    ----------
    records : iterable of Record
        The definitions.
    value_of : callable
        Returns the value of a constant, a shared object, or the function that was sent by value.
    pool_options : mapping
        The options of the pool that are not the default ones.
    module : str
        The name of the module, for the example in its docstring.
    seed : int, optional
        The seed of the pool.
    large : bool
        Whether a value may have more than 1 MB.

    Raises
    ------
    DefinitionError
        If a value cannot be written down, or is large.
    """
    every = sorted(records, key=lambda record: record.name)
    for record in [] if large else every:
        _check_size(record)
    statements = [_setup(record) for record in every if record.kind is Kind.SETUP]
    statements += [_dependency(record) for record in every if record.kind is Kind.DEPENDENCY]
    statements += [
        _constant(record.name, value_of(record)) for record in every if record.kind is Kind.CONSTANT
    ]
    statements += [_shared(record, value_of(record)) for record in every if record.kind is Kind.SHARED]
    functions = [record for record in every if record.kind is Kind.FUNCTION]
    resources = [record for record in every if record.kind is Kind.RESOURCE]
    statements += _functions([*functions, *resources], value_of)
    statements += [f"pool.seed({seed})"] if seed is not None else []
    body = "\n".join(statements) or "pass"
    is_pickled = "_unpickled(" in body
    imports = ["import base64", "import pickle", "import zlib"] if is_pickled else []
    own = chain(functions, *(each.about.functions.values() for each in resources if not each.about.database))
    modules = {record.wire.payload.decode() for record in own if record.wire.how == "module"}
    imports += [f"import {name}" for name in sorted(modules) if name not in ("base64", "pickle", "zlib")]
    given = "".join(f"{name!r}: {value!r}, " for name, value in pool_options.items())
    head = _HEAD.format(
        module=module,
        example=functions[0].name if functions else "NAME",
        imports="".join(f"{line}\n" for line in sorted(imports)) + ("\n" if imports else "") + _IMPORT,
        pool_options=f"{{{given}**options}}" if given else "options",
    )
    return head + _indented(body) + "\n" + (_UNPICKLE if is_pickled else "")


def _check_size(record: Record) -> None:
    """Refuse a value that makes a module slow to write, read and load."""
    size = record.about.nbytes if record.kind is Kind.CONSTANT or _is_array(record) else 0
    if size > _LARGE:
        raise DefinitionError(
            f"{record.name} has {size / (1 << 20):,.1f} MB, too much for a module. Let a cell load it "
            f"from a file, {record.name} = ... at its top level; or write it all the same: large=True, "
            "%wpc_export --large"
        )


def _is_array(record: Record) -> bool:
    return record.kind is Kind.SHARED and bool(record.about.kind == "array")


_IMPORT = "from wpc_magic.pool import WorkerProcedureCall\n"


def _indented(body: str) -> str:
    """Indent statements, but not the lines of the texts in them."""
    lines = body.split("\n")
    inside = {
        line
        for node in ast.walk(ast.parse(body))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for line in range(node.lineno, node.end_lineno or node.lineno)
    }
    return "\n".join(
        line if number in inside or not line else f"    {line}" for number, line in enumerate(lines)
    )


def _setup(record: Record) -> str:
    return f"pool.define_worker_setup(\n    {_literal(record.about.source)}\n)"


def _dependency(record: Record) -> str:
    about = record.about
    arguments = [f"alias={about.alias!r}", f"module_specifier={about.module_specifier!r}"]
    if about.export_name is not None:
        arguments.append(f"export_name={about.export_name!r}")
    if about.is_default_export:
        arguments.append("is_default_export=True")
    return f"pool.define_worker_dependency({', '.join(arguments)})"


def _constant(name: str, value: Any) -> str:
    text = repr(value) if _is_literal(value) else _pickled(name, value)
    return f"pool.define_worker_constant(\n    name={name!r},\n    value={text},\n)"


def _shared(record: Record, value: Any) -> str:
    """Return the definition of a shared object, with what is in it now; a queue begins empty."""
    if record.about.kind == "queue":
        sizes = f"maxsize={value.maxsize}, max_bytes={value.max_bytes}"
        return f"pool.shared_queue({record.name!r}, {sizes})"
    if record.about.kind == "counter":
        return f"pool.shared_counter({record.name!r}, {value.value})"
    return f"pool.shared({record.name!r}, {_pickled(record.name, value.copy())})"


def _is_literal(value: Any, depth: int = 20) -> bool:
    """Return whether ``repr`` is Python that gives the same value."""
    kind = type(value)
    if value is None or kind in (bool, int, str, bytes):
        return True
    if kind is float:
        return bool(value - value == 0)  # neither infinite nor NaN
    if not depth or (kind is set and not value):
        return False
    if kind in (list, tuple, set):
        return all(_is_literal(item, depth - 1) for item in value)
    return kind is dict and all(_is_literal(item, depth - 1) for item in (*value.keys(), *value.values()))


def _pickled(name: str, value: Any) -> str:
    import cloudpickle

    data = cloudpickle.dumps(value)
    if PREFIX.encode() in data:
        raise DefinitionError(
            f"{name} holds an object of a class that a cell defines, which a module cannot write down. "
            f"Let the cell make it: {name} = ... at its top level"
        )
    text = base64.b85encode(zlib.compress(data)).decode()
    if len(text) <= _WIDTH:
        return f"_unpickled({text!r})"
    lines = [text[at : at + _WIDTH] for at in range(0, len(text), _WIDTH)]
    return "_unpickled(\n        " + "\n        ".join(map(repr, lines)) + "\n    )"


def _functions(records: list[Record], value_of: Callable[[Record], Any]) -> Iterator[str]:
    """Yield the definitions of functions, each after those that it needs."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.cell.module if record.cell is not None else record.name, []).append(record)
    group_of = {record.name: key for key, group in groups.items() for record in group}
    done: set[str] = set()
    while groups:
        ready = [key for key, group in groups.items() if not _needs(group) & (group_of.keys() - done)]
        if not ready:  # each of them needs another one
            waited_for = {need for group in groups.values() for need in _needs(group) if need not in done}
            # Of a circle, a function: its placeholder needs nothing.
            functions = (each.name for each in records if each.kind is Kind.FUNCTION)
            name = min(name for name in functions if name in waited_for)
            yield f'pool.define_worker_functions("def {name}(*args, **kwargs): pass  # it follows")'
            done.add(name)
            continue
        for key in ready:
            group = groups.pop(key)
            yield from _group(group, value_of)
            done.update(record.name for record in group)


def _needs(group: list[Record]) -> set[str]:
    every = chain(*([each, *each.about.functions.values()] for each in group if each.kind is Kind.RESOURCE))
    return {need for record in (*group, *every) for need in record.needs} - {record.name for record in group}


def _group(group: list[Record], value_of: Callable[[Record], Any]) -> Iterator[str]:
    """Yield the definitions of the functions of one cell, or of one function outside any."""
    first = group[0]
    if first.kind is Kind.RESOURCE:
        yield _resource(first, value_of)
        return
    if first.cell is not None:
        source, plain = _literal(first.cell.wire.source), [r for r in group if r.wire.path == r.name]
        if plain:
            names = [record.name for record in plain]
            options = _options(plain[0])
            yield f"pool.define_worker_functions(\n    {source},\n    names={names!r},{options}\n)"
        for record in group:
            if record not in plain:
                yield _function(record, source)
        return
    for record in group:
        if record.wire.how == "module":
            yield _function(record, f"{record.wire.payload.decode()}.{record.wire.path}")
        else:
            yield _function(record, _pickled(record.name, value_of(record)))


def _resource(record: Record, value_of: Callable[[Record], Any]) -> str:
    about = record.about
    if about.database is not None:
        return _database(record)
    parts = [f"name={record.name!r}"]
    if about.source:
        parts.append(f"factory={_literal(about.source)}")
    else:
        for role, function in about.functions.items():
            parts.append(f"{'factory' if role == 'make' else role}={_callable(function, value_of)}")
    parts += ["eager=True"] if about.info.eager else []
    parts += [f"timeout_ms={about.info.timeout_ms}"] if about.info.timeout_ms else []
    return "pool.define_worker_resource(\n    " + ",\n    ".join(parts) + ",\n)"


def _database(record: Record) -> str:
    """Return the definition of a database, with names of environment variables instead of what is secret."""
    info, database = record.about.info, record.about.database
    parts = [repr(record.name), repr(database.template)]
    parts += ["eager=True"] if info.eager else []
    parts += [f"timeout_ms={info.timeout_ms}"] if info.timeout_ms else []
    for name, value in database.options.items():
        text = repr(value) if _is_literal(value) else _pickled(f"{name} of {record.name}", value)
        parts.append(f"{name}={text}")
    needed = [f"# {', '.join(database.variables)}: not written down, to be set in the environment\n"]
    return "".join(needed if database.variables else []) + f"pool.define_database({', '.join(parts)})"


def _callable(record: Record, value_of: Callable[[Record], Any]) -> str:
    """Return what stands for one function: its text, its place in a module, or its pickle."""
    if record.cell is not None:
        return _literal(record.cell.wire.source)
    if record.wire.how == "module":
        return f"{record.wire.payload.decode()}.{record.wire.path}"
    return _pickled(record.name, value_of(record))


def _function(record: Record, what: str) -> str:
    options = _options(record)
    return f"pool.define_worker_function(\n    worker_func={what},\n    name={record.name!r},{options}\n)"


def _options(record: Record) -> str:
    options = record.options
    given = {
        "timeout_ms": options.timeout_ms,
        "queue_timeout_ms": options.queue_timeout_ms,
        "retries": options.retries or None,
        "retry_on": options.retry_on or None,
        "at_most": record.at_most,
        "cache": options.cache or None,
        "resources": options.resources or None,
    }
    return "".join(f"\n    {name}={value!r}," for name, value in given.items() if value is not None)


def _literal(source: str) -> str:
    """Return a text as Python, readable where that is possible."""
    for quotes in ("'''", '"""'):
        text = f"r{quotes}{source}{quotes}"
        try:
            if ast.literal_eval(text) == source and source.encode():
                return text
        except (SyntaxError, ValueError):  # it has such quotes itself, or what no file can have
            pass
    return repr(source)
