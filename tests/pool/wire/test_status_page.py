"""The status page."""

import os

import pytest

from wpc_magic.pool.wire.status_page import ANSWERED, BEGUN, SINCE, StatusPage


def test_what_one_end_writes_the_other_reads():
    ours = StatusPage()
    theirs = StatusPage(os.dup(ours.fd))
    theirs.words[BEGUN], theirs.words[SINCE], theirs.words[ANSWERED] = 7, 2**63, 6
    assert ours.running() == (7, 2**63)
    assert ours.words[ANSWERED] == 6
    theirs.close()
    assert ours.running() == (7, 2**63)
    ours.close()


def test_the_memory_stays_when_its_descriptor_is_closed():
    page = StatusPage()
    page.close_fd()
    page.close_fd()
    page.words[BEGUN] = 1
    assert page.running() == (1, 0)
    page.close()


def test_a_page_can_be_closed_twice_and_is_not_read_after():
    page = StatusPage()
    page.close()
    page.close()
    with pytest.raises(ValueError, match="released"):
        page.running()


def test_a_call_that_begins_between_two_reads_is_detected():
    page = StatusPage()

    class Racing:
        """Words of which the first changes while the second is being read."""

        def __init__(self):
            self.begun = iter([1, 2, 2, 2])

        def __getitem__(self, n):
            return next(self.begun) if n == BEGUN else 50

    real, page.words = page.words, Racing()
    assert page.running() == (2, 50)
    page.words = real
    page.close()


def test_a_page_that_cannot_be_mapped_leaves_no_descriptor(monkeypatch):
    def refuses(*args, **options):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("wpc_magic.pool.wire.status_page.map_file", refuses)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="Cannot allocate"):
        StatusPage()
    assert len(os.listdir("/proc/self/fd")) == before
