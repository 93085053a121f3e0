"""Bringing many file objects: in forked processes where the source allows it, else in threads, or right here."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from queue import Empty, SimpleQueue

from ostler.errors import CorruptError
from ostler.formats.objects import Checksum, ObjectType
from ostler.store.feeding import feed_forked
from ostler.store.forked import may_fork, processors
from ostler.store.source import EagerSource, Source, damaged
from ostler.store.transaction import Transaction, TransactionStats

BATCH = 32
FEW = 48
MAX_PROCESSES = 8


@dataclass(slots=True)
class Stored:
    """Files that were brought: how many, bytes as they came, and what another process has counted for its part."""

    objects: int = 0
    moved: int = 0
    elsewhere: TransactionStats | None = None

    def add(self, other: "Stored") -> None:
        """Count these too."""
        self.objects += other.objects
        self.moved += other.moved


def bring_files(
    source: Source, batches: Iterator[list[Checksum]], transaction: Transaction, workers: int
) -> Iterator[Stored]:
    """Store file objects, `workers` requests under way at a time; what was brought is counted as it goes.

    They may become known while others are being brought. Raises what `Source.store_file` raises, with damage told as
    damage of the source.
    """
    if not isinstance(source, EagerSource):
        yield from _in_threads(source, [checksum for batch in batches for checksum in batch], transaction, workers)
        return
    if not may_fork():
        for batch in batches:
            yield from _here(source, batch, transaction, workers)
        return
    first: list[list[Checksum]] = []
    for batch in batches:
        first.append(batch)
        if sum(map(len, first)) > FEW:
            yield from _in_processes(source, chain(first, batches), transaction, workers)
            return
    for batch in first:
        yield from _here(source, batch, transaction, workers)


def _here(source: EagerSource, checksums: Sequence[Checksum], transaction: Transaction, lanes: int) -> Iterator[Stored]:
    for moved in source.store_files(checksums, transaction, lanes):
        yield Stored(1, moved)


def _in_processes(
    source: EagerSource, batches: Iterator[list[Checksum]], transaction: Transaction, workers: int
) -> Iterator[Stored]:
    processes = min(processors(), workers, MAX_PROCESSES)
    lanes = -(-workers // processes)
    parent = os.getpid()
    own: list[EagerSource] = []

    def work(batch: Sequence[Checksum]) -> Stored:
        elsewhere = os.getpid() != parent
        if not own:
            own.append(source.in_child() if elsewhere else source)
        if elsewhere:
            transaction.stats = TransactionStats()
        moved = sum(own[0].store_files(batch, transaction, lanes))
        return Stored(len(batch), moved, transaction.stats if elsewhere else None)

    for stored in feed_forked(batches, work, workers=processes):
        if stored.elsewhere is not None:
            _add(transaction.stats, stored.elsewhere)
        yield stored


def _add(stats: TransactionStats, more: TransactionStats) -> None:
    for field in TransactionStats.__dataclass_fields__:
        setattr(stats, field, getattr(stats, field) + getattr(more, field))


def _in_threads(
    source: Source, checksums: Sequence[Checksum], transaction: Transaction, count: int
) -> Iterator[Stored]:
    import threading

    todo: SimpleQueue[Checksum] = SimpleQueue()
    done: SimpleQueue[Stored | BaseException] = SimpleQueue()
    for checksum in checksums:
        todo.put(checksum)
    given_up = threading.Event()

    def run() -> None:
        while not given_up.is_set():
            try:
                checksum = todo.get_nowait()
            except Empty:
                return
            try:
                done.put(Stored(1, store_one(source, checksum, transaction)))
            except BaseException as error:
                done.put(error)
                return

    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(count, len(checksums)))]
    for thread in threads:
        thread.start()
    try:
        for _ in checksums:
            found = done.get()
            if isinstance(found, BaseException):
                raise found
            yield found
    except BaseException:
        given_up.set()
        source.stop()
        raise
    finally:
        for thread in threads:
            thread.join()


def store_one(source: Source, checksum: Checksum, transaction: Transaction) -> int:
    """`Source.store_file`, with damage told as damage of the source."""
    try:
        return source.store_file(checksum, transaction)
    except CorruptError as error:
        raise damaged(source.name, checksum, ObjectType.FILE, error) from error
