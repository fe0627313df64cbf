"""How much memory and processor time a process uses."""

from __future__ import annotations

import os
import time

import psutil
import pytest

from wpc_magic.pool.engines import usage as usage_module
from wpc_magic.pool.engines.usage import Usage


def test_memory_and_processor_are_those_that_the_system_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(usage_module.time, "monotonic", lambda: now)
    usage, me = Usage(os.getpid), psutil.Process()
    before = sum(me.cpu_times()[:2])
    rss, percent = usage.memory_and_cpu()
    assert rss is not None
    assert abs(rss - me.memory_info().rss) < 1 << 24
    assert percent == 0.0, "there is no time before to compare with"
    deadline = time.process_time() + 0.3
    while time.process_time() < deadline:
        pass
    now = 110.0
    _, percent = usage.memory_and_cpu()
    used = sum(me.cpu_times()[:2]) - before
    assert percent is not None
    assert 2.9 <= percent <= 10 * used + 0.2, "of ten seconds"


def test_a_process_that_has_exited_has_none() -> None:
    usage = Usage(lambda: 2**22 + 1)  # more than there can be
    assert usage.memory_and_cpu() == (None, None)
