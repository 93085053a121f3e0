"""Forked processes that are fed with jobs while they work, for work whose jobs are not all known when it begins."""

import gc
import os
import pickle
import select
import socket
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ostler.store.forked import _Child, _portable, _prctl, _send, _start, may_fork, processors

Job = TypeVar("Job")
Result = TypeVar("Result")

_MAX_PACKET = 1 << 17


def feed_forked(jobs: Iterator[Job], work: Callable[[Job], Result], *, workers: int | None = None) -> Iterator[Result]:
    """The results of `work` for jobs that become known while others are being done; in whatever order they come.

    As `map_forked`, but each job is pickled and handed to a process that is free; where forking is not possible, all
    is done here, one after the other.
    """
    count = workers or max(2, processors())
    if count <= 1 or not may_fork():
        yield from map(work, jobs)
        return
    _prctl()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent = os.getpid()
    crew = _Crew(ours)
    gc.freeze()
    try:
        for number in range(1, count + 1):
            crew.add(_start(number, lambda out: _serve(ours, theirs, work, out), parent))
        gc.unfreeze()
        theirs.close()
        ours.setblocking(False)
        for job in jobs:
            packet = pickle.dumps(job, pickle.HIGHEST_PROTOCOL)
            while not crew.offer(packet):
                yield from crew.results(wait=True)
            yield from crew.results(wait=False)
        ours.close()
        while crew.busy:
            yield from crew.results(wait=True)
    finally:
        ours.close()
        theirs.close()
        crew.kill()


class _Crew:
    """Processes that take jobs from one socket, a packet a job."""

    def __init__(self, jobs: socket.socket) -> None:
        self._jobs = jobs
        self._poll = select.poll()
        self._room = select.POLLOUT
        self._children: dict[int, _Child] = {}

    @property
    def busy(self) -> bool:
        """Whether some process has not ended."""
        return bool(self._children)

    def add(self, child: _Child) -> None:
        """Take one in."""
        self._children[child.fd] = child
        self._poll.register(child.fd, 1)

    def offer(self, packet: bytes) -> bool:
        """Hand a job over; False if there is no room for it now."""
        try:
            self._jobs.send(packet)
        except BlockingIOError:
            return False
        except BrokenPipeError:  # all have ended: their errors say why
            return not self._children
        return True

    def results(self, *, wait: bool) -> Iterator[Any]:
        """What has come by now. With `wait` returns only when something came, or there is room for a job."""
        waiting = wait and self._jobs.fileno() >= 0
        if waiting:
            self._poll.register(self._jobs, self._room)
        try:
            ready = self._poll.poll(None if wait else 0)
        finally:
            if waiting:
                self._poll.unregister(self._jobs)
        for fd, _ in ready:
            child = self._children.get(fd)
            if child is None:
                continue
            for kind, value in child.receive():
                if kind == "error":
                    raise value
                yield value
            if child.ended:
                self._poll.unregister(fd)
                del self._children[fd]
                child.reap()

    def kill(self) -> None:
        """End whoever is left."""
        for child in self._children.values():
            child.kill()


def _serve(ours: socket.socket, theirs: socket.socket, work: Callable[[Job], Result], out: int) -> None:
    ours.close()
    while packet := theirs.recv(_MAX_PACKET):
        try:
            result = work(pickle.loads(packet))
        except BaseException as error:
            _send(out, ("error", _portable(error)))
            return
        _send(out, ("result", result))
