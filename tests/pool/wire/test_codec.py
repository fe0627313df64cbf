"""Serialization of values."""

import copyreg
import gc
import subprocess
import sys
import threading
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pool.conftest import PATIENCE_S, ROOT
from wpc_magic.pool.wire.codec import decode, encode, encode_whole

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(PLAIN)
def test_plain_values_come_back(value):
    assert decode(*encode(value)) == value


def test_large_arrays_are_out_of_band_and_small_ones_are_not():
    large, small = np.arange(100_000.0), np.arange(10.0)
    body, buffers = encode([large, small])
    assert [buffer.nbytes for buffer in buffers] == [large.nbytes]
    assert len(body) < 1000
    back = decode(body, [bytearray(buffer) for buffer in buffers])
    assert (back[0] == large).all()
    assert (back[1] == small).all()
    back[0][0] = back[1][0] = 5


def test_what_is_decoded_on_read_only_memory_is_read_only():
    body, buffers = encode(np.zeros(100_000))
    array = decode(body, [memoryview(bytes(buffer)).toreadonly() for buffer in buffers])
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


@pytest.mark.parametrize("make", [lambda n: "x" * n, bytes, bytearray, lambda n: ["y" * n, bytearray(n)]])
@pytest.mark.parametrize("size", [0, 10, 65_535, 65_536, 1_000_000])
def test_long_texts_and_bytes_come_back(make, size):
    value = make(size)
    body, buffers = encode(value)
    back = decode(body, [bytearray(buffer) for buffer in buffers])
    assert back == value
    assert type(back) is type(value)


def test_functions_are_sent_by_value():
    factor = 3
    assert decode(*encode(lambda x: x * factor))(2) == 6


def test_classes_of_main_are_sent_by_value(monkeypatch):
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    exec(
        "class Point:\n    def __init__(self, x): self.x = x\n    def twice(self): return 2 * self.x",
        vars(main),
    )
    body, buffers = encode(main.Point(4))
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    assert decode(body, buffers).twice() == 8


def test_a_value_that_arrives_leaves_a_class_of_this_process_as_it_is():
    class Counted:
        count = 1

    body = encode_whole(Counted())
    Counted.count = 5
    assert type(decode(body)) is Counted
    assert Counted.count == 5


class Slow:
    """A base whose subclasses take long to be made, in one thread."""

    making = threading.Event()
    go_on = threading.Event()
    waits = None

    def __init_subclass__(cls):
        if threading.get_ident() == Slow.waits:
            Slow.making.set()
            assert Slow.go_on.wait(PATIENCE_S)


def test_a_class_that_arrives_in_two_threads_at_once_is_one_and_whole():
    # one thread     makes the class ...................... finds that the other has made it
    # this thread                    makes it, sets its state, uses it
    def pickled():
        class Arriving(Slow):
            count = 3

        return encode_whole(Arriving())

    body = pickled()
    gc.collect()
    found = []

    def arrive():
        Slow.waits = threading.get_ident()
        found.append(decode(body))

    thread = threading.Thread(target=arrive)
    thread.start()
    assert Slow.making.wait(PATIENCE_S)
    mine = decode(body)
    assert mine.count == 3
    Slow.go_on.set()
    thread.join()
    Slow.waits = None
    assert type(found[0]) is type(mine)
    assert found[0].count == 3


def test_cloudpickle_is_loaded_only_where_it_is_needed():
    code = """
import sys
from wpc_magic.pool.wire.codec import decode, encode
decode(*encode([1, {"a": b"x" * 100_000}]))
print("cloudpickle" in sys.modules)
decode(*encode(lambda: 1))
print("cloudpickle" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=ROOT,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("False\nTrue\n", "")


def test_a_string_that_contains_main_is_sent_unchanged():
    assert decode(*encode("if __name__ == '__main__':")) == "if __name__ == '__main__':"
    assert decode(*encode({"code": "__main__"})) == {"code": "__main__"}


class Series:
    by_value = False


class Counted:
    """Is pickled by a reducer that counts."""


def test_where_pickle_did_not_suffice_for_one_of_a_series_it_is_not_tried_for_the_next():
    times = []

    def reduce(value):
        times.append(value)
        return Counted, ()

    series, filters = Series(), ["__main__", Counted()]  # as the filters of warnings are
    plain = ["main", Counted()]
    copyreg.pickle(Counted, reduce)
    try:
        for value, expected in [(plain, 1), (filters, 2), (filters, 1), (plain, 1), (plain, 1)]:
            times.clear()
            assert decode(*encode(value, series=series))[0] == value[0]
            assert len(times) == expected
    finally:
        del copyreg.dispatch_table[Counted]


def test_reducers_hold_for_what_is_sent_by_value_too():
    copyreg.pickle(Counted, lambda value: (str, ("reduced",)))
    try:
        assert decode(*encode([Counted(), lambda: 1]))[0] == "reduced"
    finally:
        del copyreg.dispatch_table[Counted]
    assert type(decode(*encode([Counted(), lambda: 1]))[0]) is Counted


def test_what_cannot_be_pickled_raises():
    with pytest.raises(TypeError, match="generator"):
        encode(n for n in range(3))


def test_a_system_exit_while_pickling_is_not_swallowed():
    class Leaves:
        def __reduce__(self):
            raise SystemExit(3)

    with pytest.raises(SystemExit):
        encode(Leaves())
