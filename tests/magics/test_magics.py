"""Each magic in a shell without a kernel, over a pool without workers."""

from __future__ import annotations

from typing import Any

import pytest
from IPython.core.error import UsageError

from tests.magics.conftest import Loaded
from wpc_magic.pool.core.events import ErrorInfo, WorkerEvent
from wpc_magic.pool.errors import CallTimeoutError, DefinitionError, RemoteError

MAGICS = [
    *("wpc_start", "wpc_stop", "wpc_restart", "wpc_scale", "wpc_function", "wpc_dep", "wpc_const"),
    *("wpc_undef", "wpc_call", "wpc_map", "wpc_functions", "wpc_status", "wpc_stack", "wpc_events"),
    *("wpc_dashboard", "wpc_export", "wpc_load", "wpc_time", "wpc_insights"),
]
SIMULATE = "%%wpc_function\ndef simulate(n):\n    return n * 2\n"


def usage_error(loaded: Loaded, line: str) -> str:
    with pytest.raises(UsageError) as raised:
        loaded.magic(line)
    assert type(raised.value) is UsageError  # IPython shortens the exact class only
    return str(raised.value)


# -- the workers ----------------------------------------------------------------------------------------


def test_start_takes_a_number_and_every_option_of_the_pool(loaded: Loaded) -> None:
    said = loaded.run("%wpc_start -n 3 --call-timeout-ms 500 --restart-on-failure no")
    assert "restart_on_failure takes True or False, not 'no'" in said
    said = loaded.run("%wpc_start -n 3 --call-timeout-ms 500 --restart-on-failure false")
    assert said.startswith("3 workers ready in ")
    assert loaded.pool.recorded[-1] == ("start", 3, {"call_timeout_ms": 500, "restart_on_failure": False})


def test_the_number_of_workers_may_be_a_plain_word_or_a_variable(loaded: Loaded) -> None:
    assert loaded.run("%wpc_start 2").startswith("2 workers ready in ")
    assert loaded.run("n = 3\n%wpc_scale n") == "3 workers ready, 2 before\n"
    assert loaded.run("%wpc_start n --call-timeout-ms 9").startswith("3 workers running already")
    assert "how many workers: 3 or -n 4?" in usage_error(loaded, "wpc_start 3 -n 4")
    assert "n: takes a positive whole number, not 'many'" in usage_error(loaded, "wpc_scale many")
    assert "n: takes a positive whole number, not 'all'" in usage_error(loaded, "wpc_scale all")
    assert "n: takes a positive whole number, not 'x'" in usage_error(loaded, "wpc_start x")


def test_a_start_need_not_be_waited_for(loaded: Loaded) -> None:
    assert loaded.run("%wpc_start 2 --no-wait --call-timeout-ms 9") == "2 workers starting\n"
    assert loaded.pool.recorded[-1] == ("start", 2, {"call_timeout_ms": 9, "wait": False})


def test_start_again_changes_what_differs(loaded: Loaded) -> None:
    loaded.run("%wpc_start -n 2")
    assert loaded.run("%wpc_start") == "2 workers running already\n"
    said = loaded.run("%wpc_start -n 4 --call-timeout-ms 9")
    assert said == "4 workers ready, 2 before · call_timeout_ms=9 (was None)\n"
    assert loaded.pool.options.call_timeout_ms == 9


def test_options_for_workers_that_run_are_said_with_what_they_were(loaded: Loaded) -> None:
    loaded.run("%wpc_start -n 2  # two are enough")
    said = loaded.run("%wpc_start --call-timeout-ms 9 --saturation error")
    assert said == "2 workers running already · call_timeout_ms=9 (was None) · saturation=error as before\n"
    assert loaded.run("%wpc_start --call-timeout-ms none") == (
        "2 workers running already · call_timeout_ms=None (was 9)\n"
    )


def test_stop_restart_and_scale(loaded: Loaded) -> None:
    assert loaded.run("%wpc_stop") == "the workers are not running\n"
    loaded.run("%wpc_start -n 3")
    assert loaded.run("%wpc_restart") == "3 workers restarted\n"
    assert loaded.pool.recorded[-1] == ("restart", None, True)
    assert loaded.run("%wpc_restart 2 --force") == "worker 2 restarted\n"
    assert loaded.pool.recorded[-1] == ("restart", 2, False)
    assert loaded.run("%wpc_scale 1") == "1 worker ready, 3 before\n"
    assert loaded.run("%wpc_stop --drain --timeout-ms 9") == "1 worker stopped\n"
    assert loaded.pool.recorded[-1] == ("stop", True, 9)


# -- definitions ----------------------------------------------------------------------------------------


def test_a_function_cell_says_what_it_registered_what_it_needs_and_the_hash(loaded: Loaded) -> None:
    loaded.run("%wpc_start -n 4\n%wpc_dep numpy as np\n%wpc_const SEED 42")
    loaded.pool.requires = ("np", "SEED")
    said = loaded.run(SIMULATE)
    assert said.startswith("simulate(n) registered on 4 workers · needs np, SEED · ")
    assert len(said.strip().rpartition(" ")[2]) == 7
    assert "simulate(n) registered again (revision 2) on 4 workers" in loaded.run(SIMULATE)


def test_a_function_cell_does_not_run_in_the_notebook(loaded: Loaded) -> None:
    loaded.run(SIMULATE)
    assert "simulate" not in loaded.shell.user_ns


def test_here_defines_the_public_names_of_the_cell_in_the_notebook_too(loaded: Loaded) -> None:
    cell = (
        "%%wpc_function f --here\nimport os as system\n_private = 1\nclass MyError(Exception): ...\n"
        "def f(n): raise MyError(n)\n"
    )
    loaded.run(cell)
    assert {"f", "MyError", "system"} <= loaded.shell.user_ns.keys()
    assert not {"_private", "wpc_import", "os"} & loaded.shell.user_ns.keys()
    said = loaded.run("try:\n    %wpc_call f(1)\nexcept MyError as e:\n    print('caught', e.args)")
    assert said.endswith("caught (1,)\n")


def test_names_and_options_of_a_function_cell_reach_the_pool(loaded: Loaded) -> None:
    options = "--timeout-ms 5 --retries 2 --retry-on OSError --retry-on HTTPError --at-most 4 --cache"
    loaded.run(f"%%wpc_function f g {options}\ndef f(n): ...\ndef g(n): ...\ndef h(n): ...")
    given = {"timeout_ms": 5, "retries": 2, "retry_on": ["OSError", "HTTPError"], "at_most": 4}
    assert loaded.pool.recorded[-1] == ("define", {"names": ["f", "g"], **given, "cache": True})
    assert sorted(loaded.pool.functions) == ["f", "g"]


def test_a_missing_requirement_is_said_when_the_function_is_registered(loaded: Loaded) -> None:
    loaded.pool.requires = ("later",)
    assert "calls are refused until later is registered" in loaded.run(SIMULATE)


def test_a_refused_definition_is_one_line(loaded: Loaded) -> None:
    loaded.pool.fail_next = DefinitionError("simulate uses 'np', which the workers don't have. Type: x")
    assert loaded.run(SIMULATE) == ("UsageError: simulate uses 'np', which the workers don't have. Type: x\n")
    assert loaded.run("%%wpc_function\ndef f(:\n") == "UsageError: line 2: invalid syntax\n"


def test_dependencies_are_registered_listed_reloaded_and_removed(loaded: Loaded) -> None:
    assert loaded.run("%wpc_dep numpy as np") == "np = numpy registered\n"
    loaded.run("%wpc_start -n 2")
    assert (
        loaded.run("%wpc_dep from math import sqrt as root") == "root = math.sqrt registered on 2 workers\n"
    )
    assert loaded.run("%wpc_dep helpers --reload") == (
        "helpers = helpers registered on 2 workers\n"
        "imported anew: the workers were replaced, one after another\n"
    )
    listed = repr(loaded.magic("wpc_dep"))
    assert "math.sqrt" in listed
    assert loaded.run("%wpc_dep -d np root") == "np, root removed\n"
    assert usage_error(loaded, "wpc_dep -d helper") == (
        "%wpc_dep: no dependency 'helper' is registered. Did you mean 'helpers'?"
    )


def test_constants_are_registered_listed_and_removed(loaded: Loaded) -> None:
    loaded.run("df = [1, 2]\nbase = 40")
    assert loaded.run("%wpc_const SEED = base + 2") == "SEED (int) registered\n"
    assert loaded.run("%wpc_const df") == "df (list) registered\n"
    assert loaded.pool.constants == {"SEED": 42, "df": [1, 2]}
    assert "2.0 kB" in repr(loaded.magic("wpc_const"))
    assert loaded.run("%wpc_const -d df") == "df removed\n"
    assert "Did you mean 'base'?" in usage_error(loaded, "wpc_const bass")


def test_the_line_is_code_and_braces_and_dollars_stay(loaded: Loaded) -> None:
    loaded.run("x = 1")
    loaded.run("%wpc_const limits = {'low': x, 'text': '$x {x}'}")
    assert loaded.pool.constants["limits"] == {"low": 1, "text": "$x {x}"}


def test_functions_are_removed_and_other_names_are_told_how(loaded: Loaded) -> None:
    loaded.run(SIMULATE)
    loaded.run("%wpc_const SEED 1")
    assert (
        usage_error(loaded, "wpc_undef SEED") == "%wpc_undef: SEED is no function. Type: %wpc_const -d SEED"
    )
    assert "Did you mean 'simulate'?" in usage_error(loaded, "wpc_undef simulat")
    assert loaded.run("%wpc_undef simulate") == "simulate removed\n"


# -- calls ----------------------------------------------------------------------------------------------


def test_a_call_evaluates_its_arguments_starts_the_pool_and_returns_the_value(loaded: Loaded) -> None:
    loaded.run(SIMULATE + "\n")
    loaded.run("n = 4\nvalues = [5]")
    assert loaded.magic("wpc_call simulate(n + 1)") == 10
    assert loaded.pool.workers == 2
    assert loaded.magic("wpc_call simulate(*[v + n for v in values])") == 18


def test_a_call_in_a_function_sees_its_variables(loaded: Loaded) -> None:
    loaded.run(SIMULATE)
    said = loaded.run(
        "def f(inner):\n    x = %wpc_call simulate(sum(inner for _ in range(2)))\n    return x\nf(3)"
    )
    assert said.endswith("12\n")


def test_a_result_is_stored_instead_of_shown(loaded: Loaded) -> None:
    loaded.run(SIMULATE)
    loaded.run("%wpc_start -n 1")
    assert loaded.run("%wpc_call --timeout-ms 500 --worker 1 -o result simulate(3)") == ""
    assert loaded.shell.user_ns["result"] == 6
    assert loaded.pool.calls[-1] == ("simulate", (3,), {}, {"worker_id": 1, "timeout_ms": 500})
    assert "is not a name" in usage_error(loaded, "wpc_call -o 1x simulate(3)")


def test_an_unknown_function_starts_no_worker(loaded: Loaded) -> None:
    loaded.run(SIMULATE)
    assert usage_error(loaded, "wpc_call simulat(3)") == (
        "no function 'simulat' is registered. Did you mean 'simulate'?"
    )
    assert not loaded.pool.is_running


def test_the_functions_own_exception_passes_untouched(loaded: Loaded) -> None:
    loaded.run("%%wpc_function\ndef broken(n):\n    return 1 // n\n")
    with pytest.raises(ZeroDivisionError):
        loaded.magic("wpc_call broken(0)")
    shown = loaded.run("%wpc_call broken(0)")
    assert "ZeroDivisionError" in shown
    assert "boundary.py" not in shown


@pytest.mark.parametrize("error", [CallTimeoutError("simulate took 500 ms"), RemoteError("a.B", "no", "")])
def test_an_error_of_a_call_keeps_its_class_and_is_shown_as_its_text(loaded: Loaded, error: Any) -> None:
    loaded.run("%%wpc_function\ndef fails(n):\n    raise n\n")
    loaded.run("%wpc_start")
    loaded.shell.push({"error": error})
    with pytest.raises(type(error)):
        loaded.magic("wpc_call fails(error)")
    assert loaded.run("%wpc_call fails(error)") == f"{type(error).__name__}: {error}\n"


def test_map_returns_a_list(loaded: Loaded) -> None:
    loaded.run(SIMULATE)
    assert loaded.magic("wpc_map simulate(range(3))") == [0, 2, 4]
    loaded.run("%wpc_map --chunk-size 2 -o all simulate([1])")
    assert loaded.shell.user_ns["all"] == [2]
    assert loaded.pool.calls[-1][3] == {"chunk_size": 2}
    assert "map takes iterables" in usage_error(loaded, "wpc_map simulate(n=[1])")
    assert "map takes iterables" in usage_error(loaded, "wpc_map simulate()")


def test_keywords_of_a_map_are_the_same_for_every_item(loaded: Loaded) -> None:
    loaded.run("%%wpc_function\ndef scaled(n, by=1):\n    return n * by\n")
    assert loaded.magic("wpc_map scaled(range(3), by=3)") == [0, 3, 6]
    assert loaded.pool.calls[-1][2] == {"by": 3}
    assert loaded.magic("wpc_map --starmap scaled([(2, 5), (3, 4)])") == [10, 12]
    assert "takes one iterable, of tuples" in usage_error(loaded, "wpc_map --starmap scaled([1], [2])")


@pytest.mark.parametrize(
    "line",
    [
        "wpc_map simulate xs",
        "wpc_map simulate [1, 2]",
        "wpc_map simulate(xs) --chunk-size 3 --keep-going",
        "wpc_map --keep-going simulate xs --chunk-size=3",
        "wpc_map simulate(xs) --timeout-ms {limit}",
    ],
)
def test_brackets_may_be_left_out_and_options_may_stand_behind(loaded: Loaded, line: str) -> None:
    loaded.run(SIMULATE)
    loaded.shell.push({"xs": [1, 2], "limit": 500})
    assert loaded.magic(line) == [2, 4]
    assert loaded.pool.calls[-1][3] == {"chunk_size": 3 if "chunk" in line else None}


def test_options_may_stand_behind_a_call(loaded: Loaded) -> None:
    loaded.run(SIMULATE)
    assert loaded.magic("wpc_call simulate 4") == 8
    assert loaded.magic("wpc_call simulate(4) --timeout-ms 500 -o result") is None
    assert loaded.shell.user_ns["result"] == 8
    assert usage_error(loaded, "wpc_call simulate(4) --timeout 500") == (
        "%wpc_call: --timeout 500 behind the call is no option. %wpc_call? shows the options"
    )


def test_the_users_own_mistake_in_an_argument_is_the_users_own_error(loaded: Loaded) -> None:
    loaded.run(SIMULATE)
    with pytest.raises(NameError, match="nowhere"):
        loaded.magic("wpc_call simulate(nowhere)")


def test_the_pool_is_not_started_where_the_setting_says_so(loaded: Loaded) -> None:
    loaded.run(SIMULATE)
    loaded.run("%config WpcMagics.start_on_call = False")
    assert usage_error(loaded, "wpc_call simulate(1)") == "the workers are not running"


# -- state of the pool ----------------------------------------------------------------------------------


def test_functions_are_listed_and_their_source_is_shown(loaded: Loaded) -> None:
    assert "%%wpc_function" in repr(loaded.magic("wpc_functions"))
    loaded.run(SIMULATE)
    assert "simulate(n)" in repr(loaded.magic("wpc_functions"))
    assert loaded.run("%wpc_functions simulate") == "def simulate(n):\n    return n * 2\n"
    assert "no function 'x'" in usage_error(loaded, "wpc_functions x")


def test_status_shows_the_workers(loaded: Loaded) -> None:
    assert "%wpc_start" in repr(loaded.magic("wpc_status"))
    loaded.run("%wpc_start -n 2")
    shown = repr(loaded.magic("wpc_status"))
    assert "1.0 MB" in shown
    assert "wpc running" in shown


def test_stack_shows_one_worker_or_all_also_where_magics_are_quiet(loaded: Loaded) -> None:
    loaded.run("%wpc_start -n 2\n%config WpcMagics.quiet = True")
    assert repr(loaded.magic("wpc_stack 2")) == "worker 2 waits for calls"
    both = loaded.magic("wpc_stack")
    assert repr(both) == "worker 1 waits for calls\n\nworker 2 waits for calls"
    assert both.startswith("worker 1"), "it is a text that can be kept"
    assert "there is no worker 3" in usage_error(loaded, "wpc_stack 3")
    assert "takes a positive whole number" in usage_error(loaded, "wpc_stack all")


def test_events_are_filtered_by_severity_and_worker_and_counted_from_the_end(loaded: Loaded) -> None:
    when = "2026-01-02T03:04:05.678901+00:00"
    loaded.pool.event_history = [
        WorkerEvent("event-1", 1, "parent", "worker_spawned", "info", when),
        WorkerEvent("event-2", 2, "worker", "failed_a", "error", when, error=ErrorInfo("E", "why")),
        WorkerEvent("event-3", 1, "parent", "warned", "warn", when, details={"delay_ms": 100}),
        WorkerEvent("event-4", 1, "parent", "spawned_again", "info", when),
    ]
    table = loaded.magic("wpc_events --severity warn")
    assert [row[3] for row in table.rows] == ["failed_a", "warned"]
    assert [row[5] for row in table.rows] == ["E: why", "delay_ms 100"]
    assert [row[3] for row in loaded.magic("wpc_events -n 1 --worker 1").rows] == ["spawned_again"]
    assert table.rows[0][0] == "03:04:05.678"
    assert "No such event" in repr(loaded.magic("wpc_events --worker 9"))


# -- all of them ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAGICS)
def test_every_magic_has_help_and_refuses_an_unknown_option_in_one_line(loaded: Loaded, name: str) -> None:
    kind = "cell" if name == "wpc_function" else "line"
    doc = loaded.shell.find_magic(name, kind).__doc__
    percent = "%%" if kind == "cell" else "%"
    assert f"{percent}{name}" in doc
    assert len(doc.splitlines()[0]) < 100
    said = loaded.run(f"{percent}{name} --nonsense\npass" if kind == "cell" else f"%{name} --nonsense")
    assert said.startswith(f"UsageError: {percent}{name}: unknown option --nonsense.")
    assert said.count("\n") == 1


def test_quiet_magics_say_nothing(loaded: Loaded) -> None:
    assert loaded.run("%config WpcMagics.quiet = True\n%wpc_start") == ""


def test_variables_are_expanded_in_options_and_names(loaded: Loaded) -> None:
    loaded.run("n, name, module = 3, 'double', 'json'")
    assert "3 workers ready" in loaded.run("%wpc_start -n {n}")
    assert "4 workers ready" in loaded.run("%wpc_scale {n + 1}")
    loaded.run("%%wpc_function {name}\ndef double(x): return 2 * x\ndef other(x): return '{n} $n'")
    assert list(loaded.pool.functions) == ["double"]
    loaded.run("%wpc_dep {module} as j")
    assert "j" in loaded.pool.dependencies
    loaded.run("%wpc_call --timeout-ms {n} --worker $n double(n)")
    assert loaded.pool.calls[-1] == ("double", (3,), {}, {"timeout_ms": 3, "worker_id": 3})
    loaded.run("def use(count):\n    %wpc_scale $count\nuse(5)")
    assert loaded.pool.workers == 5
    loaded.run("%wpc_undef $name")
    assert not loaded.pool.functions


def test_a_variable_that_is_not_there_is_one_line(loaded: Loaded) -> None:
    for word in ("{nothing}", "$nothing"):
        assert loaded.run(f"%wpc_start -n {word}") == (
            f"UsageError: %wpc_start: cannot expand '-n {word}', where {{x}} and $x are variables: "
            f"NameError: name 'nothing' is not defined\n"
        )
    assert not loaded.pool.is_running


def test_a_variable_in_the_arguments_of_a_call_is_written_as_its_name(loaded: Loaded) -> None:
    loaded.run("%%wpc_function\ndef double(x): return x")
    loaded.run("n = 3")
    for line in (
        "%wpc_call double($n)",
        "%wpc_call double({n})",
        "%wpc_const K = {n}",
        "%wpc_map double({n})",
    ):
        assert "this is Python, where" in loaded.run(line)
    assert not loaded.pool.calls
