"""Invalid data on the channels, in both directions: it costs at most the worker that sends or receives it.

First the codec alone, then real pools. There a function of worker 1 writes to the sockets of its own process,
or the parent process sends invalid data to it, while worker 2 continues to work.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pool.conftest import PATIENCE_S
from wpc_magic import WorkerProcedureCall
from wpc_magic.pool.errors import WorkerCrashedError
from wpc_magic.pool.wire import protocol
from wpc_magic.pool.wire.block_ref import BlockRef
from wpc_magic.pool.wire.channel import HEADER, BadFrame, Channel, Reader, block_frame, frame
from wpc_magic.pool.wire.codec import encode, pack
from wpc_magic.pool.wire.validation import BadMessage, read_failure, read_message

SOURCE = '''
def _end(of):
    """Return the object that serves a channel of this worker."""
    import gc
    from wpc_magic.pool.worker.control import Control
    from wpc_magic.pool.worker.server import Server
    kind = {"call": Server, "control": Control}[of]
    return next(thing for thing in gc.get_objects() if type(thing) is kind)

def writes(of, data, value):
    """Write to a channel of this worker; the number of this call replaces the placeholder SELF."""
    own = _end("call")._begun.to_bytes(8, "little")
    _end(of)._sock.sendall(data.replace(b"=-SELF-=", own))
    return value

def passes(lease, count, data):
    """Send descriptors as if they were those of a block, and write to the call channel."""
    import _socket, os
    end = _end("call")
    fds = [os.open(os.devnull, os.O_RDONLY) for _ in range(count)]
    rights = b"".join(fd.to_bytes(4, "little") for fd in fds)
    about = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if fds else []
    end.shared._sender._sock.sendmsg([lease], about)
    for fd in fds:
        os.close(fd)
    end._sock.sendall(data.replace(b"=-SELF-=", end._begun.to_bytes(8, "little")))

async def awaits(of, data, value):
    return writes(of, data, value)

def double(x):
    return 2 * x

def pid():
    import os
    return os.getpid()
'''
SELF = int.from_bytes(b"=-SELF-=", "little")  # a placeholder for the number of the call that writes
FAILURE = protocol.Failure(None, "Made", "up", "", "", ("Made", "Exception"))


def joined(pieces: list[Any]) -> bytes:
    return b"".join(map(bytes, pieces))


def a_frame(kind: int, body: bytes = b"", seq: int = 0, target: int = 0, epoch: int = 0) -> bytes:
    return joined(frame(kind, epoch, target, seq, body))


def message(what: object) -> bytes:
    return a_frame(protocol.MESSAGE, pack(what))


# -- the codec alone -------------------------------------------------------------------------------------

U64 = st.integers(0, 2**64 - 1)
SIZES = st.integers(0, 200) | st.sampled_from([2**16, 2**31, 2**33, 2**39, 2**40, 2**41, 2**63]) | U64
HEADS = st.tuples(
    st.integers(0, 11), st.sampled_from([0, 0, 0, 1, 2]), st.integers(0, 3) | st.just(65535),
    st.just(0), U64, U64, SIZES,
).map(lambda head: HEADER.pack(*head))  # fmt: skip
HONEST = st.tuples(st.integers(1, 7), st.binary(max_size=60), st.lists(st.binary(max_size=50), max_size=3))
STREAMS = st.lists(
    st.one_of(
        st.binary(max_size=60),
        HEADS,
        HONEST.map(lambda one: joined(frame(one[0], 0, 1, 2, one[1], [memoryview(b) for b in one[2]]))),
        st.builds(
            lambda parts, spans: joined(block_frame(4, 0, 1, 2, b"body", BlockRef(parts, spans))),
            st.lists(st.tuples(U64, U64, U64), max_size=3).map(tuple),
            st.lists(st.tuples(st.integers(0, 3) | U64, U64, U64), max_size=3).map(tuple),
        ),
    ),
    max_size=6,
).map(b"".join)


@contextlib.contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, two = socket.socketpair()
    with one, two:
        yield one, two


@settings(max_examples=400)
@given(STREAMS, st.lists(st.integers(1, 90), max_size=20))
def test_any_bytes_are_frames_or_are_rejected(stream: bytes, cuts: list[int]) -> None:
    with pair() as (ours, theirs):
        channel = Channel(theirs)
        while stream:
            n = cuts.pop() if cuts else len(stream)
            ours.sendall(stream[:n])
            stream = stream[n:]
            with contextlib.suppress(BlockingIOError):
                try:
                    while True:
                        for kind, _, _, _, body, buffers in channel.read():
                            assert protocol.MESSAGE <= kind <= protocol.ITEMS
                            len(body), len(buffers)
                except BadFrame:
                    return


def test_a_frame_that_claims_gigabytes_takes_no_memory_before_they_arrive() -> None:
    process = psutil.Process()
    with pair() as (ours, theirs):
        reader = Reader(theirs)
        before = process.memory_info().rss
        ours.sendall(
            HEADER.pack(protocol.VALUE, 0, 1, 0, 0, 1, (1 << 30) + 16) + (1 << 30).to_bytes(8, "little")
        )
        assert reader.read() == []
        ours.sendall(bytes(1000))
        assert reader.read() == []
        assert process.memory_info().rss - before < 1 << 26


ITEMS = st.one_of(
    st.none(),
    st.integers(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.tuples(st.integers()),
    st.just(FAILURE),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
KINDS = st.sampled_from([getattr(protocol, name) for name in protocol.__all__ if name[1].islower()])


@st.composite
def messages(draw: Any) -> Any:
    kind = draw(KINDS)
    if not hasattr(kind, "_fields"):  # the two unions
        return draw(ITEMS)
    return tuple.__new__(kind, draw(st.lists(ITEMS, max_size=6)))


GOOD_ITEMS = {int, str, bytes, tuple, dict, type(None), protocol.Failure}


@settings(max_examples=400)
@given(messages())
def test_a_protocol_message_is_valid_or_is_rejected(thing: Any) -> None:
    try:
        read = read_message(pack(thing))
    except BadMessage:
        return
    assert read == thing
    if type(read) in (protocol.Printed, protocol.Event, protocol.Revoked, protocol.Refused):
        assert len(read) == len(type(read)._fields)
        assert {type(item) for item in read} <= GOOD_ITEMS


@settings(max_examples=400)
@given(st.sampled_from([FAILURE, protocol.Printed(1, "stdout", "text"), protocol.Revoked((1, 2))]), st.data())
def test_a_corrupted_message_is_plain_data_or_is_rejected(thing: Any, data: Any) -> None:
    body = bytearray(pack(thing))
    for _ in range(data.draw(st.integers(1, 4))):
        # Exclude LONG_BINPUT: it makes the unpickler's memo as large as the four bytes after it say.
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(
            st.integers(0, 255).filter(lambda b: b != 114)
        )
    for read in (read_message, read_failure):
        with contextlib.suppress(BadMessage):
            read(body)


def test_reading_a_message_runs_nothing_and_imports_nothing() -> None:
    for thing in (print, threading.Thread, encode):
        with pytest.raises(BadMessage, match="none of our messages"):
            read_message(pack(thing))


# -- from a worker ---------------------------------------------------------------------------------------


class Case(NamedTuple):
    """The data to write, and its expected effects."""

    data: bytes
    event: str | None = None  # that must be emitted
    replaced: bool = False  # whether the worker is replaced; then the call that has written fails
    channel: str = "call"
    value: object = "its own"  # of that call


UNKNOWN, MALFORMED = "unknown_worker_message", "malformed_worker_message"
VALUE = pack("forged")
FROM_WORKER = {
    "noise": Case(bytes(range(200, 256)) * 3, MALFORMED, True),
    "text": Case(b"Segmentation fault (no, not really)\n" * 2, MALFORMED, True),
    "noise on the control channel": Case(bytes(range(200, 256)), MALFORMED, True, "control"),
    "kind 0": Case(HEADER.pack(0, 0, 0, 0, 0, 0, 0), MALFORMED, True),
    "contents that were not asked for": Case(
        joined(frame(9, 0, 1, SELF, b"", [memoryview(b"forged")])), MALFORMED, True
    ),
    "kind 12": Case(HEADER.pack(12, 0, 0, 0, 0, 0, 0), MALFORMED, True),
    "items of a call that is no stream": Case(joined(frame(11, 0, 1, SELF, pack(1))), MALFORMED, True),
    "more items than there are": Case(joined(frame(11, 0, 9, SELF, b"1234")), MALFORMED, True),
    "too large": Case(HEADER.pack(4, 0, 0, 0, 0, SELF, 1 << 41), MALFORMED, True),
    "half a header": Case(HEADER.pack(4, 0, 0, 0, 0, SELF, 0)[:10], MALFORMED, True),
    "half a frame": Case(HEADER.pack(4, 0, 0, 0, 0, SELF, 500) + b"x" * 100, MALFORMED, True),
    "half a large frame": Case(HEADER.pack(4, 0, 0, 0, 0, SELF, 1 << 30) + b"x" * 100, MALFORMED, True),
    "half a frame on the control channel": Case(
        HEADER.pack(1, 0, 0, 0, 0, 0, 1 << 19) + b"x", MALFORMED, True, "control"
    ),
    "buffers beyond the frame": Case(HEADER.pack(4, 0, 1, 0, 0, SELF, 8) + b"\xff" * 8, MALFORMED, True),
    "a block that never arrived": Case(
        joined(block_frame(4, 0, 0, SELF, VALUE, BlockRef(((77, 1 << 20, 1),), ((0, 0, 9),)))),
        MALFORMED,
        True,
    ),
    "buffers beyond their block": Case(
        joined(block_frame(4, 0, 0, SELF, VALUE, BlockRef(((1, 8, 1),), ((0, 4, 9),)))), MALFORMED, True
    ),
    "its value, twice": Case(a_frame(4, VALUE, SELF), UNKNOWN, value="forged"),
    "a value for a call that was never made": Case(a_frame(4, VALUE, 12345), UNKNOWN),
    "an error for a call that was never made": Case(a_frame(5, pack(FAILURE), 12345), UNKNOWN),
    "an error that is noise": Case(a_frame(5, b"noise", SELF), MALFORMED, True),
    "an error that is a number": Case(a_frame(5, pack(7), SELF), MALFORMED, True),
    "a torn error": Case(a_frame(5, pack(tuple.__new__(protocol.Failure, (1,))), SELF), MALFORMED, True),
    "a call, backwards": Case(a_frame(2, pack(((), {})), 9, 1, 1), UNKNOWN),
    "a chunk, backwards": Case(a_frame(3, b"noise", 9, 1, 1), UNKNOWN),
    "a beginning of nothing": Case(a_frame(6, b"", 12345, 99), UNKNOWN),
    "leases that are none": Case(a_frame(7, (99).to_bytes(8, "little") + b"\xff" * 8)),
    "torn leases": Case(a_frame(7, b"1234567"), MALFORMED, True),
    "a message that is noise": Case(a_frame(1, b"noise"), MALFORMED, True),
    "an empty message": Case(a_frame(1, b""), MALFORMED, True),
    "a message that is a number": Case(message(7), UNKNOWN),
    "a message that is a function": Case(message(print), MALFORMED, True),
    "a message that is for workers": Case(message(protocol.Ping(1)), UNKNOWN),
    "a pong on the wrong channel": Case(message(protocol.Pong(1))),
    "a value on the control channel": Case(a_frame(4, VALUE, SELF), MALFORMED, True, "control"),
    "text for a call that was never made": Case(message(protocol.Printed(12345, "stderr", ""))),
    "text that is none": Case(message(protocol.Printed(SELF, "stdout", 7)), MALFORMED, True),  # type: ignore[arg-type]
    "an epoch that never was": Case(message(protocol.Installed(999))),
    "an epoch that is none": Case(message(protocol.Installed("x")), MALFORMED, True),  # type: ignore[arg-type]
    "no to an epoch that never was": Case(message(protocol.Refused(999, FAILURE, "double"))),
    "revoked what was never sent": Case(message(protocol.Revoked((12345,))), None, False, "control"),
    "revoked what runs": Case(b"replaced below", MALFORMED, True, "control"),
    "an event without a name": Case(
        message(protocol.Event(None, "error", 0, None, {})),  # type: ignore[arg-type]
        MALFORMED,
        True,
    ),
    "an event of no severity": Case(message(protocol.Event("x", "bad", 0, None, {})), MALFORMED, True),
}


class Arena:
    """Two workers: the first is under test, the second must not be affected."""

    def __init__(self, pool: WorkerProcedureCall, listener: Any) -> None:
        self.pool = pool
        self.listener = listener
        self.first, self.second = (self.call("pid", n).result(PATIENCE_S) for n in (1, 2))
        self.calls = 2  # at least so many have been sent to worker 1

    def call(self, name: str, worker: int, *args: object) -> Any:
        return self.pool.call[name].options(worker_id=worker)(*args)

    def bystanders(self) -> list[Any]:
        return [self.call("double", 2, n) for n in range(20)]

    def check(self, bystanders: list[Any]) -> None:
        """Check that worker 2 was not affected, and that both work."""
        assert [each.result(PATIENCE_S) for each in bystanders] == [2 * n for n in range(20)]
        assert self.call("pid", 2).result(PATIENCE_S) == self.second
        assert self.call("double", 1, 21).result(PATIENCE_S) == 42
        assert self.pool.call.double(4).result(PATIENCE_S) == 8
        assert list(self.pool.call.double.map(range(100))) == [2 * n for n in range(100)]
        self.pool.wait_until_ready()
        with self.pool._driver.lock:
            self.pool._driver.core.check()

    def is_replaced(self) -> bool:
        before, self.first = self.first, self.call("pid", 1).result(PATIENCE_S)
        return bool(before != self.first)


@pytest.fixture
def arena(make_pool: Any, listen: Any) -> Arena:
    pool = make_pool(
        2,
        SOURCE,
        heartbeat_interval_ms=20,
        max_restarts_per_worker=1000,
        restart_max_delay_ms=1,
    )
    pool.output_sink = lambda output: None
    return Arena(pool, listen(pool))


@pytest.mark.parametrize("what", FROM_WORKER)
def test_invalid_data_from_a_worker_costs_no_more_than_that_worker(what: str, arena: Arena) -> None:
    case = FROM_WORKER[what]
    data = case.data
    if what == "revoked what runs":  # the number is inside a pickle: this is the worker's second call
        data = message(protocol.Revoked((2,)))
    bystanders = arena.bystanders()
    call = arena.call("writes", 1, case.channel, data, "its own")
    error = call.exception(PATIENCE_S)
    if error is not None:
        assert case.replaced
        assert isinstance(error, WorkerCrashedError)
        assert "was killed, since it had sent malformed data: " in str(error)
    else:  # if both channels are readable, the answer may be read before the invalid data
        assert not case.replaced or case.channel == "control"
        assert call.result() == case.value
        if what == "revoked what runs":  # it had ended, and a call may end while its revocation is on its way
            arena.check(bystanders)
            return
    if case.event is not None:
        arena.listener.until(case.event)
    arena.check(bystanders)
    assert arena.is_replaced() == case.replaced
    names = {event.event_name for event in arena.pool.events()} & {UNKNOWN, MALFORMED}
    assert names == ({case.event} if case.event is not None else set())


def test_a_value_that_is_noise_is_an_error_of_its_call(arena: Arena) -> None:
    call = arena.call("writes", 1, "call", a_frame(4, b"noise", SELF), None)
    with pytest.raises(Exception, match=r"load key|pickle"):
        call.result(PATIENCE_S)
    arena.check(arena.bystanders())
    assert not arena.is_replaced()


@pytest.mark.parametrize(
    ("lease", "count", "ends"),
    [
        (b"", 0, WorkerCrashedError),
        (b"12345678", 0, WorkerCrashedError),
        (b"123", 1, WorkerCrashedError),
        (b"123", 2, WorkerCrashedError),
        # The descriptor of a device, which is empty.
        ((77).to_bytes(8, "little"), 1, WorkerCrashedError),
        ((77).to_bytes(8, "little"), 2, WorkerCrashedError),
        ((77).to_bytes(8, "little"), 20, WorkerCrashedError),
    ],
)
def test_descriptors_that_are_not_blocks_are_closed(
    lease: bytes, count: int, ends: Any, arena: Arena
) -> None:
    ref = BlockRef(((77, 1 << 19, 1),), ((0, 0, 70_000),))
    data = joined(block_frame(4, 0, 0, SELF, b"body", ref))
    open_before = len(os.listdir("/proc/self/fd"))
    call = arena.call("passes", 1, lease, count, data)
    with pytest.raises(ends):
        call.result(PATIENCE_S)
    del call
    arena.check(arena.bystanders())
    gc.collect()
    deadline = time.monotonic() + PATIENCE_S
    while len(os.listdir("/proc/self/fd")) != open_before:  # those of the worker that has died, say
        assert time.monotonic() < deadline


def test_a_coroutine_that_says_it_begins_in_the_future_still_times_out(arena: Arena) -> None:
    arena.pool.define_worker_functions(
        """
async def waits(data):
    import asyncio
    writes("call", data, None)
    await asyncio.sleep(3600)
"""
    )
    call = arena.pool.call.waits.options(worker_id=1, timeout_ms=1)
    future = call(a_frame(6, b"", SELF, 2**63))
    with pytest.raises(TimeoutError):
        future.result(PATIENCE_S)
    arena.check(arena.bystanders())


# -- to a worker -----------------------------------------------------------------------------------------

TO_WORKER = {
    "noise": Case(bytes(range(200, 256)) * 3, None, True),
    "noise on the control channel": Case(bytes(range(200, 256)), None, True, "control"),
    "too large": Case(HEADER.pack(2, 0, 0, 0, 0, 9, 1 << 41), None, True),
    "torn leases": Case(a_frame(7, b"1234567"), None, True),
    "an answer, backwards": Case(a_frame(4, VALUE, 1), "malformed_parent_message"),
    "a message that is noise": Case(a_frame(1, b"noise"), "malformed_parent_message"),
    "a message that is from workers": Case(message(protocol.Pong(1)), "malformed_parent_message"),
    "an order that is noise": Case(a_frame(1, b"noise"), "malformed_control_request", False, "control"),
    "an order that is a number": Case(message(7), "malformed_control_request", False, "control"),
    "an order to revoke nothing": Case(message(protocol.Revoke((1,))), None, False, "control"),
    "an order to interrupt nothing": Case(message(protocol.Interrupt(1)), None, False, "control"),
    "a call of no function": Case(a_frame(2, pack(((), {})), 1, 999), UNKNOWN),
    "a call in no epoch": Case(a_frame(2, pack(((), {})), 1, 1, 999), UNKNOWN),
    "a call whose arguments are noise": Case(a_frame(2, b"noise", 1, 1, 1), UNKNOWN),
    "a call whose block never arrived": Case(
        joined(block_frame(2, 1, 999, 1, VALUE, BlockRef(((77, 1 << 20, 1),), ((0, 0, 9),)))), None, True
    ),
    "a chunk whose items are noise": Case(a_frame(3, b"noise", 1, 1, 1), UNKNOWN),
    "an epoch on top of none": Case(message(protocol.Install(1000, 999, (), (), ())), None),
    "an unknown epoch to forget": Case(message(protocol.Forget(999)), None),
}


@pytest.mark.parametrize("what", TO_WORKER)
def test_invalid_data_to_a_worker_costs_no_more_than_that_worker(what: str, arena: Arena) -> None:
    case = TO_WORKER[what]
    bystanders = arena.bystanders()
    driver = arena.pool._driver
    with driver.lock:
        link = driver.parts.links[1]
        channel = link.call if case.channel == "call" else link.control
        assert channel.send([case.data])
    if case.event is not None:
        arena.listener.until(case.event)
    if case.replaced:
        arena.listener.until("worker_exited", exitcode=70)
    arena.check(bystanders)
    assert arena.is_replaced() == case.replaced


# -- at random -------------------------------------------------------------------------------------------


def invalid(rng: random.Random) -> bytes:
    """Return noise, an unexpected frame, or a frame of the table that is truncated or altered."""
    roll = rng.random()
    if roll < 0.2:
        return rng.randbytes(rng.randrange(1, 200))
    if roll < 0.4:
        kind, size = rng.randrange(10), rng.choice((0, 5, 60, 1 << 20, 1 << 30))
        head = HEADER.pack(kind, rng.randrange(3), rng.randrange(3), 0, rng.getrandbits(64), SELF, size)
        return head + rng.randbytes(rng.randrange(80))
    data = bytearray(rng.choice(list(FROM_WORKER.values())).data)
    if roll < 0.7:
        return bytes(data[: rng.randrange(1, len(data) + 1)])
    for _ in range(rng.randrange(1, 4)):
        data[rng.randrange(len(data))] = rng.choice((0, 1, 2, 4, 5, 255, rng.randrange(256)))
    return bytes(data) * rng.randrange(1, 3)


@pytest.mark.parametrize("seed", range(4))
def test_after_any_invalid_data_each_call_ends_and_the_other_worker_continues(
    seed: int, arena: Arena
) -> None:
    rng = random.Random(seed)
    for _ in range(12):
        data, channel = invalid(rng), rng.choice(("call", "call", "control"))
        name = rng.choice(("writes", "writes", "awaits"))
        bystanders = arena.bystanders()
        ahead = [arena.call("double", 1, n) for n in range(5)]
        arena.call(name, 1, channel, data, "its own").exception(PATIENCE_S)  # whatever the outcome, it ends
        behind = [arena.call("double", 1, n) for n in range(5)]
        # Half a frame is detected at a heartbeat, so a later call may be the one that fails with the worker.
        for n, each in [*enumerate(ahead), *enumerate(behind)]:
            error = each.exception(PATIENCE_S)
            assert isinstance(error, WorkerCrashedError) if error is not None else each.result() == 2 * n
        assert [each.result(PATIENCE_S) for each in bystanders] == [2 * n for n in range(20)]
    while arena.call("double", 1, 21).exception(PATIENCE_S) is not None:
        pass
    arena.pool.restart_worker(1)
    arena.pool.wait_until_ready()  # until then calls go to the old process, which may have sent half a frame
    arena.check(arena.bystanders())


def test_large_values_cross_while_the_channel_of_another_worker_is_noise(arena: Arena) -> None:
    large = [arena.call("double", 2, bytearray(3_000_000)) for _ in range(3)]
    with pytest.raises(WorkerCrashedError):
        arena.call("writes", 1, "call", b"\xff" * 100, bytes(3_000_000)).result(PATIENCE_S)
    assert [len(each.result(PATIENCE_S)) for each in large] == [6_000_000] * 3
    arena.check(arena.bystanders())
