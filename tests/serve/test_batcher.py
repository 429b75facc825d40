"""Batches: nobody is lost, kinds are not mixed, order is kept, a bad job is alone with it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ispkit.serve.batcher import Batcher, ClosedError


def batcher(work, most=4, wait_s=0.002, kind=lambda job: job[0]):
    return Batcher(work, kind=kind, most=(lambda _: most), wait_s=wait_s)


@settings(max_examples=40, deadline=None)
@given(
    jobs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 99)), max_size=40),
    most=st.integers(1, 6),
    bad=st.sets(st.integers(0, 99), max_size=5),
)
def test_every_job_has_its_own_result_and_batches_hold_one_kind(jobs, most, bad):
    seen = []

    def work(batch):
        seen.append(batch)
        if any(number in bad for _, number in batch):
            raise ValueError("bad")
        return [10 * number for _, number in batch]

    collector = batcher(work, most, wait_s=0.0005)
    futures = [collector.submit(job) for job in jobs]
    collector.close()
    for (_, number), future in zip(jobs, futures, strict=True):
        if number in bad:
            assert isinstance(future.exception(0), ValueError)
        else:
            assert future.result(0) == 10 * number
    assert all(len({kind for kind, _ in batch}) == 1 and len(batch) <= most for batch in seen)
    tried = [job for batch in seen if len(batch) == 1 or not any(n in bad for _, n in batch) for job in batch]
    for kind in range(4):
        assert [j for j in tried if j[0] == kind] == [j for j in jobs if j[0] == kind]


def test_what_comes_while_work_goes_on_is_the_next_batch():
    free, sizes = threading.Event(), []

    def work(batch):
        sizes.append(len(batch))
        assert free.wait(10)
        return batch

    collector = batcher(work, most=8, wait_s=0.0)
    first = collector.submit(("a", 0))
    while not sizes:
        time.sleep(0.001)
    others = [collector.submit(("a", i)) for i in range(10)]
    assert collector.waiting == 10
    free.set()
    assert [f.result(10) for f in [first, *others]] == [("a", 0), *(("a", i) for i in range(10))]
    assert sizes == [1, 8, 2]
    collector.close()


def test_a_full_batch_does_not_wait_for_more():
    collector = batcher(lambda batch: batch, most=3, wait_s=60.0)
    assert [f.result(10) for f in [collector.submit(("a", i)) for i in range(3)]]
    collector.close()


def test_cancelled_jobs_are_never_begun_and_closing_finishes_the_rest():
    free, begun = threading.Event(), []

    def work(batch):
        begun.extend(number for _, number in batch)
        assert free.wait(10)
        return batch

    collector = batcher(work, most=1, wait_s=0.0)
    futures = [collector.submit(("a", i)) for i in range(3)]
    while not begun:
        time.sleep(0.001)
    assert futures[1].cancel()
    assert not futures[0].cancel()
    threading.Timer(0.05, free.set).start()
    collector.close()
    assert begun == [0, 2]
    assert futures[2].result(0) == ("a", 2)
    with pytest.raises(CancelledError):
        futures[1].result(0)
    assert not collector.alive
    with pytest.raises(ClosedError):
        collector.submit(("a", 4))


def test_work_that_loses_a_result_is_told_to_those_who_wait():
    collector = batcher(lambda batch: [], most=2)
    with pytest.raises(RuntimeError, match="1 jobs gave 0 results"):
        collector.submit(("a", 0)).result(10)
    collector.close()
