"""Moving a stream through several threads: one producer to several consumers, or reading ahead of a consumer.

The C code of hashing, compressing and file access runs side by side; queues are short, so memory stays bounded.
"""

import io
import threading
from collections.abc import Callable, Iterable, Sequence
from queue import Empty, Queue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

DEPTH = 8
"""Chunks (of about a mebibyte) that may wait between two threads."""


def fan_out(chunks: Iterable[bytes], consumers: Sequence[Callable[[bytes], object]]) -> None:
    """Hand every chunk to every consumer, each running in a thread of its own, in order.

    Returns when all have taken everything. The first error of the producer or a consumer ends the work and is raised.
    """
    failures: list[BaseException] = []
    lanes = [_Lane(consume, failures) for consume in consumers]
    try:
        for chunk in chunks:
            if failures:
                break
            for lane in lanes:
                lane.queue.put(chunk)
    except BaseException as error:
        failures.append(error)
    for lane in lanes:
        lane.queue.put(None)
        lane.thread.join()
    if failures:
        raise failures[0]


class _Lane:
    """A consumer in its thread. After a failure anywhere it only empties its queue, so that nobody waits for it."""

    def __init__(self, consume: Callable[[bytes], object], failures: list[BaseException]) -> None:
        self.queue: Queue[bytes | None] = Queue(DEPTH)
        self._consume = consume
        self._failures = failures
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        while (chunk := self.queue.get()) is not None:
            if self._failures:
                continue
            try:
                self._consume(chunk)
            except BaseException as error:
                self._failures.append(error)


class ReadAhead(io.RawIOBase):
    """A readable file over chunks that a thread produces ahead of the reader; errors surface in `read`.

    Must be closed; that ends the thread.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        super().__init__()
        self._queue: Queue[bytes | BaseException | None] = Queue(DEPTH)
        self._cancelled = False
        self._current: memoryview = memoryview(b"")
        self._ended = False
        self._thread = threading.Thread(target=self._produce, args=(chunks,), daemon=True)
        self._thread.start()

    def _produce(self, chunks: Iterable[bytes]) -> None:
        last: BaseException | None = None
        try:
            for chunk in chunks:
                if self._cancelled:
                    break
                if chunk:
                    self._queue.put(chunk)
        except BaseException as error:
            last = error
        self._queue.put(last)

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Fill part of the buffer; 0 at the end."""
        view = memoryview(buffer).cast("B")
        if not self._current and not self._ended:
            item = self._queue.get()
            if isinstance(item, bytes):
                self._current = memoryview(item)
            else:
                self._ended = True
                if item is not None:
                    raise item
        count = min(len(view), len(self._current))
        view[:count] = self._current[:count]
        self._current = self._current[count:]
        return count

    def close(self) -> None:
        """End the thread, whatever it still had to give."""
        if not self.closed:
            self._cancelled = True
            while self._thread.is_alive():
                try:
                    self._queue.get(timeout=0.05)
                except Empty:
                    continue
        super().close()
