"""Pickles in pieces: every value survives the round trip, and large bytes are not joined."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wpc_magic.pool.wire.codec import decode, encode
from wpc_magic.pool.wire.pickle_pieces import MIN_OUT_OF_BAND, read_pieces, write_pieces

BIG = MIN_OUT_OF_BAND + 1
VALUES = {
    "bytes": b"x" * BIG,
    "bytes in a list": ["a", b"x" * BIG, "b", b"y" * BIG, b"z"],
    "a bytearray": bytearray(b"x" * BIG),
    "a text": "ü" * BIG,
    "many small things": list(range(100_000)),
    "both": {"k": [b"q" * BIG] * 3, "n": list(range(50_000)), "o": OrderedDict(a=1)},
    "a number of many digits": 1 << (8 * BIG),
    "nothing": None,
}


def same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", VALUES)
def test_a_value_survives_the_round_trip(name: str, streaming: bool) -> None:
    value = VALUES[name]
    assert same(decode(*encode(value, streaming)), value)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    "make", [lambda a: a, lambda a: a[::2], lambda a: a[::-1], lambda a: a.reshape(100, -1).T]
)
def test_arrays_survive_the_round_trip(make, streaming: bool) -> None:
    array = make(np.arange(100_000.0))
    value = decode(*encode([array, "x"], streaming))
    assert (value[0] == array).all()
    assert value[1] == "x"


def test_large_bytes_are_passed_without_a_copy() -> None:
    large = b"x" * BIG
    pieces = write_pieces([1, large], lambda buffer: True)
    assert [piece is large for _, piece in pieces.large] == [True]
    assert len(pieces.body) < 100


def test_what_refers_to_main_is_sent_by_value_also_in_pieces() -> None:
    import __main__

    class Local: ...

    Local.__module__, Local.__qualname__ = "__main__", "Local"
    __main__.Local = Local
    try:
        body, buffers = encode([Local(), b"x" * BIG], streaming=True)
    finally:
        del __main__.Local
    assert type(decode(body, buffers)[0]).__name__ == "Local"  # although `__main__` no longer has this class


@settings(max_examples=60)
@given(st.lists(st.integers(0, 3 * MIN_OUT_OF_BAND), max_size=5), st.booleans())
def test_reading_never_depends_on_where_the_pieces_end(sizes: list[int], streaming: bool) -> None:
    value = [bytes([n]) * size for n, size in enumerate(sizes)]
    pieces = write_pieces(value, lambda buffer: True)
    assert read_pieces(pieces.body, pieces.large, []) == value
    assert decode(*encode(value, streaming)) == value
