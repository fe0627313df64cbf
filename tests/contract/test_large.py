"""What is large: the same promises, however its bytes travel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wpc_magic.pool import WorkerProcedureCall

SOURCE = """
def add_one(array):
    array += 1
    return array

def last(array): return float(array[-1])

def pieces(n):
    for x in range(n):
        yield bytes([x]) * 1_000_000
"""
SIZE = 500_000  # of 8 bytes

MakePool = Callable[..., WorkerProcedureCall]


def test_arguments_and_values_are_copies(make_pool: MakePool) -> None:
    pool = make_pool(1, SOURCE)
    sent = np.arange(float(SIZE))
    for _ in range(2):
        received = pool.call.add_one(sent).result()
        assert (received == sent + 1).all()
        assert sent[-1] == SIZE - 1
        received[0] = 7  # it is the caller's own


def test_a_value_goes_to_another_call_and_is_kept_for_those_who_ask(make_pool: MakePool) -> None:
    pool = make_pool(2, SOURCE)
    kept = pool.call.add_one.remote(np.zeros(SIZE))
    assert pool.call.add_one(kept).result()[-1] == 2
    assert list(pool.map("last", [kept, pool.call.add_one(kept)])) == [1, 2]
    assert kept.result()[-1] == 1


def test_a_constant_is_the_same_in_all_workers_and_read_only(make_pool: MakePool) -> None:
    pool = make_pool(2)
    pool.define_worker_constant(name="WEIGHTS", value=np.ones(SIZE))
    pool.define_worker_functions("def spoil(): WEIGHTS[0] = 1\ndef total(): return float(WEIGHTS.sum())")
    assert isinstance(pool.call.spoil().exception(), ValueError)
    assert [future.result() for future in pool.broadcast("total").values()] == [SIZE, SIZE]
    pool.define_worker_constant(name="WEIGHTS", value=np.zeros(SIZE))
    assert [future.result() for future in pool.broadcast("total").values()] == [0, 0]


def test_the_items_of_a_stream_arrive_as_they_were(make_pool: MakePool) -> None:
    pool = make_pool(1, SOURCE)
    items = list(pool.call.pieces.options(buffer=2)(5))
    assert items == [bytes([n]) * 1_000_000 for n in range(5)]
