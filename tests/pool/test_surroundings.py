"""A worker, and the future of a call, behave in their surroundings as the code around them expects."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import functools
import io
import math
import multiprocessing
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import pytest

from tests.pool.conftest import PATIENCE_S, ROOT
from wpc_magic.pool import WorkerProcedureCall, signatures, submission
from wpc_magic.pool.driver.output import OutputText
from wpc_magic.pool.errors import DefinitionError, FunctionNotDefinedError, InstallError
from wpc_magic.pool.wire import protocol

FUNCTIONS = """
def double(x):
    return 2 * x

def fails(x):
    raise ValueError(x)
"""


@pytest.fixture
def two(make_pool: Callable[..., WorkerProcedureCall]) -> WorkerProcedureCall:
    return make_pool(2, FUNCTIONS)


# -- asyncio --------------------------------------------------------------------------------------------


def test_asyncio_wait_takes_calls(two: WorkerProcedureCall) -> None:
    async def main() -> None:
        calls = {two.call.double(n) for n in range(50)}
        done, pending = await asyncio.wait(calls)
        assert done == calls
        assert not pending
        assert sorted(call.result() for call in done) == [2 * n for n in range(50)]
        # Once more, when they have ended.
        assert await asyncio.wait(calls) == (calls, set())

    asyncio.run(main())


def test_asyncio_wait_with_a_time_out_leaves_calls_as_they_were(two: WorkerProcedureCall, door: Any) -> None:
    async def main() -> None:
        slow = two.call.held(door.path, 7)
        visit = await asyncio.to_thread(door.wait)
        assert await asyncio.wait([slow], timeout=0.001) == (set(), {slow})
        quick = two.call.double(1)
        first = await asyncio.wait([slow, quick], return_when=asyncio.FIRST_COMPLETED)
        assert first == ({quick}, {slow})
        visit.let_go()
        assert await asyncio.wait([slow]) == ({slow}, set())
        assert slow.result() == 7

    asyncio.run(main())


def test_asyncio_wait_ends_at_the_first_call_that_fails(two: WorkerProcedureCall, door: Any) -> None:
    async def main() -> None:
        slow = two.call.held(door.path)
        visit = await asyncio.to_thread(door.wait)
        bad = two.call.fails(1)
        done, _ = await asyncio.wait([slow, bad], return_when=asyncio.FIRST_EXCEPTION)
        assert done == {bad}
        visit.let_go()
        await slow

    asyncio.run(main())


def test_a_cancelled_asyncio_wait_leaves_its_calls_alone(two: WorkerProcedureCall, door: Any) -> None:
    async def main() -> None:
        slow = two.call.held(door.path, 7)
        visit = await asyncio.to_thread(door.wait)
        waiting = asyncio.ensure_future(asyncio.wait([slow]))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        visit.let_go()
        assert await slow == 7

    asyncio.run(main())


def test_asyncio_wait_mixes_calls_with_tasks(two: WorkerProcedureCall) -> None:
    async def main() -> None:
        task, call = asyncio.ensure_future(asyncio.sleep(0, "slept")), two.call.double(1)
        done, _ = await asyncio.wait([task, call])
        assert done == {task, call}

    asyncio.run(main())


def test_every_other_helper_of_asyncio_takes_calls(two: WorkerProcedureCall) -> None:
    async def awaited(call: Any) -> Any:
        return await call

    async def main() -> None:
        double = two.call.double
        assert await asyncio.gather(double(1), double(2)) == [2, 4]
        assert sorted([await each for each in asyncio.as_completed([double(1), double(2)])]) == [2, 4]
        assert await asyncio.wait_for(double(3), 60) == 6
        assert await asyncio.shield(double(4)) == 8
        assert await asyncio.wrap_future(double(5)) == 10
        assert await asyncio.ensure_future(double(6)) == 12
        async with asyncio.timeout(60):
            assert await double(7) == 14
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(awaited(double(n))) for n in (1, 2)]
        assert [task.result() for task in tasks] == [2, 4]

    asyncio.run(main())
    with asyncio.Runner() as runner:
        assert runner.get_loop().run_until_complete(two.call.double(8)) == 16


def test_a_removed_callback_is_not_called(two: WorkerProcedureCall, door: Any) -> None:
    called: list[Any] = []
    slow = two.call.held(door.path)
    visit = door.wait()
    slow.add_done_callback(called.append)
    slow.add_done_callback(called.append)
    assert slow.remove_done_callback(called.append) == 2
    assert slow.remove_done_callback(called.append) == 0
    visit.let_go()
    slow.result()
    assert not called


# -- arguments ------------------------------------------------------------------------------------------

SIMULATE = """
import functools

def simulate(n, /, scale=1.0, *, seed=None):
    return n * scale

def takes_all(*args, **kwargs):
    return len(args) + len(kwargs)

@functools.cache
def one_less(a, b):
    return a, b

def replaced(a):
    return a
replaced = functools.partial(replaced, 1)

async def later(x):
    return x
"""


def test_wrong_arguments_are_refused_before_anything_is_sent(
    make_pool: Callable[..., WorkerProcedureCall],
) -> None:
    pool = make_pool(0, SIMULATE)
    text = r"^simulate\(\) missing 1 required argument: 'n'$"
    for wrong in (
        pool.call.simulate,
        pool.call["simulate"],
        pool.call.simulate.options(timeout_ms=1000),
        pool.call.simulate.local,
        lambda: pool.submit("simulate", (), {}),
        lambda: pool.broadcast("simulate"),
    ):
        with pytest.raises(TypeError, match=text):
            wrong()
    with pytest.raises(TypeError, match=r"^simulate\(\) takes from 1 to 2 positional arguments but 3 were"):
        pool.map("simulate", [1], [2], [3])
    with pytest.raises(TypeError, match=r"^simulate\(\) got an unexpected keyword argument 'sed'"):
        pool.call.simulate(1, sed=3)
    with pytest.raises(TypeError, match=r"^later\(\) missing 1 required argument: 'x'$"):
        pool.call.later()


def test_what_a_signature_takes_is_sent(make_pool: Callable[..., WorkerProcedureCall]) -> None:
    pool = make_pool(1, SIMULATE)
    assert pool.call.simulate(2, 3.0, seed=1).result() == 6.0
    assert pool.call.takes_all(1, 2, self=3, name=4).result() == 4
    assert pool.call.later(5).result() == 5


def test_a_function_that_may_take_something_else_is_not_checked(
    make_pool: Callable[..., WorkerProcedureCall],
) -> None:
    pool = make_pool(1, SIMULATE)
    assert pool.call.replaced().result() == 1  # a def that is replaced
    with pytest.raises(TypeError, match="one_less"):  # decorated: the worker decides
        pool.call.one_less(1).result()


def test_objects_are_checked_as_texts_are(make_pool: Callable[..., WorkerProcedureCall]) -> None:
    pool = make_pool(0)
    pool.define_worker_function(worker_func=textwrap.indent)
    pool.define_worker_function(worker_func=lambda a, b=[]: a, name="first")
    pool.define_worker_function(worker_func=math.hypot)  # its signature says nothing
    with pytest.raises(TypeError, match=r"^indent\(\) missing 1 required argument: 'prefix'$"):
        pool.call.indent("a")
    with pytest.raises(TypeError, match=r"^first\(\) missing 1 required argument: 'a'$"):
        pool.call.first()


def test_the_newest_signature_counts(make_pool: Callable[..., WorkerProcedureCall]) -> None:
    pool = make_pool(1, "def f(a): return a")
    held = pool.call.f
    assert held(1).result() == 1
    pool.define_worker_functions("def f(a, b): return a + b")
    assert held(1, 2).result() == 3
    with pytest.raises(TypeError, match="missing 1 required argument: 'b'"):
        held(1)
    pool.undefine_worker_function(name="f")
    with pytest.raises(FunctionNotDefinedError):
        held(1)


def test_a_check_that_is_made_while_the_function_is_redefined_is_not_kept(
    make_pool: Callable[..., WorkerProcedureCall], monkeypatch: pytest.MonkeyPatch
) -> None:
    # one thread            another
    # reads the signature
    #                       redefines f
    # makes the check
    pool = make_pool(1, "def f(a): return a")

    def slowly(name: str, signature: str) -> Any:
        monkeypatch.undo()
        check = signatures.argument_check(name, signature)
        pool.define_worker_functions("def f(a, b): return a + b")
        return check

    monkeypatch.setattr(submission, "argument_check", slowly)
    with pytest.raises(TypeError):
        pool.call.f(1).result()  # whichever signature it met
    assert pool.call.f(1, 2).result() == 3


# -- processes ------------------------------------------------------------------------------------------


def test_the_proxies_of_a_manager_work_in_workers(make_pool: Callable[..., WorkerProcedureCall]) -> None:
    pool = make_pool(
        2,
        """
def puts(queue, table, lock, x):
    with lock:
        table[x] = table.get(x, 0) + 1
    queue.put(x)
    return table
""",
    )
    with multiprocessing.Manager() as manager:
        numbers, table, lock = manager.Queue(), manager.dict(), manager.Lock()
        returned = [pool.call.puts(numbers, table, lock, n) for n in range(4)]
        assert sorted(numbers.get() for _ in range(4)) == [0, 1, 2, 3]
        wait(returned)
        assert dict(returned[0].result()) == dict.fromkeys(range(4), 1)


def test_the_key_of_a_pool_is_only_where_it_is_needed(make_pool: Callable[..., WorkerProcedureCall]) -> None:
    pool = make_pool(
        1,
        """
def everything():
    import os, sys
    loaded = "multiprocessing" in sys.modules
    with open("/proc/self/cmdline", "rb") as file:
        return loaded, repr(os.environ).encode() + file.read()
""",
    )
    key = bytes(multiprocessing.current_process().authkey)
    loaded, seen = pool.call.everything().result()
    assert not loaded
    shown = [seen, repr(pool.events()).encode(), repr(protocol.Setup(1, "wpc", [], key, b"")).encode()]
    assert not any(form in each for each in shown for form in (key, key.hex().encode(), repr(key).encode()))


@pytest.mark.parametrize(
    "flags",
    [
        ["-O"],
        ["-X", "dev"],
        ["-X", "utf8=0", "-X", "int_max_str_digits=5000", "-B", "-s"],
        ["-W", "error", "-E"],
        ["-I"],
    ],
)
def test_workers_are_started_with_the_flags_of_the_interpreter(flags: list[str]) -> None:
    program = f"""if True:
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        from wpc_magic.pool import WorkerProcedureCall
        with WorkerProcedureCall() as pool:
            pool.define_worker_functions('''if True:
                import sys
                def flags():
                    flags = {{n: getattr(sys.flags, n) for n in dir(sys.flags)}}
                    kept = {{n: v for n, v in flags.items() if type(v) in (int, bool) and n[0] != "_"}}
                    return kept, sys.warnoptions, sys._xoptions
                def checks():
                    assert False
            ''')
            pool.start_workers(1)
            flags, warnings, others = pool.call.flags().result()
            for name in dir(sys.flags):
                if not name.startswith(("_", "n_", "safe_path", "count", "index")):
                    assert flags[name] == getattr(sys.flags, name), name
            assert set(warnings) == set(sys.warnoptions)
            assert others == sys._xoptions
            assert (pool.call.checks().exception() is None) == (not __debug__)
        """
    done = subprocess.run(
        [sys.executable, *flags, "-c", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# -- streams --------------------------------------------------------------------------------------------

STREAMS = """
import io, logging, sys

def asks():
    out, err = sys.stdout, sys.stderr
    for stream in (out, err):
        assert isinstance(stream, io.TextIOBase)
        assert stream.writable() and not stream.readable() and not stream.seekable() and not stream.isatty()
        assert (stream.encoding, stream.errors, stream.newlines) == ("utf-8", "backslashreplace", None)
        assert (stream.mode, stream.closed) == ("w", False)
        assert not stream.line_buffering and not stream.write_through
        assert stream.buffer.writable() and stream.buffer.mode == "wb" and not stream.buffer.closed
        assert stream.fileno() == stream.buffer.fileno() == (1 if stream is out else 2)
        assert stream.name == stream.buffer.name == ("<stdout>" if stream is out else "<stderr>")
    try:
        out.detach()
    except io.UnsupportedOperation as error:
        return str(error)

def mixes():
    print("one")
    sys.stdout.buffer.write("zwölf".encode()[:3])
    sys.stdout.buffer.write(bytearray("zwölf\\n".encode()[3:]))
    sys.stdout.writelines(["three\\n", "four\\n"])
    with sys.stdout as stream:
        print("five", file=stream)
    sys.stdout.close()
    print("six")
    logging.StreamHandler(sys.stdout).handle(logging.makeLogRecord({"msg": "seven"}))
    io.TextIOWrapper(sys.stdout.buffer, write_through=True).write("eight\\n")
    print("nine")

def reconfigures():
    sys.stdout.reconfigure(encoding="latin-1", errors="strict", line_buffering=True, newline="\\r\\n")
    print("snow \\u2603")
    assert (sys.stdout.encoding, sys.stdout.errors, sys.stdout.line_buffering) == ("latin-1", "strict", True)
    sys.stdout.reconfigure(encoding="utf-8", newline="", line_buffering=False)
    print("more")
    for wrong in ({"encoding": "none such"}, {"errors": "none such"}):
        try:
            sys.stdout.reconfigure(**wrong)
        except LookupError:
            print("refused")
"""


@pytest.fixture
def shown(make_pool: Callable[..., WorkerProcedureCall]) -> Callable[..., tuple[Any, str]]:
    """Calls a function of `STREAMS`; returns its value, and what it has printed."""
    pool = make_pool(1, STREAMS)

    def call(name: str, *args: Any) -> tuple[Any, str]:
        texts: list[OutputText] = []
        pool.output_sink = texts.append
        value = pool.call[name](*args).result()
        return value, "".join(each.text for each in texts)

    return call


def test_a_workers_streams_answer_what_code_asks_of_text_streams(shown: Any) -> None:
    value, _ = shown("asks")
    assert value == "a worker's sys.stdout cannot be detached; sys.stdout.buffer takes bytes"


def test_bytes_and_text_stay_in_order_and_nothing_closes_the_stream(shown: Any) -> None:
    _, text = shown("mixes")
    assert text.split() == ["one", "zwölf", "three", "four", "five", "six", "seven", "eight", "nine"]


def test_a_workers_stream_can_be_reconfigured(shown: Any) -> None:
    _, text = shown("reconfigures")
    assert text == "snow \u2603\r\nmore\nrefused\nrefused\n"


def test_text_that_a_stream_cannot_encode_is_escaped_and_what_follows_is_shown(
    make_pool: Callable[..., WorkerProcedureCall], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(1, "def says(text): print(text)")
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    for text in ("naïve", "half \ud83d", "plain"):
        pool.call.says(text).result()
    stream.flush()
    assert stream.buffer.getvalue() == b"na\\xefve\nhalf \\ud83d\nplain\n"


# -- questions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "question",
    [
        "input('sure? ')",
        "breakpoint()",
        "__import__('getpass').getpass()",
        "__import__('pdb').set_trace()",
        "sys.stdin.readline()",
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_question_in_a_worker_is_an_error_that_says_how_to_be_asked(
    make_pool: Callable[..., WorkerProcedureCall], question: str
) -> None:
    pool = make_pool(1, f"import sys\nasync def later():\n    {question}; return 1\n")
    pool.output_sink = lambda text: None
    pool.define_worker_function(
        name="ask", worker_func=f"def own_name():\n    import sys\n    {question}; return 1\n"
    )
    for name in ("ask", "later"):
        with pytest.raises(RuntimeError, match="a worker has no terminal") as caught:
            pool.call[name]().result()
        assert f"call wpc.call.{name}.local(...)" in str(caught.value)


def test_an_empty_input_is_empty(make_pool: Callable[..., WorkerProcedureCall]) -> None:
    pool = make_pool(
        1,
        "import os, sys\ndef reads():\n"
        "    os.environ['PYTHONBREAKPOINT'] = '0'\n    breakpoint()\n"
        "    return sys.stdin.read(), list(sys.stdin), sys.stdin.buffer.read(), sys.stdin.isatty()",
    )
    assert pool.call.reads().result() == ("", [], b"", False)


# -- definitions ----------------------------------------------------------------------------------------


def counts(n: int) -> Any:
    yield from range(n)


async def counts_later(n: int) -> Any:
    yield n


@functools.wraps(counts)
def listed(n: int) -> Any:
    return list(counts(n))


@pytest.mark.parametrize(
    "function",
    [
        "def numbers(n):\n    yield n",
        "def numbers(n):\n    return (yield)",
        "async def numbers(n):\n    yield n",
        counts,
        counts_later,
        functools.partial(counts, 3),
        ast.walk,
        contextlib.contextmanager(counts).__wrapped__,
    ],
)
def test_a_function_that_yields_is_known_to(
    make_pool: Callable[..., WorkerProcedureCall], function: Any
) -> None:
    pool = make_pool(0)
    assert pool.define_worker_function(name="numbers", worker_func=function).is_generator


def test_what_only_contains_a_generator_is_accepted(make_pool: Callable[..., WorkerProcedureCall]) -> None:
    pool = make_pool(
        1,
        """
def as_list(function):
    return lambda *args: list(function(*args))

def _numbers(n):
    yield from range(n)

def total(n):
    return sum(_numbers(n)) + sum(x for x in range(n))

@as_list
def numbers(n):
    yield from _numbers(n)
""",
    )
    pool.define_worker_function(worker_func=listed, name="listed")
    assert pool.call.total(3).result() == 6
    assert pool.call.numbers(3).result() == pool.call.listed(3).result() == [0, 1, 2]


def test_defaults_that_have_no_text_are_dots(make_pool: Callable[..., WorkerProcedureCall]) -> None:
    pool = make_pool(1)
    nothing = object()
    pool.define_worker_function(name="same", worker_func=lambda a, b=nothing, c=1: c)
    assert repr(pool.call.same) == "<registered function same(a, b=..., c=1)>"
    assert pool.call.same(1).result() == 1
    with pytest.raises(TypeError, match="missing 1 required argument: 'a'"):
        pool.call.same()


def test_a_module_that_only_this_process_finds_needs_a_restart(
    make_pool: Callable[..., WorkerProcedureCall], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(1)
    pool.wait_until_ready()
    (tmp_path / "wpc_elsewhere.py").write_text("X = 1\ndef f(): return X\n")
    (tmp_path / "wpc_packed").mkdir()
    (tmp_path / "wpc_packed" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("wpc_elsewhere", "wpc_packed"):
        with pytest.raises(InstallError) as caught:
            pool.define_worker_dependency(alias=module, module_specifier=module)
        first = str(caught.value).splitlines()[0]
        assert first.startswith(f"worker 1 could not install {module}: ModuleNotFoundError: ")
        assert first.endswith(
            f"It is in {tmp_path}, where workers that have started before do not look. "
            f"Type: wpc.restart_workers(); wpc.wait_until_ready()"
        )
    pool.restart_workers()
    pool.wait_until_ready()
    pool.define_worker_dependency(alias="wpc_elsewhere", module_specifier="wpc_elsewhere")


def test_a_module_that_is_found_nowhere_is_no_reason_to_restart(
    make_pool: Callable[..., WorkerProcedureCall], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wpc_needy.py").write_text("import wpc_nowhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    pool = make_pool(1)
    with pytest.raises(InstallError) as caught:
        pool.define_worker_dependency(alias="wpc_needy", module_specifier="wpc_needy")
    assert "restart" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"x = 1\ndef f(:\n", r"invalid syntax \(%s, line 2\)"),
        (b"x = 1\n\xff\n", r"\(%s"),
        (b"x = 1\0", r"null bytes.* \(%s"),
    ],
)
@pytest.mark.parametrize("count", [0, 1])
def test_a_module_that_does_not_compile_is_refused_with_its_line(
    make_pool: Callable[..., WorkerProcedureCall],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: bytes,
    message: str,
    count: int,
) -> None:
    file = tmp_path / "wpc_broken.py"
    file.write_bytes(text)
    monkeypatch.syspath_prepend(tmp_path)
    pool = make_pool(count)
    with pytest.raises(DefinitionError, match="wpc_broken cannot be imported: .*" + message % file):
        pool.define_worker_dependency(alias="wpc_broken", module_specifier="wpc_broken")


def test_an_inner_module_that_does_not_compile_is_named_with_its_line(
    make_pool: Callable[..., WorkerProcedureCall], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wpc_outer.py").write_text("import wpc_inner\n")
    (tmp_path / "wpc_inner.py").write_text("x = 1\ndef f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    pool = make_pool(1)
    with pytest.raises(InstallError, match=r"SyntaxError: .*\(wpc_inner.py, line 2\)") as caught:
        pool.define_worker_dependency(alias="wpc_outer", module_specifier="wpc_outer")
    assert str(tmp_path / "wpc_inner.py") in str(caught.value)


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("compile('def f(:', 'x.py', 'exec')", "invalid syntax (x.py, line 1)"),
        ("compile(' x', 'x.py', 'exec')", "unexpected indent (x.py, line 1)"),
        ("b'\\xff'.decode()", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (
            "'\\ud800'.encode()",
            "'utf-8' codec can't encode character '\\ud800' in position 0: surrogates not allowed",
        ),
        ("raise ExceptionGroup('two', [SyntaxError('a'), ValueError('b')])", "two (2 sub-exceptions)"),
        ("raise ValueError('v') from SyntaxError('a')", "v"),
        ("open('/nowhere')", "[Errno 2] No such file or directory: '/nowhere'"),
    ],
)
def test_an_error_whose_text_is_made_in_c_arrives_with_it(
    make_pool: Callable[..., WorkerProcedureCall], how: str, text: str
) -> None:
    error = make_pool(1, f"def f():\n    {how}").call.f().exception()
    assert str(error) == text
    if isinstance(error, ExceptionGroup):
        assert [str(each) for each in error.exceptions] == ["a", "b"]
    assert error.__cause__ is None or str(error.__cause__) == "a"


def test_a_subclass_of_such_an_error_arrives_with_its_text_and_attributes(
    make_pool: Callable[..., WorkerProcedureCall],
) -> None:
    pool = make_pool(
        1,
        "class Own(UnicodeDecodeError): pass\n"
        "def f():\n    own = Own('utf-8', b'\\xff', 0, 1, 'why')\n    own.more = 3\n    raise own",
    )
    error: Any = pool.call.f().exception()
    assert (type(error).__name__, error.object, error.reason, error.more) == ("Own", b"\xff", "why", 3)
