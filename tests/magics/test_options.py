"""Options of a line: parsing, errors and help."""

import dataclasses

import pytest

from wpc_magic.magics.options import LineOptions, Option, Positional, pool_options, read_literal
from wpc_magic.magics.parsing import UsageMistake
from wpc_magic.pool.options import PoolOptions

WORKER = Option("--worker", "The worker.", "number")
QUIET = Option("-q --quiet", "Say nothing.")
CODE = LineOptions("%x", [WORKER, QUIET], Positional("code", "Python.", "code"))


def test_code_behind_the_options_keeps_its_quotes_and_spaces() -> None:
    answer = CODE.parse("--worker 2 -q  f('a  b',  \"--quiet\")")
    assert (answer.worker, answer.quiet, answer.code) == (2, True, "f('a  b',  \"--quiet\")")


def test_a_long_flag_may_come_last_and_a_short_one_there_is_arithmetic() -> None:
    assert CODE.parse("helpers --quiet").quiet
    answer = CODE.parse("a -q")
    assert (answer.quiet, answer.code) == (False, "a -q")


@pytest.mark.parametrize(
    ("line", "worker", "code"),
    [
        ("f(1) --worker 2", 2, "f(1)"),
        ("f(1) --worker=2", 2, "f(1)"),
        ("f(1) -w 2 --quiet", 2, "f(1)"),
        ("--worker 2 f(1) --quiet", 2, "f(1)"),
        ("a -w", None, "a -w"),
        ("a --w 2", None, "a --w 2"),
        ("f('a -w 2')", None, "f('a -w 2')"),
        ("f(a -w)", None, "f(a -w)"),
    ],
)
def test_options_that_are_no_python_may_stand_behind_the_code(
    line: str, worker: int | None, code: str
) -> None:
    options = LineOptions("%x", [Option("-w --worker", "", "number"), QUIET], Positional("code", "", "code"))
    answer = options.parse(line)
    assert (answer.worker, answer.code) == (worker, code)


@pytest.mark.parametrize(
    ("line", "code", "quiet"),
    [
        ("f(1)  # don't", "f(1)", False),
        ("f('# no', 2)  # a 'comment'", "f('# no', 2)", False),
        ("f('it\\'s # no')", "f('it\\'s # no')", False),
        ("-q f(1) # all", "f(1)", True),
        ("f(1) --quiet  # --worker", "f(1)", True),
        ("# nothing else", "", False),
        ("COLOUR='a'#b", "COLOUR='a'#b", False),
    ],
)
def test_a_comment_at_the_end_is_ignored(line: str, code: str, quiet: bool) -> None:
    answer = CODE.parse(line)
    assert (answer.code, answer.quiet) == (code, quiet)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--wroker 2 f()", "unknown option --wroker. Did you mean '--worker'? %x? shows the options."),
        ("--worker two f()", "--worker: takes a positive whole number, not 'two'"),
        ("--worker 0 f()", "--worker: takes a positive whole number, not '0'"),
        ("--worker", "--worker: expected one argument"),
        ("-1", "unknown option -1"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(line: str, says: str) -> None:
    with pytest.raises(UsageMistake) as raised:
        CODE.parse(line)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_too_many_words_missing_words_and_open_quotes_are_told() -> None:
    one = LineOptions("%x", [], Positional("n", "How many.", "one", number=True))
    assert one.parse("3").n == 3
    for line, says in (("3 4", "one word too many"), ("", "no n is given"), ("'3", "quote is not closed")):
        with pytest.raises(UsageMistake, match=says):
            one.parse(line)


def test_every_option_of_the_pool_is_an_option_with_help() -> None:
    options = {option.flags: option for option in pool_options()}
    for field in dataclasses.fields(PoolOptions):
        option = options["--" + field.name.replace("_", "-")]
        assert option.help.endswith(f"Default: {field.default}.")
        assert len(option.help) > len(f"Default: {field.default}.")


def test_a_comment_behind_options_is_ignored() -> None:
    start = LineOptions("%wpc_start", pool_options())
    assert vars(start.parse("--call-timeout-ms 500  # that's enough")) == {"call_timeout_ms": 500}
    assert vars(start.parse("# the defaults")) == {}


def test_an_option_that_is_not_on_the_line_is_not_in_the_answer() -> None:
    start = LineOptions("%wpc_start", pool_options())
    given = vars(start.parse("--call-timeout-ms 500 --restart-on-failure false --saturation wait"))
    assert given == {"call_timeout_ms": 500, "restart_on_failure": False, "saturation": "wait"}


@pytest.mark.parametrize(
    ("word", "value"), [("5", 5), ("none", None), ("True", True), ("wait", "wait"), ("1.5", 1.5)]
)
def test_a_literal_is_a_number_a_truth_value_none_or_a_word(word: str, value: object) -> None:
    assert read_literal(word) == value


def test_the_help_names_every_option_and_word() -> None:
    text = CODE.help()
    for part in ("%x [--worker N] [-q] CODE", "--worker N", "-q, --quiet", "The worker.", "Python."):
        assert part in text
