"""When a wait for a quick call begins with a look: as long as that is clearly quicker than sleep."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wpc_magic.pool.core.spinning import Spinning

LIMIT = 50_000


def wait(spinning: Spinning, slept: int, looked: int | None) -> bool:
    """Wait once, as a thread does; return whether it has looked. None: in vain."""
    if spinning.pause:
        spinning.pause -= 1
        return False
    looks = bool(spinning.look_ns)
    if looks and looked is not None:
        spinning.waited(looked, True)
    else:
        spinning.waited(slept + spinning.look_ns, False)
    return looks


def looks_among(spinning: Spinning, count: int, slept: int, looked: int | None) -> int:
    return sum(wait(spinning, slept, looked) for _ in range(count))


def test_quicker_looks_take_the_place_of_nearly_all_sleep() -> None:
    assert looks_among(Spinning(LIMIT), 20_000, slept=80_000, looked=20_000) > 19_800


def test_looks_that_are_hardly_quicker_are_given_up() -> None:
    assert looks_among(Spinning(LIMIT), 20_000, slept=30_000, looked=27_000) < 200


def test_looks_in_vain_become_rare() -> None:
    spinning = Spinning(LIMIT)
    counts = [looks_among(spinning, 10_000, slept=80_000, looked=None) for _ in range(5)]
    assert counts[0] < 30
    assert sum(counts[1:]) < 15


def test_looks_end_when_others_need_the_processor_and_come_back_afterwards() -> None:
    spinning = Spinning(LIMIT)
    looks_among(spinning, 1_000, slept=80_000, looked=20_000)
    assert looks_among(spinning, 1_000, slept=80_000, looked=None) < 20
    assert looks_among(spinning, 10_000, slept=80_000, looked=20_000) > 8_000


def test_a_single_long_wait_decides_nothing() -> None:
    spinning = Spinning(LIMIT)
    for _ in range(7):
        spinning.waited(30_000, False)
    spinning.waited(10**9, False)
    for _ in range(16):
        spinning.waited(29_000, True)
    assert spinning.pause


def test_without_a_limit_there_is_no_look() -> None:
    spinning = Spinning(0)
    assert looks_among(spinning, 100_000, slept=80_000, looked=1) == 0
    spinning.set_limit(LIMIT)
    assert looks_among(spinning, 100, slept=80_000, looked=20_000) > 80
    spinning.set_limit(0)
    assert looks_among(spinning, 100, slept=80_000, looked=20_000) == 0


def test_looks_are_given_up_if_a_few_in_a_hundred_are_in_vain() -> None:
    spinning, looks = Spinning(LIMIT), 0
    for n in range(20_000):
        looks += wait(spinning, 80_000, None if n % 30 == 0 else 20_000)
    assert looks < 1_000


@given(st.lists(st.tuples(st.integers(0, 10**10), st.booleans(), st.booleans()), max_size=400))
def test_whatever_happens_a_look_is_as_long_as_allowed_and_a_pause_has_an_end(
    waits: list[tuple[int, bool, bool]],
) -> None:
    spinning = Spinning(LIMIT)
    for ns, in_time, is_skipped in waits:
        if is_skipped:  # the whole pause passes
            spinning.pause = 0
        if spinning.pause:
            spinning.pause -= 1
            continue
        assert spinning.look_ns in (0, LIMIT)
        spinning.waited(ns, bool(spinning.look_ns) and in_time)
        assert 0 <= spinning.pause <= 1 << 15
        assert not (spinning.pause and spinning.look_ns)


@given(st.lists(st.tuples(st.integers(0, 10**10), st.booleans()), max_size=2_000))
def test_whatever_happens_looks_in_vain_are_few_before_there_is_a_pause(
    waits: list[tuple[int, bool]],
) -> None:
    spinning, in_vain = Spinning(LIMIT), 0
    for ns, in_time in waits:
        looked = bool(spinning.look_ns)
        spinning.waited(ns, looked and in_time)
        in_vain += looked and not in_time
        if spinning.pause:
            assert in_vain <= 2 + 2_000 // 128 + 2
            return
