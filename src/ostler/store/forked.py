"""Running one function over many jobs in forked processes, for work that the interpreter's lock would slow down.

The children see the parent's memory as it is at the fork, so jobs are never copied; what they return is pickled. They
take batches of jobs from a shared pipe, which holds the numbers of all batches from the start.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from ostler.errors import OstlerError

Job = TypeVar("Job")
Result = TypeVar("Result")

MAX_WORKERS = 64
_NUMBER = 4
_MAX_BATCHES = 8192  # times the size of a number: less than a pipe holds
_BATCHES_PER_WORKER = 64
_READ = 1 << 16
_PR_SET_PDEATHSIG = 1


class WorkerError(OstlerError):
    """A worker process ended before its work, or raised what no worker of ours raises."""


_worker = 0


def worker_number() -> int:
    """Which worker process of `map_forked` this is, from 1 to `MAX_WORKERS`; 0 in the process that started them."""
    return _worker


def processors() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0))


def may_fork() -> bool:
    """Whether this process has but one thread and could gain from others: then forking is safe and useful."""
    if _worker or processors() == 1:
        return False
    try:
        return len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208
    except OSError:  # no /proc, as in some chroots
        return False


def map_forked(
    jobs: Sequence[Job],
    work: Callable[[Job], Result],
    *,
    workers: int | None = None,
    weight: Callable[[Job], int] | None = None,
) -> Iterator[Result]:
    """The results of `work` for each job, in the order of the jobs, as they come.

    `workers` is the number of processes (default: one a processor; with 1 the work is done here). What `work` changes
    in memory stays in its process; it shares open files. `weight` helps to share out jobs of very different size (put
    large ones first). If this process has other threads, or one processor only, threads are used instead, so `work`
    must be thread-safe too. The first error ends all and is raised here; if the caller stops early, or is interrupted,
    the workers end before this does. They die with this process.
    """
    count = min(workers or max(2, processors()), len(jobs), MAX_WORKERS)
    if count <= 1:
        yield from map(work, jobs)
    elif may_fork():
        batches = _batches(jobs, count, weight)
        yield from _in_order(_forked(jobs, batches, work, count), len(batches))
    else:
        yield from _threaded(jobs, work, count)


def _batches(jobs: Sequence[Job], workers: int, weight: Callable[[Job], int] | None) -> list[range]:
    """Runs of jobs of about equal weight; a heavy job is a batch of its own."""
    weights = [1 + weight(job) for job in jobs] if weight else [1] * len(jobs)
    heavy = max(sum(weights) // (workers * _BATCHES_PER_WORKER), 1)
    most = max(len(jobs) // (workers * _BATCHES_PER_WORKER), 1)
    while True:
        batches, start, filled = [], 0, 0
        for number, one in enumerate(weights):
            filled += one
            if filled >= heavy or number + 1 - start >= most:
                batches.append(range(start, number + 1))
                start, filled = number + 1, 0
        if start < len(jobs):
            batches.append(range(start, len(jobs)))
        if len(batches) <= _MAX_BATCHES:
            return batches
        heavy, most = 2 * heavy, 2 * most


def _in_order(found: Iterator[tuple[int, list[Result]]], count: int) -> Iterator[Result]:
    early: dict[int, list[Result]] = {}
    due = 0
    try:
        for number, results in found:
            early[number] = results
            while due in early:
                yield from early.pop(due)
                due += 1
    finally:
        found.close()  # type: ignore[attr-defined]
    if due != count:
        raise WorkerError(f"worker processes left out {count - due} of {count} batches of work")


def _forked(
    jobs: Sequence[Job], batches: list[range], work: Callable[[Job], Result], count: int
) -> Iterator[tuple[int, list[Result]]]:
    """(number of the batch, its results), in the order in which they are done."""
    import gc
    import select

    _prctl()  # loaded before the fork
    queue, fill = os.pipe2(os.O_CLOEXEC)
    os.write(fill, b"".join(number.to_bytes(_NUMBER, "little") for number in range(len(batches))))
    os.close(fill)
    parent = os.getpid()
    children: dict[int, _Child] = {}
    poll = select.poll()
    gc.freeze()  # so that collections in the children leave the shared pages alone
    try:
        for number in range(1, count + 1):
            child = _start(number, lambda out: _run(jobs, batches, work, queue, out), parent)
            children[child.fd] = child
            poll.register(child.fd, select.POLLIN)
        gc.unfreeze()
        while children:
            for fd, _ in poll.poll():
                child = children[fd]
                for kind, value in child.receive():
                    if kind == "error":
                        raise value
                    yield kind, value
                if child.ended:
                    poll.unregister(fd)
                    del children[fd]
                    child.reap()
    finally:
        os.close(queue)
        for child in children.values():
            child.kill()


class _Child:
    """A worker process and the pipe that its results come through: pickles, each behind its length."""

    def __init__(self, pid: int, fd: int) -> None:
        self.fd = fd
        self.ended = False
        self._pid = pid
        self._data = bytearray()

    def receive(self) -> Iterator[tuple[Any, Any]]:
        """What has come by now."""
        import pickle

        data = os.read(self.fd, _READ)
        self.ended = not data
        self._data += data
        while len(self._data) >= _NUMBER:
            end = _NUMBER + int.from_bytes(self._data[:_NUMBER], "little")
            if len(self._data) < end:
                return
            message = bytes(self._data[_NUMBER:end])
            del self._data[:end]
            yield pickle.loads(message)

    def reap(self) -> None:
        """Wait for its end; raises `WorkerError` if that was no regular one."""
        os.close(self.fd)
        _, status = os.waitpid(self._pid, 0)
        if status:
            code = os.waitstatus_to_exitcode(status)
            how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
            raise WorkerError(f"a worker process {how}", hint="if memory was short, run again with fewer processes")

    def kill(self) -> None:
        """End it at once."""
        import signal

        os.kill(self._pid, signal.SIGKILL)
        os.close(self.fd)
        os.waitpid(self._pid, 0)


def _start(number: int, run: Callable[[int], None], parent: int) -> _Child:
    out, into = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid:
        os.close(into)
        return _Child(pid, out)
    status = 1
    try:
        _settle(number, parent)
        run(into)
        status = 0
    finally:
        os._exit(status)


def _settle(number: int, parent: int) -> None:
    """Make this child die with its parent, and leave interrupts from the terminal to that."""
    import signal

    global _worker
    _worker = number
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _prctl()(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


_loaded: list[Any] = []


def _prctl() -> Any:
    if not _loaded:
        import ctypes

        _loaded.append(ctypes.CDLL(None).prctl)
    return _loaded[0]


def _run(jobs: Sequence[Job], batches: list[range], work: Callable[[Job], Result], queue: int, out: int) -> None:
    while number := os.read(queue, _NUMBER):
        batch = int.from_bytes(number, "little")
        try:
            results = [work(jobs[index]) for index in batches[batch]]
        except BaseException as error:
            _send(out, ("error", _portable(error)))
            return
        _send(out, (batch, results))


def _send(out: int, message: object) -> None:
    import pickle

    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    view = memoryview(len(data).to_bytes(_NUMBER, "little") + data)
    while view:
        view = view[os.write(out, view) :]


def _portable(error: BaseException) -> object:
    """The error in a form that can be pickled whatever the arguments of its class are."""
    import pickle
    import traceback

    if not isinstance(error, OstlerError):
        error.add_note("In a worker process:\n" + "".join(traceback.format_tb(error.__traceback__)))
    wrapped: object = error if isinstance(error, OSError) else _Raised(error)
    try:
        pickle.dumps(wrapped)
    except Exception:
        return WorkerError(f"{type(error).__name__} in a worker process: {error}")
    return wrapped


class _Raised:
    """Pickles an exception by its class, its `args` and its attributes."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self._error), self._error.args, self._error.__dict__)


def _rebuild(kind: type[BaseException], args: tuple[Any, ...], attributes: dict[str, Any]) -> BaseException:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


def _threaded(jobs: Sequence[Job], work: Callable[[Job], Result], count: int) -> Iterator[Result]:
    """In threads, some jobs ahead of what the caller has taken."""
    from concurrent.futures import Future, ThreadPoolExecutor

    with ThreadPoolExecutor(count, thread_name_prefix="worker") as pool:
        ahead: deque[Future[Result]] = deque()
        iterator = iter(jobs)
        try:
            for job in iterator:
                ahead.append(pool.submit(work, job))
                if len(ahead) >= 16 * count:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
