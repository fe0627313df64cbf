"""The small components of the core, tested by tables."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tests.pool.core.harness import World
from wpc_magic.pool.core.backoff import restart_delay_s
from wpc_magic.pool.core.calls import Call
from wpc_magic.pool.core.core import Core, ProcessFacts
from wpc_magic.pool.core.events import ErrorInfo, EventRing, WorkerEvent
from wpc_magic.pool.core.lifecycle import ALIVE, LOST, SlotState, Trigger, transition
from wpc_magic.pool.core.loads import Loads
from wpc_magic.pool.core.prefetch import ASYNC_DEPTH, prefetch_depth
from wpc_magic.pool.core.registry import Change, Kind, Record, Registry
from wpc_magic.pool.core.rollout import Rollout
from wpc_magic.pool.core.stats import FunctionStats, Histogram
from wpc_magic.pool.core.tally import Tally
from wpc_magic.pool.core.timers import Timers
from wpc_magic.pool.errors import OptionError
from wpc_magic.pool.options import PoolOptions

# -- the lifecycle of a slot ------------------------------------------------------------------------------

# fmt: off
TRANSITIONS = {
    #             start       ready    silent      answers  dies          exhausted revived       rests
    "stopped":    ("starting", None,    None,       None,    None,         None,     None,         None),
    "starting":   (None,       "ready", None,       None,    "restarting", None,     None,         None),
    "ready":      (None,       None,    "degraded", None,    "restarting", None,     None,         "resting"),
    "degraded":   (None,       None,    None,       "ready", "restarting", None,     None,         None),
    "restarting": (None,       "ready", None,       None,    "restarting", "failed", None,         None),
    "failed":     (None,       None,    None,       None,    None,         None,     "restarting", None),
    "resting":    (None,       None,    None,       None,    None,         None,     None,         None),
}
# fmt: on
ROWS = [
    (state, trigger, to)
    for state, row in TRANSITIONS.items()
    # Only a resting slot wakes, and every state can be stopped.
    for trigger, to in zip(
        Trigger, (*row, "starting" if state == "resting" else None, "stopped"), strict=True
    )
]


@pytest.mark.parametrize(("state", "trigger", "to"), ROWS)
def test_every_state_moves_by_every_trigger_as_the_table_says(state, trigger, to):
    if to is None:
        with pytest.raises(LookupError, match=f"a slot that is {state} cannot move by {trigger}"):
            transition(SlotState(state), trigger)
    else:
        assert transition(SlotState(state), trigger).value == to


def test_the_table_of_this_test_names_every_state():
    assert sorted(TRANSITIONS) == sorted(state.value for state in SlotState)


def test_the_named_sets_of_states_have_nothing_in_common():
    assert not ALIVE & LOST


# -- restarts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempt", "random", "options", "delay_ms"),
    [
        (1, 0.0, {}, 100),
        (2, 0.0, {}, 200),
        (3, 0.0, {}, 400),
        (4, 0.0, {}, None),
        (1, 0.5, {}, 150),
        (1, 1.0, {"restart_jitter_ms": 0}, 100),
        (3, 0.999, {"restart_max_delay_ms": 300}, 300),
        (2, 0.999, {"restart_max_delay_ms": 250}, 250),
        (1, 0.0, {"restart_base_delay_ms": 900, "restart_max_delay_ms": 300}, 300),
        (1_000_000, 0.5, {"max_restarts_per_worker": 2_000_000}, 5000),
        (1, 0.0, {"max_restarts_per_worker": 0}, None),
        (1, 0.0, {"restart_on_failure": False}, None),
    ],
)
def test_the_delay_doubles_up_to_its_cap_and_ends_with_the_budget(attempt, random, options, delay_ms):
    delay = restart_delay_s(attempt, PoolOptions(**options), random)
    assert delay == (None if delay_ms is None else pytest.approx(delay_ms / 1000))


# -- who takes the next call ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mean_s", "is_async", "most"),
    [
        (None, False, 1),
        (0.0, False, 64),
        (1e-5, False, 64),
        (0.0001, False, 20),
        (0.0005, False, 4),
        (0.001, False, 2),
        (0.0011, False, 1),
        (0.002, False, 1),
        (3600.0, False, 1),
        (None, True, ASYNC_DEPTH),
        (3600.0, True, ASYNC_DEPTH),
    ],
)
def test_only_quick_calls_are_prefetched(mean_s, is_async, most):
    assert prefetch_depth(mean_s, is_async) == most


def test_the_least_loaded_slot_is_found_and_ties_go_round():
    loads = Loads()
    for slot in (1, 2, 3):
        loads.put(slot, 0)
    order = []
    for _ in range(6):
        slot = loads.least_loaded(5)
        order.append(slot)
        loads.put(slot, order.count(slot))
    assert order == [1, 2, 3, 1, 2, 3]
    loads.put(2, 0)
    assert loads.least_loaded(1) == 2


def test_a_slot_at_the_limit_is_not_offered():
    loads = Loads()
    loads.put(1, 3)
    assert loads.least_loaded(3) is None
    assert loads.least_loaded(4) == 1
    assert loads.least_loaded(0) is None


def test_a_slot_that_was_dropped_is_not_offered_and_may_be_dropped_again():
    loads = Loads()
    loads.put(1, 0)
    loads.drop(1)
    loads.drop(1)
    assert loads.least_loaded(64) is None
    assert loads.slots() == []
    loads.put(1, 2)
    assert loads.slots() == [1]


# -- definitions ------------------------------------------------------------------------------------------


def function(name, *needs, key=0):
    return Record(name, Kind.FUNCTION, None, None, needs=needs, key=key)


def definition(name, kind=Kind.CONSTANT):
    return Record(name, kind, None, None)


def put(registry, *records, removed=()):
    change = registry.propose(records, removed)
    registry.commit(change)
    return change


def test_a_proposed_change_takes_effect_only_when_it_is_committed():
    registry = Registry(list)
    change = registry.propose([function("f")])
    assert registry.records == {}
    assert registry.epoch == 1
    registry.commit(change)
    assert list(registry.records) == ["f"]
    assert registry.epoch == change.epoch == 2


def test_the_number_of_an_aborted_change_is_never_used_again():
    registry = Registry(list)
    aborted = registry.propose([function("f")])
    assert registry.propose([function("g")]).epoch > aborted.epoch
    assert registry.propose([function("g")]).base == 1


def test_a_change_of_an_earlier_epoch_cannot_be_committed():
    registry = Registry(list)
    late = registry.propose([function("f")])
    put(registry, function("g"))
    with pytest.raises(ValueError, match="a change of epoch 1 cannot follow epoch 3"):
        registry.commit(late)


@pytest.mark.parametrize("old", Kind)
@pytest.mark.parametrize("new", Kind)
def test_a_name_keeps_its_kind_until_it_is_undefined(old, new):
    registry = Registry(list)
    put(registry, definition("x", old))
    if new is old:
        assert put(registry, definition("x", new)).records[0].revision == 2
        return
    with pytest.raises(OptionError, match=f"'x' is a {old} already; undefine that first"):
        registry.propose([definition("x", new)])
    put(registry, removed=("x",))
    put(registry, definition("x", new))
    assert registry.records["x"].kind is new


def test_what_a_worker_lacks_is_what_has_changed_since_its_epoch():
    registry = Registry(list)
    first = put(registry, function("f"), definition("K")).epoch
    put(registry, function("g"))
    put(registry, function("f", key=2))
    last = put(registry, removed=("K",)).epoch
    change = registry.since(first)
    assert (change.epoch, change.base) == (last, first)
    assert sorted(record.name for record in change.records) == ["f", "g"]
    assert change.removed == ("K",)
    assert registry.since(last) == Change(last, last, (), ())
    assert [record.key for record in registry.since(0).records if record.name == "f"] == [2]


def test_a_broken_record_is_kept_and_is_to_workers_as_if_it_were_removed():
    registry = Registry(list)
    put(registry, function("f"), function("g"))
    registry.commit(registry.mark_broken(["f", "no such name"], "it does not import"))
    assert registry.records["f"].broken == "it does not import"
    assert [record.name for record in registry.since(0).records] == ["g"]
    assert registry.since(0).removed == ("f",)
    put(registry, function("f"))
    assert sorted(record.name for record in registry.since(0).records) == ["f", "g"]


@pytest.mark.parametrize(
    ("records", "missing"),
    [
        ([function("f")], None),
        ([function("f", "K")], "K"),
        ([function("f", "K"), definition("K")], None),
        ([function("f", "a", "b"), definition("b")], "a"),
        ([function("f", "a", "b"), definition("a")], "b"),
        ([function("f", "g"), function("g", "K")], "K"),
        ([function("f", "g"), function("g", "h"), function("h", "f")], None),
        ([function("f", "f")], None),
    ],
)
def test_what_a_function_lacks_is_found_also_through_others(records, missing):
    registry = Registry(list)
    put(registry, *records)
    assert registry.missing("f") == missing


def test_what_is_lacking_is_looked_up_anew_after_a_change():
    registry = Registry(list)
    put(registry, function("f", "K"))
    assert registry.missing("f") == "K"
    put(registry, definition("K"))
    assert registry.missing("f") is None
    put(registry, removed=("K",))
    assert registry.missing("f") == "K"


@pytest.mark.parametrize("broken", ["f", "g", "K"])
def test_what_is_broken_is_lacking(broken):
    registry = Registry(list)
    put(registry, function("f", "g"), function("g", "K"), definition("K"))
    registry.commit(registry.mark_broken([broken], "why"))
    assert registry.missing("f") == broken


def test_the_epoch_of_the_last_change_of_a_name_is_known():
    registry = Registry(list)
    first = put(registry, function("f")).epoch
    put(registry, function("g"))
    assert registry.changed_at("f") == first
    last = put(registry, removed=("f",)).epoch
    assert registry.changed_at("f") == last


def test_records_of_a_kind_are_sorted_by_name():
    registry = Registry(list)
    put(registry, function("b"), definition("a"), function("A"), function("c"))
    assert [record.name for record in registry.of_kind(Kind.FUNCTION)] == ["A", "b", "c"]
    assert [record.name for record in registry.of_kind(Kind.CONSTANT)] == ["a"]


# -- the rollout of one change ----------------------------------------------------------------------------


def make_rollout(*free):
    return Rollout(Change(2, 1, (), ()), free)


def test_a_change_is_settled_when_all_that_were_free_have_accepted():
    rollout = make_rollout(1, 2)
    rollout.accept(1)
    rollout.accept(7)  # it was busy when it was asked
    assert not rollout.settled
    rollout.accept(2)
    assert rollout.settled
    assert rollout.refused_by is None
    assert rollout.holders == {1, 2, 7}


def test_one_refusal_settles_it_and_the_first_reason_counts():
    rollout = make_rollout(1, 2, 3)
    rollout.refuse(2, "why")
    rollout.refuse(3, "another reason")
    assert rollout.settled
    assert rollout.decided
    assert not rollout.committed
    assert (rollout.refused_by, rollout.reason) == (2, "why")


def test_a_worker_that_is_lost_is_not_waited_for_and_holds_nothing():
    rollout = make_rollout(1, 2)
    rollout.accept(1)
    rollout.lose(1)
    rollout.lose(2)
    assert rollout.settled
    assert rollout.holders == set()


def test_a_change_that_nobody_is_asked_for_is_settled_at_once():
    assert make_rollout().settled


# -- timers -----------------------------------------------------------------------------------------------


def test_callbacks_run_in_the_order_of_their_due_times_and_then_of_their_creation():
    timers, seen = Timers(), []
    for name, due in [("b", 2.0), ("a", 1.0), ("c", 2.0), ("d", 3.0)]:
        timers.call_at(due, lambda now, name=name: seen.append(name))
    timers.run(0.5)
    assert seen == []
    timers.run(2.0)
    assert seen == ["a", "b", "c"]
    assert timers.next_due == 3.0


def test_a_callback_that_adds_one_that_is_due_does_not_keep_the_timers_running():
    timers, seen = Timers(), []

    def again(now):
        seen.append(now)
        timers.call_at(now, again)

    timers.call_at(1.0, again)
    timers.run(1.0)
    assert seen == [1.0]
    assert timers.next_due == 1.0


def test_cleared_timers_do_not_run():
    timers = Timers()
    timers.call_at(1.0, pytest.fail)
    timers.clear()
    assert timers.next_due is None
    timers.run(9.0)


# -- events -----------------------------------------------------------------------------------------------


def event(number, **more):
    return WorkerEvent(f"event-{number}", 1, "parent", "worker_spawned", "info", "now", **more)


def test_the_ring_keeps_the_latest_and_counts_all():
    ring = EventRing(3)
    for number in range(10):
        ring.append(event(number))
    assert [each.event_id for each in ring.latest()] == ["event-7", "event-8", "event-9"]
    assert ring.total == 10


@pytest.mark.parametrize(("size", "kept"), [(2, [2, 3]), (3, [1, 2, 3]), (9, [1, 2, 3])])
def test_a_ring_that_is_resized_keeps_what_fits(size, kept):
    ring = EventRing(3)
    for number in range(4):
        ring.append(event(number))
    ring.resize(size)
    assert [each.event_id for each in ring.latest()] == [f"event-{number}" for number in kept]
    ring.append(event(4))
    assert len(ring.latest()) == min(size, len(kept) + 1)


def test_the_list_of_the_latest_events_is_a_copy():
    ring = EventRing(3)
    ring.append(event(1))
    ring.latest().clear()
    assert len(ring.latest()) == 1


def test_an_event_as_plain_data_leaves_out_what_is_absent():
    assert event(1).as_dict() == {
        "event_id": "event-1",
        "worker_id": 1,
        "source": "parent",
        "event_name": "worker_spawned",
        "severity": "info",
        "timestamp": "now",
    }
    full = event(2, correlation_id="call-3", error=ErrorInfo("E", "why"), details={"pid": 7})
    plain = json.loads(json.dumps(full.as_dict()))
    assert plain["error"] == {"name": "E", "message": "why", "stack": None}
    assert plain["details"] == {"pid": 7}
    assert plain["correlation_id"] == "call-3"


# -- statistics -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ns", [0, 1, 1023, 10**9, 3600 * 10**9, 10**30])
def test_a_histogram_takes_any_duration_and_finds_it_within_a_factor_of_two(ns):
    histogram = Histogram()
    histogram.add(ns)
    assert histogram.count == 1
    assert len(histogram.buckets) == 48
    if 0 < ns < 2**47:
        assert 0.5 <= histogram.quantile_s(0.5) * 1e9 / ns <= 2


def test_quantiles_are_ordered_and_an_empty_histogram_says_zero():
    histogram = Histogram()
    assert histogram.quantile_s(0.5) == 0.0
    for ms in range(1, 1001):
        histogram.add(ms * 1_000_000)
    found = [histogram.quantile_s(q) for q in (0.01, 0.25, 0.5, 0.9, 1.0)]
    assert found == sorted(found)
    assert 0.25 < histogram.quantile_s(0.5) < 1.0


def test_the_mean_follows_a_slow_call_at_once_and_quick_ones_gradually():
    stats = FunctionStats()
    stats.add(1_000_000, 0)
    assert stats.mean_s == pytest.approx(0.001)
    stats.add(1_000_000_000, 0)
    assert stats.mean_s == pytest.approx(1.0)
    stats.add(1_000_000, 0)
    assert 0.8 < stats.mean_s < 1.0


def test_the_mean_of_a_chunk_is_that_of_one_item():
    stats = FunctionStats()
    stats.add(1_000_000_000, 100)
    assert stats.mean_s == pytest.approx(0.01)


# -- snapshots --------------------------------------------------------------------------------------------


def busy_world():
    world = World(2)
    world.define("f")
    world.define("wait", is_async=True)
    world.submit("f")
    world.submit("wait", worker_id=2)
    world.submit("wait", worker_id=2)
    world.submit("f", worker_id=1)
    world.run()
    world.now += 1.5
    return world


def test_a_snapshot_shows_what_each_worker_runs():
    world = busy_world()
    snapshot = world.core.snapshot("wpc", world.now, {1: ProcessFacts(1 << 20, 12.5)})
    one, two = snapshot.workers
    assert (snapshot.state, snapshot.queued, snapshot.in_flight, snapshot.functions) == ("running", 1, 3, 2)
    assert (one.current_call, one.running_s, one.waiting) == ("f #1", pytest.approx(1.5), 1)
    assert (one.memory_bytes, one.cpu_percent) == (1 << 20, 12.5)
    assert (two.current_call, two.running_s, two.waiting) == ("wait #2 and 1 more", pytest.approx(1.5), 0)
    assert two.memory_bytes is None


def test_a_snapshot_shows_a_replaced_process_apart_from_the_one_that_took_its_place():
    world = busy_world()
    world.restart(1, drain=True)
    world.run()
    world.submit("f", worker_id=1)
    one = world.core.snapshot("wpc", world.now, {}).workers[0]
    (old,) = one.leaving
    assert (old.current_call, old.running_s, old.call_ids) == ("f #1", pytest.approx(1.5), ("call-1",))
    assert old.pid not in (None, one.pid)
    assert one.current_call != old.current_call
    assert "call-1" not in one.call_ids


def test_a_snapshot_shows_when_a_dead_slot_restarts():
    world = World(1)
    world.die(1)
    snapshot = world.core.snapshot("wpc", world.now, {}).workers[0]
    assert (snapshot.pid, snapshot.health_state) == (None, "restarting")
    assert snapshot.restart_in_s == pytest.approx(0.1)


def test_a_snapshot_can_be_sent_as_json_and_does_not_change_later():
    world = busy_world()
    snapshot = world.core.snapshot("wpc", world.now, {})
    before = json.dumps(snapshot.as_dict())
    with pytest.raises(dataclasses.FrozenInstanceError):
        snapshot.queued = 0
    world.answer_all()
    world.stop()
    world.run()
    assert json.dumps(snapshot.as_dict()) == before


def test_taking_snapshots_changes_nothing():
    world = busy_world()
    assert world.core.snapshot("wpc", world.now, {}) == world.core.snapshot("wpc", world.now, {})
    assert world.core.health() == world.core.health()
    assert not world.core.state.effects
    world.core.check()


def test_health_is_sorted_by_number_with_what_is_pending():
    world = busy_world()
    world.propose(world.record("g"))
    found = [dataclasses.astuple(each) for each in world.core.health()]
    assert found == [(1, "ready", 1, 1, 0), (2, "ready", 2, 1, 0)]


def test_a_new_core_is_stopped_and_settled_and_has_nothing_to_do():
    core = Core(
        PoolOptions(),
        timestamp=str,
        random=float,
        running=lambda _: (0, 0.0),
        installing=lambda _: "",
        load_again=list,
    )
    core.check()
    core.tick(1e9)
    assert core.is_settled()
    assert core.health() == []
    assert core.snapshot("wpc", 0.0, {}).workers == ()
    assert core.state.effects == []


def test_the_timers_of_calls_that_have_ended_do_not_accumulate():
    timers, seen = Timers(), []
    calls = [Call(n, "f", b"") for n in range(100_000)]
    timers.call_at(5.0, lambda now: seen.append("other"))
    for n, call in enumerate(calls):
        timers.call_at(3600.0, lambda now, n=n: seen.append(n), call)
        call.ended = n % 10_000 > 0
    assert len(timers.due) < 2_500
    timers.run(3600.0)
    assert {"other", *range(0, 100_000, 10_000)} <= set(seen)


# -- tallies ----------------------------------------------------------------------------------------------


def test_a_tally_that_includes_another_adds_all_that_it_has_counted():
    one, other = Tally(), Tally()
    for number, name in enumerate(Tally.__slots__, 1):
        setattr(other, name, number)
    for _ in range(2):
        one.include(other)
    assert [getattr(one, name) for name in Tally.__slots__] == [
        2 * number for number, _ in enumerate(Tally.__slots__, 1)
    ]
