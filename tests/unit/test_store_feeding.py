"""Forked processes fed with jobs while they work."""

import os
import time
from collections.abc import Iterator

import pytest

from ostler.errors import CorruptError
from ostler.store.feeding import feed_forked
from ostler.store.forked import WorkerError


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ostler.store.feeding.may_fork", lambda: True)


def test_every_job_is_done_once_in_other_processes() -> None:
    found = list(feed_forked(iter(range(500)), lambda job: (job * job, os.getpid()), workers=3))
    assert sorted(value for value, _ in found) == [n * n for n in range(500)]
    assert os.getpid() not in {pid for _, pid in found}


def test_jobs_may_depend_on_results() -> None:
    known = [1]
    results: list[int] = []

    def jobs() -> Iterator[int]:
        while len(results) < 20:
            if known:
                yield known.pop()
            else:
                yield len(results) + 1

    for value in feed_forked(jobs(), lambda job: job + 1, workers=2):
        results.append(value)
    assert len(results) >= 20


def test_large_jobs_do_not_block_for_ever() -> None:
    jobs = (bytes(60_000) for _ in range(100))
    assert sum(feed_forked(jobs, len, workers=2)) == 6_000_000


def test_an_error_in_a_process_comes_out_here() -> None:
    def work(job: int) -> int:
        if job == 7:
            raise CorruptError("the seventh", hint="mend it")
        return job

    with pytest.raises(CorruptError, match="the seventh") as caught:
        list(feed_forked(iter(range(10_000)), work, workers=2))
    assert caught.value.hint == "mend it"


def test_a_process_that_dies_is_noticed() -> None:
    with pytest.raises(WorkerError, match="ended with status 3"):
        list(feed_forked(iter(range(10_000)), lambda job: os._exit(3), workers=2))


def test_an_error_among_the_jobs_ends_the_processes() -> None:
    def jobs() -> Iterator[float]:
        yield 60.0
        raise KeyError("no more")

    began = time.monotonic()
    with pytest.raises(KeyError):
        list(feed_forked(jobs(), time.sleep, workers=2))
    assert time.monotonic() - began < 10


def test_without_forking_the_work_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ostler.store.feeding.may_fork", lambda: False)
    assert list(feed_forked(iter(range(3)), lambda job: os.getpid(), workers=2)) == [os.getpid()] * 3
