"""How to make a new file from an old one: by copying stretches, or by a stream of differences.

Changes in very few places are made by copying what lies between them, which is the least work for everybody. Otherwise
it is a bsdiff stream (runs of zeros cost next to nothing, and changes of addresses resemble each other), from our own
alignment; where that leaves much over, bsdiff proper is tried too if the package `bsdiff4` is there.
"""

import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from ostler.formats.bsdiff import CONTROL_SIZE, Content, encode_control, subtract
from ostler.store.delta.alignment import Stretch, align

_COPIED_FROM = 64 * 1024
_BYTES_PER_COPY = 64 * 1024
_RUN = re.compile(rb"[^\0](?:\0{0,23}[^\0])*")
_EASY = 1 / 12
_CORE_LIMIT = 24 << 20
_PIECE = 1 << 20
_LARGEST = 512 << 20


@dataclass(frozen=True, slots=True)
class Step:
    """`length` bytes at `offset` of the old file, or of the recipe's own payload."""

    from_source: bool
    length: int
    offset: int


@dataclass(frozen=True, slots=True)
class Making:
    """The payload, and what to do: `steps`; or, if there are none, the payload is a stream of differences.

    `cost` guesses at the bytes that it takes, compressed.
    """

    payload: bytes
    steps: tuple[Step, ...]
    cost: int


def make(old: Content, new: Content, *, differences: bool) -> Making | None:
    """The best way from old to new; None if the new file had better be taken whole.

    Without `differences` nothing but copies are made, and no more than half of the file is held in memory.
    """
    if len(new) > _LARGEST:
        return None
    stretches = align(old, new)
    covered = sum(stretch.end - stretch.start for stretch in stretches)
    if 4 * covered < len(new):
        return None
    if not differences:
        return _mostly_copies(old, new, stretches) if 2 * covered >= len(new) else None
    deltas = [b"".join(_subtracted(old, new, stretch)) for stretch in stretches]
    changed = sum(len(delta) - delta.count(0) for delta in deltas)
    if len(new) >= _COPIED_FROM and _few_runs(deltas, stretches, changed, len(new)):
        return _copies(new, zip(stretches, ([delta] for delta in deltas), strict=True))
    made = _stream(new, stretches, deltas)
    literal = len(new) - covered
    if literal + changed > len(new) * _EASY:
        proper = _core_stream(old, new)
        if proper is not None and proper.cost < made.cost:
            made = proper
        if made.cost >= _packed_size(new[:]):
            return None
    return made


def _mostly_copies(old: Content, new: Content, stretches: list[Stretch]) -> Making | None:
    """Copies of at least half of the file; None if less of it is the same."""
    same = sum(delta.count(0) for stretch in stretches for delta in _subtracted(old, new, stretch))
    if 2 * same < len(new):
        return None
    made = _copies(new, ((stretch, _subtracted(old, new, stretch)) for stretch in stretches))
    return made if 2 * len(made.payload) <= len(new) else None


def _few_runs(deltas: list[bytes], stretches: list[Stretch], changed: int, size: int) -> bool:
    """Whether copying the same bytes takes few enough copies; counted no further than that."""
    most = 2 + size // _BYTES_PER_COPY - len(stretches)
    if changed > most * 256:
        return False
    for delta in deltas:
        for _ in _RUN.finditer(delta):
            most -= 1
            if most < 0:
                return False
    return most >= 0


def _subtracted(old: Content, new: Content, stretch: Stretch) -> Iterator[bytes]:
    """What to add to the old bytes of a stretch, in pieces."""
    for at in range(stretch.start, stretch.end, _PIECE):
        end = min(at + _PIECE, stretch.end)
        before = old[at + stretch.shift : end + stretch.shift]
        after = new[at:end]
        yield bytes(len(after)) if before == after else subtract(after, before)


def _copies(new: Content, stretches: Iterable[tuple[Stretch, Iterable[bytes]]]) -> Making:
    """Copies of what is the same, and the rest as it is. Stretches come with their differences in pieces."""
    payload = bytearray()
    steps: list[Step] = []
    position = 0

    def literal(end: int) -> None:
        nonlocal position
        if end > position:
            steps.append(Step(False, end - position, len(payload)))
            payload.extend(new[position:end])
            position = end

    def copy(start: int, end: int, source: int) -> None:
        nonlocal position
        last = steps[-1] if steps else None
        if last is not None and last.from_source and start == position and source == last.offset + last.length:
            steps[-1] = Step(True, last.length + end - start, last.offset)
            position = end
        elif end - start >= CONTROL_SIZE:
            literal(start)
            steps.append(Step(True, end - start, source))
            position = end

    for stretch, pieces in stretches:
        begin = stretch.start
        for delta in pieces:
            same = 0
            for run in _RUN.finditer(delta):
                copy(begin + same, begin + run.start(), begin + stretch.shift + same)
                same = run.end()
            copy(begin + same, begin + len(delta), begin + stretch.shift + same)
            begin += len(delta)
    literal(len(new))
    return Making(bytes(payload), tuple(steps), _packed_size(payload) + 8 * len(steps))


def _stream(new: Content, stretches: list[Stretch], deltas: list[bytes]) -> Making:
    pieces = []
    if not stretches or stretches[0].start or stretches[0].source:
        stretches = [Stretch(0, 0, 0), *stretches]
        deltas = [b"", *deltas]
    for number, (stretch, delta) in enumerate(zip(stretches, deltas, strict=True)):
        source_end = stretch.source + len(delta)
        if number + 1 < len(stretches):
            following = stretches[number + 1]
            until, seek = following.start, following.source - source_end
        else:
            until, seek = len(new), 0
        pieces += [encode_control(len(delta), until - stretch.end, seek), delta, new[stretch.end : until]]
    payload = b"".join(pieces)
    return Making(payload, (), _packed_size(payload))


@cache
def _core() -> Any:
    try:
        from bsdiff4 import core  # type: ignore[import-untyped]
    except ImportError:
        return None
    return core


def _core_stream(old: Content, new: Content) -> Making | None:
    """What bsdiff proper makes, unless it is missing or would take very long."""
    diff: Callable[[bytes, bytes], tuple[bytes, bytes, bytes]] | None = getattr(_core(), "diff", None)
    if diff is None or len(old) + len(new) > _CORE_LIMIT:
        return None
    payload = b"".join(_interleaved(*diff(old[:], new[:])))
    return Making(payload, (), _packed_size(payload))


def _interleaved(controls: bytes, differences: bytes, literals: bytes) -> Iterator[bytes]:
    added_at = literal_at = 0
    for at in range(0, len(controls), CONTROL_SIZE):
        control = controls[at : at + CONTROL_SIZE]
        added, literal = int.from_bytes(control[:8], "little"), int.from_bytes(control[8:16], "little")
        yield control
        yield differences[added_at : added_at + added]
        yield literals[literal_at : literal_at + literal]
        added_at += added
        literal_at += literal


def _packed_size(data: bytes | bytearray) -> int:
    return len(zlib.compress(data, 1))
