"""Putting the objects of a new delta into parts, and writing those."""

import lzma
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import BinaryIO, TypeAlias

from ostler.formats.delta import PartHeader, encode_names
from ostler.formats.delta_parts import Compression, ModeEntry, Op, Part, encode_operation
from ostler.formats.objects import Checksum, FileMeta, ObjectType, Xattrs
from ostler.store.delta.recipe import Step
from ostler.store.repo import Repo

_CHUNK = 1 << 20
_LEAST_WORK = 512 << 10
_LEAST_APART = 256 << 10
_NICE_MATCH = 128
_SUM_SIZE = 32
_ZEROS_PER_BYTE = 64


@dataclass(frozen=True, slots=True)
class Spooled:
    """A recipe whose payload lies in a file until its part is written."""

    source: Checksum
    steps: tuple[Step, ...]
    file: str
    offset: int
    size: int
    cost: int

    @property
    def weight(self) -> int:
        """How much work the payload is to compress, in bytes of ordinary content: zeros are little."""
        return min(self.size, self.size // _ZEROS_PER_BYTE + 2 * self.cost)


@dataclass(frozen=True, slots=True)
class Item:
    """An object for a part: metadata (`meta` None), or a file that is taken whole or made by a recipe.

    `usize` is its uncompressed size; `payload` what it takes in the blob; both in bytes. `weight` says how much work it
    is to compress.
    """

    kind: ObjectType
    checksum: Checksum
    usize: int
    payload: int
    weight: int
    meta: FileMeta | None = None
    recipe: Spooled | None = None


class Texture(Enum):
    """What most of a part is, which says how to compress it.

    Differences; whole files; programs for x86; and files that are compressed already, on which effort would be wasted.
    """

    DIFFERENCES = "differences"
    WHOLE = "whole"
    CODE = "code"
    PACKED = "packed"

    @property
    def filters(self) -> tuple[dict[str, int], ...]:
        """What liblzma is to do, with the largest window that is worth its memory."""
        if self is Texture.PACKED:
            return ({"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 1 << 20},)
        thorough = {"id": lzma.FILTER_LZMA2, "preset": 8, "nice_len": _NICE_MATCH}
        if self is Texture.DIFFERENCES:
            return ({**thorough, "dict_size": 8 << 20, "pb": 0},)
        if self is Texture.WHOLE:
            return ({**thorough, "dict_size": 16 << 20, "pb": 0},)
        return {"id": lzma.FILTER_X86}, {**thorough, "dict_size": 16 << 20}


_APART = (Texture.CODE, Texture.PACKED)


@dataclass(frozen=True, slots=True)
class PartPlan:
    """The items of a part in their order."""

    texture: Texture
    items: tuple[Item, ...]

    @property
    def weight(self) -> int:
        """How much work it is to compress."""
        return sum(item.weight for item in self.items) // (8 if self.texture is Texture.PACKED else 1)


Group: TypeAlias = tuple[Texture, Sequence[Item]]


def plan_parts(groups: Sequence[Group], *, max_chunk: int, workers: int) -> list[PartPlan]:
    """Share out items: parts of at most `max_chunk` bytes (or of one object), of like content, enough for all workers.

    Groups follow each other in their order; much code and what is compressed already get parts of their own. There is
    always one part.
    """
    plans = []
    shared: list[tuple[Texture, Item]] = []
    for texture, group in groups:
        if texture not in _APART or sum(item.payload for item in group) < _LEAST_APART:
            shared += [(Texture.WHOLE if texture in _APART else texture, item) for item in group]
        else:
            plans += [PartPlan(texture, items) for items in _split(group, max_chunk, 1)]
    before: list[PartPlan] = []
    rest = _split([item for _, item in shared], max_chunk, workers)
    textures = {id(item): texture for texture, item in shared}
    for items in rest:
        whole = sum(item.weight for item in items if textures[id(item)] is Texture.WHOLE)
        mostly_whole = 2 * whole > sum(item.weight for item in items)
        before.append(PartPlan(Texture.WHOLE if mostly_whole else Texture.DIFFERENCES, items))
    return before + plans or [PartPlan(Texture.WHOLE, ())]


def _split(items: Sequence[Item], max_chunk: int, workers: int) -> list[tuple[Item, ...]]:
    """Runs of items that are about equally much work: a multiple of `workers`, unless there is little to do."""
    if not items:
        return []
    weight = sum(item.weight for item in items)
    least = -(-sum(item.payload for item in items) // max_chunk)
    count = -(-least // workers) * workers if weight >= _LEAST_WORK * workers else least
    runs: list[list[Item]] = [[]]
    filled = done = 0
    for item in items:
        due = done >= weight * len(runs) // count
        if runs[-1] and (due or filled + item.payload > max_chunk):
            runs.append([])
            filled = 0
        runs[-1].append(item)
        filled += item.payload
        done += item.weight
    return [tuple(run) for run in runs]


class _Tables:
    """The tables of a part, and its operations, while they grow."""

    def __init__(self) -> None:
        self.modes: dict[ModeEntry, int] = {}
        self.xattrs: dict[Xattrs, int] = {}
        self.operations = bytearray()
        self.sources: dict[Checksum, int] = {}
        self.size = 0

    def add(self, op: Op, *operands: int) -> None:
        self.operations += encode_operation(op, *operands)

    def places(self, meta: FileMeta) -> tuple[int, int]:
        mode = self.modes.setdefault((meta.uid, meta.gid, meta.mode), len(self.modes))
        return mode, self.xattrs.setdefault(meta.xattrs, len(self.xattrs))


def write_part(repo: Repo, plan: PartPlan, path: str, *, durable: bool) -> PartHeader:
    """Write the part's file to `path`, which must not exist, and return what the superblock says of it."""
    tables = _Tables()
    contents: list[Callable[[], Iterator[bytes]]] = []
    for item in plan.items:
        contents += _program(repo, item, tables)
    part = Part(tuple(tables.modes), tuple(tables.xattrs), b"", bytes(tables.operations))
    digest = sha256()
    size = 0
    compressor = lzma.LZMACompressor(lzma.FORMAT_XZ, lzma.CHECK_CRC64, filters=_filters(plan.texture, tables.size))
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with open(fd, "wb", buffering=0) as file:

        def out(data: bytes) -> None:
            nonlocal size
            if data:
                digest.update(data)
                file.write(data)
                size += len(data)

        out(Compression.XZ.encode())
        for piece in part.encode_around(tables.size, (piece for content in contents for piece in content())):
            out(compressor.compress(piece))
        out(compressor.flush())
        os.fchmod(fd, 0o644)
        if durable:
            os.fsync(fd)
    names = encode_names([(item.kind, item.checksum) for item in plan.items])
    return PartHeader(Checksum(digest.hexdigest()), size, sum(item.usize for item in plan.items), names)


def _filters(texture: Texture, size: int) -> list[dict[str, int]]:
    *before, last = texture.filters
    window = 1 << 20
    while window < min(size, last["dict_size"]):
        window *= 2
    return [*before, {**last, "dict_size": window}]


def _program(repo: Repo, item: Item, tables: _Tables) -> Iterator[Callable[[], Iterator[bytes]]]:
    """Add the operations that make an item; yields what brings its share of the blob."""
    if item.meta is None:
        tables.add(Op.SPLICE, item.payload, tables.size)
        tables.size += item.payload
        yield lambda: iter([repo.load_bytes(item.checksum, item.kind)])
        return
    mode, xattrs = tables.places(item.meta)
    if item.recipe is not None:
        yield from _follow(item, item.recipe, mode, xattrs, tables)
        return
    tables.add(Op.SPLICE, mode, xattrs, item.payload, tables.size)
    tables.size += item.payload
    if item.meta.is_symlink:
        target = item.meta.target.encode()
        yield lambda: iter([target])
    else:
        yield lambda: _whole(repo, item)


def _follow(
    item: Item, recipe: Spooled, mode: int, xattrs: int, tables: _Tables
) -> Iterator[Callable[[], Iterator[bytes]]]:
    source = tables.sources.get(recipe.source)
    if source is None:
        source = tables.sources[recipe.source] = tables.size
        tables.size += _SUM_SIZE
        yield lambda: iter([bytes.fromhex(recipe.source)])
    start = tables.size
    tables.size += recipe.size
    yield lambda: _spooled(recipe)
    if not recipe.steps:
        tables.add(Op.SET_SOURCE, source)
        tables.add(Op.OPEN, mode, xattrs, item.usize)
        tables.add(Op.PATCH, start, recipe.size)
        tables.add(Op.CLOSE)
        tables.add(Op.UNSET_SOURCE)
        return
    tables.add(Op.OPEN, mode, xattrs, item.usize)
    reading = False
    for step in recipe.steps:
        if step.from_source and not reading:
            tables.add(Op.SET_SOURCE, source)
        elif reading and not step.from_source:
            tables.add(Op.UNSET_SOURCE)
        reading = step.from_source
        tables.add(Op.WRITE, step.length, step.offset if reading else start + step.offset)
    if reading:
        tables.add(Op.UNSET_SOURCE)
    tables.add(Op.CLOSE)


def _whole(repo: Repo, item: Item) -> Iterator[bytes]:
    with repo.open_file(item.checksum, verify=True) as content:
        yield from _read(content)


def _spooled(recipe: Spooled) -> Iterator[bytes]:
    with open(recipe.file, "rb", buffering=0) as file:
        file.seek(recipe.offset)
        left = recipe.size
        while left and (data := file.read(min(left, _CHUNK))):
            left -= len(data)
            yield data


def _read(content: BinaryIO) -> Iterator[bytes]:
    while data := content.read(_CHUNK):
        yield data
