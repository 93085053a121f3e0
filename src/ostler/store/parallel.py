"""Running one function over many jobs on all cores, for work whose C code releases the interpreter's lock."""

import os
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from ostler.io.progress import Progress, Reporter

Job = TypeVar("Job")
_REPORT_SECONDS = 0.2


def default_threads() -> int:
    """As many threads as this process may use processors, at least 2 (so that reading and computing overlap)."""
    return max(2, len(os.sched_getaffinity(0)))


def run_parallel(
    jobs: Sequence[Job],
    work: Callable[[Job], None],
    *,
    threads: int | None,
    report: Reporter,
    name: str,
    weight: Callable[[Job], int],
    unit: str = "bytes",
) -> None:
    """Call `work` once for each job, in about their order. The first error stops all and is raised.

    Progress counts `weight` of the finished jobs. If the caller is interrupted the threads end before this does.
    """
    total = sum(map(weight, jobs))
    iterator = iter(jobs)
    done = [0] * (threads or default_threads())
    errors: list[BaseException] = []

    def run(number: int) -> None:
        for job in iterator:  # taking the next element of a list's iterator is atomic
            if errors:
                return
            try:
                work(job)
            except BaseException as error:
                errors.append(error)
                return
            done[number] += weight(job)

    workers = [threading.Thread(target=run, args=(number,), name=name) for number in range(len(done))]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            while worker.is_alive():
                worker.join(_REPORT_SECONDS)
                report(Progress(name, sum(done), total, unit))
        report(Progress(name, sum(done), total, unit))
    except BaseException as error:
        errors.append(error)
        for worker in workers:
            if worker.ident is not None:
                worker.join()
        raise
    if errors:
        raise errors[0]
