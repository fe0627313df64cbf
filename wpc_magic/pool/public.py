"""Which names of the public objects are for users: what `dir` lists, and Tab completes."""

from __future__ import annotations

__all__ = ["FOR_PARTS", "OF_A_FUTURE"]

OF_A_FUTURE = (
    "add_done_callback",
    "call_id",
    "cancel",
    "cancelled",
    "done",
    "exception",
    "from_cache",
    "name",
    "progress",
    "remove_done_callback",
    "result",
    "running",
    "state",
)
"""Of a `CallFuture`."""

FOR_PARTS = frozenset(
    {
        "failed_item",
        "begin_local_call",
        "block_memory",
        "began_s",
        "cache_of_map",
        "calls_at_workers",
        "cancel_call",
        "cancel_queued",
        "cancelled_count",
        "cancelled_count_of",
        "check_arguments",
        "defined_names",
        "describe",
        "error_observer",
        "failed_call",
        "describe_fix",
        "differing_constants",
        "find_origin",
        "encoding_error",
        "give_up",
        "has_timeout",
        "holders",
        "import_again",
        "interleaves",
        "local_function",
        "local_module",
        "mean_s",
        "seed_of_map",
        "referenced_modules",
        "refer_again",
        "resource_source",
        "note_map",
        "map_made",
        "queued_calls",
        "recent_calls",
        "running_calls",
        "retry_options",
        "runs_alone",
        "stack_sampler",
        "submit_chunk",
        "when_cell_added",
        "when_not_running",
        "worker_details",
        "undefine_woker_function",
    }
)
"""Of the pool: what its other parts, the notebook and the dashboard use."""
