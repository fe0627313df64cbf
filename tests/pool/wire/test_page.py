"""The status page."""

import os

import pytest

from wpc_magic.pool.wire.page import ANSWERED, BEGUN, SINCE, StatusPage


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


def test_the_begin_of_a_call_between_two_reads_is_noticed():
    page = StatusPage()

    class Lying:
        """Words of which the first changes while the second is read."""

        def __init__(self):
            self.begun = iter([1, 2, 2, 2])

        def __getitem__(self, n):
            return next(self.begun) if n == BEGUN else 50

    real, page.words = page.words, Lying()
    assert page.running() == (2, 50)
    page.words = real
    page.close()
