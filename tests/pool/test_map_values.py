"""What a map remembers of the values that it has delivered."""

from __future__ import annotations

import pytest

from wpc_magic.pool.maps import values as map_values
from wpc_magic.pool.maps.values import DeliveredValues


class Value:
    """A value of its own, unlike a small number."""


def test_what_a_list_keeps_is_remembered() -> None:
    delivered, kept = DeliveredValues(), []
    for n in range(0, 300, 3):
        batch = [Value(), Value(), Value()]
        delivered.add(n, batch)
        kept += batch
        del batch
    assert list(delivered.by_item().values()) == kept
    assert list(delivered.by_item()) == list(range(300))


def test_what_a_loop_has_used_up_is_dropped_with_the_next_batch() -> None:
    delivered = DeliveredValues()
    for n in range(100):
        delivered.add(n, [Value()])
        assert list(delivered.by_item()) == [n]


def test_what_is_no_longer_kept_is_dropped_after_a_while() -> None:
    delivered, window = DeliveredValues(), [Value()]
    for n in range(1_000):
        window = [Value(), window[0]]
        delivered.add(n, window[:1])
        assert len(delivered.by_item()) <= 20


def test_a_failed_item_has_no_value() -> None:
    delivered = DeliveredValues()
    delivered.add(0, [1, None, 3], {1: ValueError()})
    assert delivered.by_item() == {0: 1, 2: 3}


@pytest.mark.parametrize("size", [1, 7])
def test_of_very_many_the_latest_are_remembered(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(map_values, "_MAX_ITEMS", 400)
    delivered, kept = DeliveredValues(), []
    for n in range(0, 2_100, size):
        batch = [Value() for _ in range(size)]
        delivered.add(n, batch)
        kept += batch
        del batch
        assert len(delivered.by_item()) <= 400
    found = delivered.by_item()
    assert len(found) >= 290
    assert list(found.values()) == kept[-len(found) :]
