"""The setup of workers: code that each of them runs before anything else."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.pool.conftest import HELD, PATIENCE_S, pids, wait_until_dead
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import (
    DefinitionSyntaxError,
    InstallError,
    OptionError,
    RequirementMissingError,
    UnknownNameError,
)

SETUP = "import random\nrandom.seed(7)\nLIMIT = 3\ndef clean(x): return x.strip()[:LIMIT]\n"
DRAW = "def draw(): return random.random()\n"


def value(pool: WorkerProcedureCall, name: str, *args: Any) -> Any:
    return pool.call[name](*args).result(PATIENCE_S)


def everywhere(pool: WorkerProcedureCall, name: str, *args: Any) -> list[Any]:
    return [future.result(PATIENCE_S) for future in pool.broadcast(name, *args).values()]


@pytest.fixture
def bare() -> Any:
    """Makes pools with nothing in them."""
    pools = []

    def make(count: int = 0, **options: Any) -> WorkerProcedureCall:
        pool = WorkerProcedureCall(restart_base_delay_ms=1, restart_jitter_ms=0, **options)
        pools.append(pool)
        if count:
            pool.start_workers(count)
            pool.wait_until_ready()
        return pool

    yield make
    for pool in pools:
        pool.stop_workers()


def test_its_names_are_there_in_all_cells_and_it_runs_in_each_worker(bare: Any) -> None:
    pool = bare(2)
    info = pool.define_worker_setup(SETUP)
    assert (info.names, info.revision, info.installed_worker_count) == (("LIMIT", "clean", "random"), 1, 2)
    pool.define_worker_functions(DRAW + "def short(x, n=LIMIT): return clean(x), n\n")
    assert value(pool, "short", " abcde ") == ("abc", 3)
    assert everywhere(pool, "draw") == [random.Random(7).random()] * 2
    assert pool.call.short.local(" abcde ") == ("abc", 3)
    assert pool.snapshot().setup == 1


def test_it_comes_before_dependencies_constants_and_cells(bare: Any, tmp_path: Path) -> None:
    pool = bare()
    pool.define_worker_constant(name="PREFIX", value="late")
    pool.define_worker_functions("import os\nSEEN = os.environ.get('OF_SETUP')\ndef seen(): return SEEN\n")
    pool.define_worker_setup(
        "import os, sys\nos.environ['OF_SETUP'] = str('PREFIX' in globals()) + str('json' in sys.modules)\n"
    )
    pool.define_worker_dependency(alias="json", module_specifier="json")
    pool.start_workers(1)
    assert value(pool, "seen") == "FalseFalse"


def test_each_process_that_replaces_a_worker_runs_it_first(bare: Any) -> None:
    pool = bare(1)
    pool.define_worker_setup(SETUP)
    pool.define_worker_functions(DRAW)
    first, second = value(pool, "draw"), value(pool, "draw")
    assert first != second
    pid = pids(pool)[1]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until_dead(pid)
    assert value(pool, "draw") == first
    pool.restart_workers()
    pool.wait_until_ready()
    assert value(pool, "draw") == first


def test_the_first_definition_of_a_pool_replaces_no_worker_and_a_later_one_replaces_all(bare: Any) -> None:
    pool = bare(2)
    before = pids(pool)
    pool.define_worker_setup(SETUP)
    assert pids(pool) == before
    pool.define_worker_functions(DRAW + "def limit(): return LIMIT\n")
    assert everywhere(pool, "limit") == [3, 3]
    info = pool.define_worker_setup("import random\nLIMIT = 4\n")
    assert info.revision == 2
    assert set(pids(pool).values()).isdisjoint(before.values())
    assert everywhere(pool, "limit") == [4, 4]


def test_a_call_that_runs_while_it_is_redefined_is_not_lost(bare: Any, door: Any) -> None:
    pool = bare(1)
    pool.define_worker_functions(HELD)
    future = pool.call.held(door.path, "kept")
    visit = door.wait()
    pool.define_worker_setup(SETUP)
    visit.let_go()
    assert future.result(PATIENCE_S) == "kept"
    pool.define_worker_functions("def limit(): return LIMIT\n")
    assert value(pool, "limit") == 3


@pytest.mark.parametrize("has_old", [True, False])
def test_one_that_fails_is_one_clear_error_and_leaves_the_one_before(bare: Any, has_old: bool) -> None:
    pool = bare(2)
    if has_old:
        pool.define_worker_setup(SETUP)
    pool.define_worker_functions("import os\ndef state(): return os.environ.get('HALF')\n")
    with pytest.raises(InstallError) as caught:
        pool.define_worker_setup("import os\nos.environ['HALF'] = 'done'\nLIMIT = 5\n1 / 0\n")
    message = str(caught.value)
    assert "could not install the setup: ZeroDivisionError: division by zero" in message
    assert "line 4, in <module>\n    1 / 0\n" in message
    assert "wpc_magic" not in message
    assert everywhere(pool, "state") == [None, None]  # the half of it that has run is gone
    found = pool.get_worker_setup()
    assert (found is not None and found.names == ("LIMIT", "clean", "random")) == has_old


def test_one_that_ends_its_worker_is_refused_as_well(bare: Any) -> None:
    pool = bare(1)
    with pytest.raises(InstallError, match="the worker died while it installed it"):
        pool.define_worker_setup("import os\nos._exit(3)\n")
    assert pool.get_worker_setup() is None
    pool.define_worker_functions("def f(): return 1\n")
    assert value(pool, "f") == 1


def test_one_that_fails_only_in_workers_that_start_with_it_leaves_the_one_before(
    bare: Any, tmp_path: Path
) -> None:
    pool = bare(1)
    pool.define_worker_setup("LIMIT = 1\n")
    pool.define_worker_functions("def limit(): return LIMIT\n")
    mark = tmp_path / "mark"
    source = f"import pathlib\nmark = pathlib.Path({str(mark)!r})\nLIMIT = 2\n"
    with pytest.raises(InstallError, match=r"no worker could install the setup: FileExistsError"):
        pool.define_worker_setup(source + "mark.touch(exist_ok=False)\n")
    assert value(pool, "limit") == 1


def test_calls_are_refused_while_a_setup_that_was_defined_before_the_start_is_broken(bare: Any) -> None:
    pool = bare()
    pool.define_worker_functions("def f(): return 1\n")
    pool.define_worker_setup("raise ValueError('no licence')\n")
    pool.start_workers(1)
    pool.wait_until_ready()
    with pytest.raises(RequirementMissingError, match="'the setup', which no worker could install: ValueErr"):
        pool.call.f()
    assert pool.get_worker_setup().broken == "ValueError: no licence"
    pool.define_worker_setup("LIMIT = 1\n")
    assert value(pool, "f") == 1


@pytest.mark.parametrize(
    ("source", "error", "says"),
    [
        ("LIMIT = (3\n", DefinitionSyntaxError, r"line 1: '\(' was never closed"),
        ("\nnp.seterr(all='raise')\n", UnknownNameError, r"'np' \(line 2\).* import numpy as np"),
        (
            "def f(): return root(2)\nX = f()\n",
            UnknownNameError,
            "'root'.*Write in it: from math import sqrt",
        ),
        ("print(nowhere)\n", UnknownNameError, "'nowhere' .*Define it in the setup."),
        (3, OptionError, "source takes a text"),
    ],
)
def test_what_it_lacks_is_told_before_anything_runs(
    bare: Any, source: Any, error: type[Exception], says: str
) -> None:
    from math import sqrt

    from wpc_magic.pool.source.draft import look_in

    pool = bare(1)
    with pytest.raises(error, match=says):
        pool.define_worker_setup(source, look=look_in({"root": sqrt}))
    assert pool.get_worker_setup() is None


def test_definitions_win_over_its_names_and_leave_them_when_they_go(bare: Any) -> None:
    pool = bare(1)
    pool.define_worker_setup("LIMIT = 1\n")
    pool.define_worker_functions("def limit(n=LIMIT): return LIMIT, n\n")
    assert value(pool, "limit") == (1, 1)
    pool.define_worker_constant(name="LIMIT", value=2)
    assert value(pool, "limit") == (2, 2)
    pool.undefine_worker_constant(name="LIMIT")
    assert value(pool, "limit") == (1, 1)


def test_its_functions_find_what_is_registered_later_and_its_classes_are_one(bare: Any) -> None:
    pool = bare(1)
    pool.define_worker_setup("class P: pass\ndef both(p): return isinstance(p, P), LATER\n")
    pool.define_worker_constant(name="LATER", value=5)
    pool.define_worker_functions("def make(): return P()\ndef check(p): return both(p)\n")
    made = value(pool, "make")
    assert value(pool, "check", made) == (True, 5)
    assert pool.call.check.local(made) == (True, 5)


def test_functions_that_need_its_names_are_refused_when_it_is_gone(bare: Any) -> None:
    pool = bare(1)
    pool.define_worker_setup("LIMIT = 1\n")
    (info,) = pool.define_worker_functions("def limit(): return LIMIT\n")
    assert info.requires == ("LIMIT",)
    pool.define_worker_functions("def other(): return 'LIMIT' in globals()\n")
    pool.undefine_worker_setup()
    with pytest.raises(RequirementMissingError, match="limit needs 'LIMIT', which is not defined"):
        pool.call.limit()
    assert value(pool, "other") is False
    with pytest.raises(RequirementMissingError, match="no setup is defined"):
        pool.undefine_worker_setup()
    pool.define_worker_setup("LIMIT = 2\n")
    assert value(pool, "limit") == 2


def test_it_runs_here_only_for_what_is_run_here_and_needs_it(bare: Any) -> None:
    pool = bare()
    pool.define_worker_setup("import os\nos.environ['RAN_HERE'] = 'yes'\nLIMIT = 1\n")
    pool.define_worker_functions("def plain(): return 2\n")
    try:
        assert pool.call.plain.local() == 2
        assert "RAN_HERE" not in os.environ
        pool.define_worker_functions("def limit(): return LIMIT\n")
        assert pool.call.limit.local() == 1
        assert os.environ["RAN_HERE"] == "yes"
        pool.define_worker_setup("LIMIT = 3\n")
        assert pool.call.limit.local() == 3
    finally:
        os.environ.pop("RAN_HERE", None)


def test_one_that_fails_here_is_tried_again_with_the_next_call_here(bare: Any, tmp_path: Path) -> None:
    pool, mark = bare(), tmp_path / "mark"
    pool.define_worker_setup(f"import pathlib\nLIMIT = pathlib.Path({str(mark)!r}).read_text()\n")
    pool.define_worker_functions("def plain(): return 1\n")
    assert pool.call.plain.local() == 1
    pool.define_worker_functions("def limit(): return LIMIT\n")
    with pytest.raises(FileNotFoundError):
        pool.call.limit.local()
    mark.write_text("there")
    assert pool.call.limit.local() == "there"


def test_an_export_has_it_first_and_gives_it_back(bare: Any) -> None:
    pool = bare()
    pool.define_worker_setup(SETUP)
    pool.define_worker_functions("def short(x): return clean(x)\n")
    text, made = pool.export(), {}  # type: ignore[var-annotated]
    assert text.index("define_worker_setup") < text.index("define_worker_functions")
    exec(text, made)
    with made["build_pool"]() as again:
        assert again.get_worker_setup() == pool.get_worker_setup()
        again.start_workers(1)
        assert value(again, "short", " abcd ") == "abc"
        assert again.export() == text


def test_what_it_prints_comes_before_the_definition_has_returned(bare: Any) -> None:
    pool, printed = bare(1), []
    pool.output_sink = lambda output: printed.append(output.text)
    pool.define_worker_setup("print('ready', context.worker_id)\n")
    assert "".join(printed) == "ready 1\n"
