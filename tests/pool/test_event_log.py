"""Events as lines of JSON in a file, which is rotated."""

from __future__ import annotations

import json
import logging
import os
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pool.conftest import PATIENCE_S
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.core.events import WorkerEvent
from wpc_magic.pool.errors import OptionError
from wpc_magic.pool.event_log import EventFile


@pytest.fixture
def pool() -> Iterator[WorkerProcedureCall]:
    """A pool whose events are those of its definitions."""
    pool = WorkerProcedureCall()
    yield pool
    pool.stop_workers()


def define(pool: WorkerProcedureCall, *names: str) -> None:
    """Cause an event for each name, and return when all listeners have been told."""
    told: queue.SimpleQueue[WorkerEvent] = queue.SimpleQueue()
    number = pool.on_worker_event(listener=told.put)  # it is told after those that were there before
    for name in names:
        pool.define_worker_function(worker_func=f"def {name}(): pass")
        told.get(timeout=PATIENCE_S)
    pool.off_worker_event(listener_id=number)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def event(n: int, **details: Any) -> WorkerEvent:
    return WorkerEvent(f"event-{n:06d}", 1, "parent", "worker_spawned", "info", "now", details=details)


def test_each_event_is_a_line_of_json_in_the_form_of_the_event(
    pool: WorkerProcedureCall, tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    pool.log_events(path)
    define(pool, "f", "g")
    assert lines(path) == [each.as_dict() for each in pool.events()]
    assert len(lines(path)) == 2


def test_the_events_of_a_whole_life_are_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with WorkerProcedureCall() as pool:
        pool.log_events(str(path))
        pool.start_workers(1)
        pool.submit_function(divmod, (1, 0)).exception()
    names = [line["event_name"] for line in lines(path)]
    assert names[1:3] == ["worker_spawned", "worker_ready"]
    assert names[-1] == "worker_exited"
    (failed,) = (line for line in lines(path) if line["event_name"] == "call_execution_failed")
    assert failed["error"]["name"] == "ZeroDivisionError"


def test_a_log_ends_when_its_listener_is_removed(pool: WorkerProcedureCall, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    number = pool.log_events(path)
    assert pool.event_logs == {str(path): number}
    assert pool.off_worker_event(listener_id=number)
    define(pool, "f")
    assert path.read_text() == ""
    assert pool.event_logs == {}


def test_a_file_is_logged_to_once_however_often_it_is_asked_for(
    pool: WorkerProcedureCall, tmp_path: Path
) -> None:
    for _ in range(3):
        pool.log_events(tmp_path / "events.jsonl")
    define(pool, "f")
    assert len(lines(tmp_path / "events.jsonl")) == 1


def test_what_a_file_has_is_kept(pool: WorkerProcedureCall, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event_name": "before"}\n')
    pool.log_events(path)
    define(pool, "f")
    assert [line["event_name"] for line in lines(path)] == ["before", "definition_changed"]


def test_the_path_is_that_of_the_folder_in_which_it_was_given(
    pool: WorkerProcedureCall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pool.log_events("events.jsonl")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    define(pool, "f")
    assert len(lines(tmp_path / "events.jsonl")) == 1


def test_a_full_file_becomes_the_first_backup_and_only_so_many_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    one_line = len(json.dumps(event(1).as_dict())) + 1
    write = EventFile(str(path), 2 * one_line, 2)
    for n in range(1, 10):
        write(event(n))
    files = {each.name: [line["event_id"][-1] for line in lines(each)] for each in tmp_path.iterdir()}
    assert files == {
        "events.jsonl": ["9"],
        "events.jsonl.1": ["7", "8"],
        "events.jsonl.2": ["5", "6"],
    }


def test_without_backups_a_full_file_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    one_line = len(json.dumps(event(1).as_dict())) + 1
    write = EventFile(str(path), one_line, 0)
    for n in range(3):
        write(event(n))
    assert [line["event_id"] for line in lines(path)] == ["event-000002"]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_line_longer_than_the_limit_is_written_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write = EventFile(str(path), 10, 1)
    write(event(1, what="x" * 1000))
    write(event(2))
    assert [line["event_id"] for line in lines(path)] == ["event-000002"]
    assert [line["event_id"] for line in lines(tmp_path / "events.jsonl.1")] == ["event-000001"]


def test_a_file_that_others_move_away_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write = EventFile(str(path), 0, 0)
    write(event(1))
    path.rename(tmp_path / "moved")
    write(event(2))
    assert [line["event_id"] for line in lines(path)] == ["event-000002"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_full_disk_is_one_warning_and_the_pool_goes_on(
    pool: WorkerProcedureCall, caplog: pytest.LogCaptureFixture
) -> None:
    pool.log_events("/dev/full")
    with caplog.at_level(logging.WARNING, "wpc_magic"):
        define(pool, "f", "g", "h")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "/dev/full, which cannot be written to: No space left on device" in record.getMessage()


def test_a_line_that_fits_only_in_part_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "events.jsonl"
    write = EventFile(str(path), 0, 0)
    write(event(1))
    whole = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: whole(fd, data[:5]))
    write(event(2))
    monkeypatch.undo()
    write(event(3))
    assert [line["event_id"] for line in lines(path)] == ["event-000001", "event-000003"]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("path", ["no/such/folder/events.jsonl", "", ".", "a\0b", 3, None])
def test_a_wrong_path_is_told_at_once(pool: WorkerProcedureCall, path: Any) -> None:
    with pytest.raises(OptionError, match="path"):
        pool.log_events(path)
    assert pool.event_logs == {}


def test_a_pipe_that_nobody_reads_is_no_file_and_blocks_nobody(
    pool: WorkerProcedureCall, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OptionError, match="path"):
        pool.log_events(tmp_path / "pipe")
