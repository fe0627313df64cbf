"""What holds on which engine, as the README has it, and which tests of this folder show it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["PROMISES", "Promise"]

HOLDS = "yes"


class Promise(NamedTuple):
    """A row of the README's table.

    Parameters
    ----------
    what : str
        What is promised.
    tests : tuple of str
        The tests that show it, on each engine.
    local, cluster : str
        What holds of it on this machine, and on a cluster.
    """

    what: str
    tests: tuple[str, ...]
    local: str = HOLDS
    cluster: str = HOLDS


PROMISES = [
    Promise(
        "a call has its value, or its own error with class, attributes, cause and the lines of the cell",
        (
            "test_a_call_returns_its_value",
            "test_an_error_is_itself_with_attributes_cause_and_lines_of_the_cell",
            "test_wrong_arguments_are_refused_here",
            "test_what_ends_a_program_or_cannot_travel_fails_its_call_only",
            "test_objects_of_a_cells_classes_keep_their_class",
            "test_a_call_can_be_awaited",
        ),
    ),
    Promise(
        "coroutines interleave; priorities, `at_most`, `resources`, `broadcast`, seeds",
        (
            "test_coroutines_interleave_on_one_worker",
            "test_calls_of_a_higher_priority_begin_first",
            "test_no_more_calls_are_at_workers_than_a_function_may_have",
            "test_calls_use_no_more_of_a_resource_at_once_than_there_is",
            "test_a_broadcast_runs_once_in_every_worker",
            "test_random_numbers_follow_from_the_seed",
        ),
    ),
    Promise(
        "futures as arguments, values that are kept, functions that are not registered, executors",
        (
            "test_a_future_is_an_argument_of_another_call",
            "test_a_value_goes_to_another_call_and_is_kept_for_those_who_ask",
            "test_a_function_need_not_be_registered",
            "test_the_pool_is_an_executor",
        ),
    ),
    Promise(
        "maps and streams: every item once, in order, the errors of items, an end that ends the work",
        (
            "test_a_map_gives_every_value_once_and_in_order",
            "test_a_map_takes_items_as_workers_need_them",
            "test_an_item_that_fails_is_named_and_what_was_done_is_kept",
            "test_a_map_that_is_closed_ends_its_work",
            "test_a_stream_arrives_in_order_and_its_error_after_its_items",
            "test_a_stream_that_is_closed_ends_its_function",
            "test_maps_and_streams_can_be_awaited",
        ),
    ),
    Promise(
        "large arguments, values and constants are copies that nobody else sees",
        (
            "test_arguments_and_values_are_copies",
            "test_a_constant_is_the_same_in_all_workers_and_read_only",
            "test_the_items_of_a_stream_arrive_as_they_were",
        ),
        "in shared memory",
        "over the network, arguments and constants once to each machine; kept values stay where they are",
    ),
    Promise(
        "a definition is in force in all workers or in none, and a call never runs older code",
        (
            "test_a_call_after_a_definition_never_runs_older_code",
            "test_a_definition_that_a_worker_refuses_changes_nothing",
            "test_what_could_not_run_is_refused_before_anything_is_sent",
            "test_a_call_that_runs_ends_with_the_code_it_began_with",
            "test_functions_constants_and_dependencies_are_names_in_each_other",
            "test_a_cell_is_loaded_again_when_what_it_has_read_changes",
            "test_constants_cannot_be_changed_by_a_function",
            "test_what_is_removed_is_refused",
        ),
    ),
    Promise(
        "setups, and resources of each worker",
        (
            "test_a_setup_comes_before_anything_else_in_every_worker",
            "test_each_worker_has_a_resource_of_its_own_and_closes_it",
        ),
    ),
    Promise(
        "a time-out or a cancel ends the work itself, with its stack, and no other",
        (
            "test_a_time_out_ends_the_work_says_where_it_was_and_costs_no_worker",
            "test_a_call_that_does_not_end_in_time_has_its_worker_replaced",
            "test_a_call_that_waits_too_long_never_begins",
            "test_a_cancel_ends_the_work_of_that_call_only",
        ),
    ),
    Promise(
        "a crash costs one call, and says how the worker died; every call ends once, and none runs twice",
        (
            "test_a_crash_costs_one_call_and_says_how_the_worker_died",
            "test_every_call_ends_once_and_none_runs_twice_while_workers_die",
            "test_a_call_runs_again_only_if_that_was_declared",
        ),
    ),
    Promise(
        "what functions print, display and log belongs to their call, and is there before its value",
        (
            "test_a_text_is_there_before_the_value",
            "test_a_text_has_the_origin_of_its_call",
            "test_what_is_written_past_python_is_shown_too",
            "test_what_is_displayed_is_shown_as_text",
            "test_a_log_record_goes_to_the_logger_of_its_name",
        ),
    ),
    Promise(
        "workers come, go, rest and are replaced without a call lost; events, snapshots, stacks",
        (
            "test_what_happens_and_what_runs_can_be_seen",
            "test_workers_are_replaced_without_losing_a_call",
            "test_a_worker_leaves_after_so_many_calls",
            "test_workers_come_and_go_and_newcomers_have_every_definition",
            "test_an_idle_worker_rests_and_the_next_call_wakes_it",
            "test_a_drain_lets_the_calls_end_that_were_made",
        ),
    ),
    Promise(
        "a machine or network that is lost fails what ran there, and ends it; the rest runs elsewhere",
        (
            "test_a_slow_network_delays_calls_and_changes_nothing",
            "test_what_was_under_way_arrives_once_when_a_network_is_back",
            "test_a_network_that_is_cut_fails_what_ran_ends_it_there_and_the_rest_runs_elsewhere",
            "test_an_answer_that_is_cut_in_its_midst_is_an_error_and_not_a_hang",
        ),
        "there is none",
    ),
    Promise(
        "nothing is left after a stop, also when the program is killed",
        (
            "test_a_stop_ends_what_runs_and_definitions_stay",
            "test_a_pool_that_nobody_has_any_more_ends_its_workers",
            "test_a_program_that_is_killed_leaves_no_worker",
        ),
    ),
    Promise(
        "local modules",
        ("test_a_local_module_is_there_that_was_uploaded",),
        "as here",
        "`%wpc_upload`",
    ),
    Promise(
        "working folder, environment",
        (
            "test_workers_have_the_folder_and_the_variables_that_options_say",
            "test_a_restart_brings_environment_and_folder_to_workers_of_this_machine_only",
            "test_workers_have_the_variables_that_limit_threads",
        ),
        "as here, from the next start on",
        "those of the Dask worker, and what options say",
    ),
    Promise(
        "arrays, counters and queues in common",
        ("test_memory_in_common_works_on_one_machine_and_elsewhere_is_refused",),
        cluster="one clear error",
    ),
    Promise(
        "what no other process can have, and questions, are errors at once",
        (
            "test_the_pool_cannot_be_used_from_within_it",
            "test_what_only_forks_and_children_can_have_is_refused",
            "test_questions_cannot_be_asked_in_a_worker",
        ),
    ),
]
