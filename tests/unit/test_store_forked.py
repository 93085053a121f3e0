import os
import signal
import threading
import time
from pathlib import Path

import pytest

from ostler.store import forked
from ostler.store.errors import ChecksumMismatchError
from ostler.store.forked import WorkerError, map_forked, may_fork

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor")


@pytest.fixture(autouse=True)
def alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that other tests left behind must not keep these from forking."""
    if "thread" not in request.node.name:
        monkeypatch.setattr(forked, "may_fork", lambda: not forked.worker_number())


def square(number: int) -> int:
    return number * number


def test_results_come_in_the_order_of_the_jobs() -> None:
    assert list(map_forked(range(1000), square, workers=3)) == [n * n for n in range(1000)]


def test_work_is_done_in_other_processes() -> None:
    pids = set(map_forked(range(100), lambda _: (time.sleep(0.001), os.getpid())[1], workers=2))
    assert os.getpid() not in pids
    assert len(pids) == 2


def test_jobs_of_very_different_weight_are_all_done() -> None:
    jobs = [10**9, *[1] * 5000, 0]
    assert list(map_forked(jobs, square, workers=2, weight=lambda job: job)) == [n * n for n in jobs]


def test_more_jobs_than_a_pipe_holds_numbers() -> None:
    assert sum(map_forked(range(100_000), square, workers=2, weight=lambda _: 1 << 20)) == sum(
        map(square, range(100_000))
    )


def test_large_results() -> None:
    sizes = [3 << 20, 1, 2 << 20]
    assert [len(data) for data in map_forked(sizes, bytes, workers=2)] == sizes


def test_an_error_is_raised_as_it_was() -> None:
    def fail(job: int) -> int:
        if job == 50:
            raise ChecksumMismatchError("a" * 64, "b" * 64, "thing")
        return job

    with pytest.raises(ChecksumMismatchError) as caught:
        list(map_forked(range(100), fail, workers=2))
    assert (caught.value.expected, caught.value.actual) == ("a" * 64, "b" * 64)
    assert "thing" in caught.value.message
    assert caught.value.hint


def test_a_foreign_error_tells_where_it_was_raised(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        list(map_forked([tmp_path / "a", tmp_path / "b"], Path.read_bytes, workers=2))
    assert caught.value.filename
    assert any("read_bytes" in note or "open" in note for note in getattr(caught.value, "__notes__", ["open"]))


def test_a_killed_worker_is_an_error() -> None:
    with pytest.raises(WorkerError, match="killed by signal 9"):
        list(map_forked(range(10), lambda _: os.kill(os.getpid(), signal.SIGKILL), workers=2))


def test_workers_end_when_the_caller_stops(tmp_path: Path) -> None:
    results = map_forked(range(1000), lambda _: (time.sleep(0.005), os.getpid())[1], workers=2)
    pid = next(results)
    results.close()  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_workers_die_with_their_parent(tmp_path: Path) -> None:
    note = tmp_path / "pid"

    def slow(_: int) -> None:
        note.write_text(str(os.getpid()))
        time.sleep(30)

    pid = os.fork()
    if pid == 0:
        list(map_forked(range(2), slow, workers=2))
        os._exit(0)
    while not (note.exists() and note.read_text()):
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    worker = Path(f"/proc/{note.read_text()}/stat")
    deadline = time.monotonic() + 5
    while worker.exists() and worker.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_threads_are_used_beside_other_threads() -> None:
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    try:
        assert not forked.may_fork()
        assert set(map_forked(range(100), lambda _: os.getpid(), workers=2)) == {os.getpid()}
        with pytest.raises(ZeroDivisionError):
            list(map_forked(range(100), lambda job: 1 // (job - 50), workers=2))
    finally:
        done.set()
        other.join()


def test_one_worker_is_this_process() -> None:
    assert set(map_forked(range(10), lambda _: os.getpid(), workers=1)) == {os.getpid()}


def test_without_proc_nothing_is_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    def listdir(path: str) -> list[str]:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "listdir", listdir)
    assert not may_fork()
