"""``%wpc_events --log``."""

from __future__ import annotations

from pathlib import Path

from wpc_magic.magics.event_log import event_log_command
from wpc_magic.pool import WorkerProcedureCall


def test_the_log_goes_to_one_file_until_it_is_ended(tmp_path: Path) -> None:
    pool = WorkerProcedureCall()
    first, second = str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")
    assert event_log_command(pool, first).text == (
        f"events are written to {first} from now on; %wpc_events --no-log ends it"
    )
    event_log_command(pool, first)
    assert list(pool.event_logs) == [first]
    event_log_command(pool, second)
    assert list(pool.event_logs) == [second]
    assert event_log_command(pool, None).text == f"events are no longer written to {second}"
    assert pool.event_logs == {}
    assert event_log_command(pool, None).text == "there was no log"
