"""Which stretches of a new file are much like which stretches of an old one.

The idea is bsdiff's: programs that were built again are the same for long stretches but for some bytes (addresses),
and the stretches have moved. Instead of sorting all suffixes of the old file, a table has the places of its blocks
(16 bytes each, at every 8th byte, or further apart in large files), and most of the new file is never looked up in it:
as long as old and new agree for the greater part, windows of 32 bytes are compared as large integers.
"""

from dataclasses import dataclass

from ostler.formats.bsdiff import Content

BLOCK = 16
_WINDOW = 32
_TOLERATED = 5
_LEAST = 20
_GAIN = 8
_LONG = 4096
_MERGED_GAP = 96
_MAX_ENTRIES = 1 << 18
_SAMPLED_FROM = 4 << 20
_SAMPLES = 1024


@dataclass(slots=True)
class Stretch:
    """New bytes from `start` to `end` that are like old bytes from `source` on."""

    start: int
    end: int
    source: int

    @property
    def shift(self) -> int:
        """How far the stretch lies further back in the old file."""
        return self.source - self.start


def common_prefix(new: Content, at: int, old: Content, source: int, limit: int | None = None) -> int:
    """How many bytes from two places on are the same; at most `limit`."""
    most = min(len(new) - at, len(old) - source)
    if limit is not None:
        most = min(most, limit)
    done, step = 0, 32
    while done < most:
        step = min(step, most - done)
        first, second = new[at + done : at + done + step], old[source + done : source + done + step]
        if first != second:
            different = int.from_bytes(first, "little") ^ int.from_bytes(second, "little")
            return done + (((different & -different).bit_length() - 1) >> 3)
        done += step
        step = min(4 * step, 1 << 16)
    return max(most, 0)


def common_suffix(new: Content, at: int, old: Content, source: int, limit: int) -> int:
    """How many bytes before two places are the same; at most `limit`."""
    most = min(at, source, limit)
    done, step = 0, 32
    while done < most:
        step = min(step, most - done)
        first, second = new[at - done - step : at - done], old[source - done - step : source - done]
        if first != second:
            different = int.from_bytes(first, "big") ^ int.from_bytes(second, "big")
            return done + (((different & -different).bit_length() - 1) >> 3)
        done += step
        step = min(4 * step, 1 << 16)
    return max(most, 0)


def equal_bytes(first: bytes, second: bytes) -> int:
    """In how many places two strings of equal length agree."""
    different = int.from_bytes(first, "little") ^ int.from_bytes(second, "little")
    return different.to_bytes(len(first), "little").count(0)


def _worthwhile(first: bytes, second: bytes) -> int:
    """How many of the first bytes to take along: where agreements most outnumber the rest."""
    balance = best = taken = 0
    for count, (a, b) in enumerate(zip(first, second, strict=True), 1):
        balance += 1 if a == b else -1
        if balance > best:
            best, taken = balance, count
    return taken


def align(old: Content, new: Content) -> list[Stretch]:
    """The stretches, ascending and apart from each other; what lies between them has no counterpart."""
    return _Alignment(old, new).run()


class _Alignment:
    def __init__(self, old: Content, new: Content) -> None:
        self.old = old
        self.new = new
        self._table: dict[bytes, int] | None = None
        self._stretches: list[Stretch] = []
        self._step = 8
        while len(old) // self._step > _MAX_ENTRIES:
            self._step *= 2

    def run(self) -> list[Stretch]:
        if len(self.new) >= _SAMPLED_FROM and not self._related():
            return []
        end = len(self.new)
        start = position = shift = 0
        while True:
            position, switched = self._forward(position, shift)
            if position > start:
                self._add(start, position, shift)
            if position >= end:
                return self._stretches
            if switched is not None:
                start, shift = position, switched
                continue
            found = self._search(position, shift)
            if found is None:
                return self._stretches
            hit, shift = found
            start, position = self._backward(hit, shift, position), hit

    def _add(self, start: int, end: int, shift: int) -> None:
        last = self._stretches[-1] if self._stretches else None
        if last is not None and last.shift == shift and start - last.end <= _MERGED_GAP:
            last.end = end
        else:
            self._stretches.append(Stretch(start, end, start + shift))

    def _forward(self, position: int, shift: int) -> tuple[int, int | None]:
        """How far the agreement goes, and the shift of a better one that begins there, if that is why it ends."""
        old, new = self.old, self.new
        end = len(new)
        while position < end:
            position += common_prefix(new, position, old, position + shift)
            width = min(_WINDOW, end - position, len(old) - position - shift)
            if width <= 0:
                break
            first = new[position : position + width]
            second = old[position + shift : position + shift + width]
            equal = equal_bytes(first, second)
            if equal < width - _TOLERATED:
                better = self._better(position, width, shift)
                if better is not None:
                    return better
                if 2 * equal < width:
                    return position + _worthwhile(first, second), None
            position += width
        return min(position, end), None

    def _better(self, position: int, width: int, shift: int) -> tuple[int, int] | None:
        """(where it begins, shift) of an agreement within the window that is clearly longer than the present one."""
        old, new = self.old, self.new
        get = self._blocks().get
        for at in range(position, min(position + width, len(new) - BLOCK + 1)):
            source = get(new[at : at + BLOCK])
            if source is None or source == at + shift or old[at + shift : at + shift + BLOCK] == new[at : at + BLOCK]:
                continue
            back = common_suffix(new, at, old, source, at - position)
            length = back + common_prefix(new, at, old, source, _LONG)
            begin = at - back
            present = old[begin + shift : begin + shift + length]
            if length >= _LEAST and length > equal_bytes(new[begin : begin + len(present)], present) + _GAIN:
                return begin, source - at
        return None

    def _search(self, position: int, shift: int) -> tuple[int, int] | None:
        """(where, shift) of the next agreement; the shift stays as it is where it can."""
        old, new = self.old, self.new
        get = self._blocks().get
        for at in range(position, len(new) - BLOCK + 1):
            source = get(new[at : at + BLOCK])
            if source is None:
                continue
            if at + shift >= 0 and old[at + shift : at + shift + BLOCK] == new[at : at + BLOCK]:
                return at, shift
            length = common_prefix(new, at, old, source, _LEAST)
            if length >= _LEAST or length + common_suffix(new, at, old, source, at - position) >= _LEAST:
                return at, source - at
        return None

    def _backward(self, hit: int, shift: int, limit: int) -> int:
        """How far back from `hit` the agreement reaches, not beyond `limit`."""
        old, new = self.old, self.new
        start = hit
        while True:
            start -= common_suffix(new, start, old, start + shift, start - limit)
            width = min(_WINDOW, start - limit, start + shift)
            if width <= 0:
                return start
            first, second = new[start - width : start], old[start + shift - width : start + shift]
            if 2 * equal_bytes(first, second) < width:
                return start - _worthwhile(first[::-1], second[::-1])
            start -= width

    def _related(self) -> bool:
        """Whether some of many samples of the new file are in the old one; else looking everywhere takes very long."""
        blocks = self._blocks()
        width = max(8, self._step) + BLOCK
        for start in range(0, len(self.new) - width, (len(self.new) - width) // _SAMPLES + 1):
            sample = self.new[start : start + width]
            if any(sample[at : at + BLOCK] in blocks and any(sample) for at in range(width - BLOCK)):
                return True
        return False

    def _blocks(self) -> dict[bytes, int]:
        """Blocks of the old file → their first place; made when first needed."""
        if self._table is None:
            old = self.old
            last = max(0, len(old) - BLOCK) // self._step * self._step
            self._table = {old[at : at + BLOCK]: at for at in range(last, -1, -self._step)}
        return self._table
