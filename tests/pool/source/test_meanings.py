"""Names that mean in a worker what they mean where the function was written, or are refused."""

from __future__ import annotations

import builtins
import math
import sys
from textwrap import dedent
from typing import Any

import pytest
from IPython.core.autocall import ExitAutocall
from IPython.core.interactiveshell import _modified_open

from wpc_magic.magics.fixes import magic_line
from wpc_magic.pool.errors import UnknownNameError
from wpc_magic.pool.source.cell import analyse
from wpc_magic.pool.source.draft import FunctionDraft, draft_cell, draft_function, look_in
from wpc_magic.pool.worker.cells import PREFIX, load_cell


@pytest.fixture(autouse=True)
def no_modules_left():
    yield
    for name in [name for name in sys.modules if name.startswith(PREFIX)]:
        del sys.modules[name]


def complaint(source: str, namespace: dict[str, Any], **options: Any) -> str:
    """Return why a cell is refused; an empty text if it is not."""
    try:
        analyse(dedent(source), look=look_in(namespace), describe_fix=magic_line, **options)
    except UnknownNameError as error:
        return str(error)
    return ""


def as_notebook(source: str, **names: Any) -> Any:
    """Return the function `f` of a text that has no lines, as of another place."""
    exec(compile(dedent(source), "<string>", "exec"), names)
    return names["f"]


# -- names of builtins ----------------------------------------------------------------------------------


def test_a_builtin_that_the_notebook_has_replaced_by_a_star_import_is_refused_with_the_line_to_type():
    namespace: dict[str, Any] = {}
    exec("from numpy import *", namespace)
    assert complaint("def total(a): return sum(a)", namespace) == (
        "total uses 'sum' (line 1), which is another thing here than in the workers. "
        "Type: %wpc_dep from numpy import sum"
    )


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("pow", math.pow, "%wpc_dep from math import pow"),
        ("max", 10, "%wpc_const max"),
        ("range", (1, 2), "%wpc_const range"),
        ("open", __import__("codecs").open, "%wpc_dep from codecs import open"),
        ("filter", lambda x: x, "%wpc_const filter"),
        ("ConnectionError", KeyError, "%wpc_dep from builtins import KeyError as ConnectionError"),
        ("id", None, "%wpc_const id"),
        ("exit", 3, "%wpc_const exit"),
    ],
)
def test_each_builtin_that_has_another_value_here_is_unknown(name, value, line):
    assert complaint(f"def f(): return {name}(1)", {name: value}).endswith(f"Type: {line}")
    assert complaint(f"def f(x={name}): return x", {name: value}).endswith(f"Type: {line}")


def test_a_registered_name_is_known_whatever_the_notebook_has():
    assert complaint("def f(a): return sum(a)", {"sum": math.fsum}, known=["sum"]) == ""
    assert analyse("def f(a): return sum(a)", known=["sum"]).needs == ("sum",)


def test_what_the_cell_binds_itself_is_its_own():
    assert complaint("from math import fsum as sum\ndef f(a): return sum(a)", {"sum": 1}) == ""
    assert complaint("def f(max): return max", {"max": 1}) == ""


def test_the_same_object_under_its_own_name_is_the_builtin():
    namespace: dict[str, Any] = {}
    exec("from builtins import *", namespace)
    assert complaint("def f(a): return sum(a), open(a), ValueError", namespace) == ""


def test_what_ipython_has_put_in_the_place_of_a_builtin_is_not_the_users():
    namespace = {"open": _modified_open, "exit": ExitAutocall(), "quit": ExitAutocall()}
    assert namespace["open"] is not builtins.open
    assert complaint("def f(): return open, exit, quit", namespace) == ""


def test_a_name_that_the_pool_gives_to_all_functions_cannot_mean_something_else():
    assert complaint("def f(): return context", {"context": "train"}) == (
        "f uses 'context' (line 1), which is another thing here than in the workers. "
        "In workers, context is what the pool gives to every function: choose another name."
    )
    assert complaint("def f(): return wpc_constant('K')", {"wpc_constant": lambda name: 1}, known=["K"]) == ""


def test_a_function_object_that_reads_a_replaced_builtin_is_refused(tmp_path, monkeypatch):
    (tmp_path / "script_of_sums.py").write_text("def f(a): return sum(a)\n")
    names: dict[str, Any] = {"sum": math.fsum, "__name__": "__main__"}
    exec(compile("def f(a): return sum(a)\n", str(tmp_path / "script_of_sums.py"), "exec"), names)
    with pytest.raises(UnknownNameError, match="%wpc_dep from math import fsum as sum"):
        draft_function(names["f"], describe_fix=magic_line)


# -- __file__ -------------------------------------------------------------------------------------------


def script(tmp_path, source: str, name: str = "job.py") -> Any:
    path = tmp_path / name
    path.write_text(source)
    names: dict[str, Any] = {"__name__": "__main__", "__file__": str(path)}
    exec(compile(source, str(path), "exec"), names)
    return names["f"]


def load(draft: FunctionDraft) -> Any:
    assert draft.cell is not None
    module, _ = load_cell(draft.cell, {})
    return module.f


def test_the_file_of_a_function_of_a_script_is_that_script(tmp_path):
    draft = draft_function(script(tmp_path, "def f(): return __file__\n"))
    assert draft.cell is not None
    assert draft.cell.file == str(tmp_path / "job.py")
    assert load(draft)() == str(tmp_path / "job.py")


def test_equal_functions_of_two_scripts_are_two_modules_where_they_read_the_file(tmp_path):
    for source, count in (("def f(): return __file__\n", 2), ("def f(): return 1\n", 1)):
        drafts = [draft_function(script(tmp_path, source, name)) for name in ("one.py", "two.py")]
        assert len({draft.cell.module for draft in drafts if draft.cell}) == count


def test_a_cell_has_no_file_and_says_what_to_do():
    with pytest.raises(UnknownNameError) as caught:
        draft_cell("from pathlib import Path\ndef f(): return Path(__file__).parent")
    assert str(caught.value) == (
        "f uses '__file__' (line 2), which the workers don't have. "
        "A cell has no file: pass the path as an argument, or register it as a constant."
    )


def test_a_function_without_file_and_without_source_has_none_either():
    with pytest.raises(UnknownNameError, match="A cell has no file"):
        draft_function(as_notebook("def f(): return __file__"))


def test_a_cell_that_handles_having_no_file_does_so_in_a_worker_too():
    cell = "try:\n    WHERE = __file__\nexcept NameError:\n    WHERE = 'here'\ndef f(): return WHERE"
    [draft] = draft_cell(cell)
    assert load(draft)() == "here"


def test_a_cell_that_has_its_own_name_for_a_file_keeps_it():
    [draft] = draft_cell("__file__ = 'mine.py'\ndef f(): return __file__")
    assert load(draft)() == "mine.py"


def test_the_lines_of_a_class_are_found_also_without_a_file():
    import inspect

    [draft] = draft_cell("class Item:\n    price = 1\n\ndef f(): return Item")
    assert inspect.getsource(load(draft)()) == "class Item:\n    price = 1\n"
