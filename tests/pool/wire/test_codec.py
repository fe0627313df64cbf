"""Values to bytes and back."""

import sys
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wpc_magic.pool.wire.codec import decode, encode

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(PLAIN)
def test_plain_values_come_back(value):
    assert decode(*encode(value)) == value


def test_large_arrays_travel_apart_and_small_ones_do_not():
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


def test_functions_travel_by_value():
    factor = 3
    assert decode(*encode(lambda x: x * factor))(2) == 6


def test_classes_of_main_travel_by_value(monkeypatch):
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    exec(
        "class Point:\n    def __init__(self, x): self.x = x\n    def twice(self): return 2 * self.x",
        vars(main),
    )
    body, buffers = encode(main.Point(4))
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    assert decode(body, buffers).twice() == 8


def test_a_text_that_names_main_is_a_text():
    assert decode(*encode("if __name__ == '__main__':")) == "if __name__ == '__main__':"
    assert decode(*encode({"code": "__main__"})) == {"code": "__main__"}


def test_what_cannot_be_pickled_raises():
    with pytest.raises(TypeError, match="generator"):
        encode(n for n in range(3))


def test_a_value_that_pickles_its_way_out_is_not_swallowed():
    class Leaves:
        def __reduce__(self):
            raise SystemExit(3)

    with pytest.raises(SystemExit):
        encode(Leaves())
