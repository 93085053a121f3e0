"""Making a static delta: what to send, how to make it from what the receiver has, and the files that hold it.

Files that may have come from old ones are compared in forked processes, which leave what they find in files beside the
delta; then the parts are put together and compressed, in forked processes again. So memory is bounded by the two
largest files that are compared, and by a compressor's window, a worker.
"""

import os
import stat
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ostler.formats.delta import (
    Endianness,
    Fallback,
    PartHeader,
    SignedSuperblock,
    Superblock,
    delta_folder,
    delta_name,
    detached_key,
    part_path,
)
from ostler.formats.gvariant import Variant
from ostler.formats.objects import METADATA_TYPE, Checksum, FileMeta, ObjectType
from ostler.io.files import atomic_write, fsync_directory, remove_tree, space_errors
from ostler.io.progress import Progress, Reporter, silent
from ostler.store.content import RepoMode
from ostler.store.delta.apply import open_source
from ostler.store.delta.errors import DeltaError
from ostler.store.delta.parts import Group, Item, PartPlan, Spooled, Texture, plan_parts, write_part
from ostler.store.delta.recipe import make
from ostler.store.delta.similar import CANDIDATES, new_content
from ostler.store.forked import map_forked, processors
from ostler.store.repo import Repo
from ostler.store.signing.kinds import Signer

MEGABYTE = 1_000_000
_LEAST_COMPARED = 64
_SIZE_RATIO = 8
_SAMPLE = 4096
_INCOMPRESSIBLE = 0.98


@dataclass(frozen=True, slots=True)
class DeltaOptions:
    """How to make a delta. Sizes are in megabytes (10⁶ bytes), as `ostree` has them.

    `max_chunk`: the most that a part's objects take before compression. `min_fallback`: files larger than this that
    resemble nothing are left to be fetched by themselves (0: never). `max_bsdiff`: old and new file together may be so
    large for differences to be made; beyond, stretches are copied (in files up to 512 MiB). `inline`: the parts go
    into the superblock. `filename`: the superblock's path, for a delta outside of the repository; its parts lie beside
    it. `timestamp` is in seconds since 1970 (None: now). `metadata` goes into the superblock. `signers`: each signs
    the superblock. `workers`: number of processes.
    """

    max_chunk: int = 32
    min_fallback: int = 4
    max_bsdiff: int = 128
    bsdiff: bool = True
    inline: bool = False
    endianness: Endianness = Endianness.LITTLE
    filename: Path | None = None
    timestamp: int | None = None
    metadata: Mapping[str, Variant] = field(default_factory=dict)
    signers: Sequence[Signer] = ()
    workers: int | None = None


@dataclass(frozen=True, slots=True)
class DeltaStats:
    """What a delta holds: numbers of objects, and bytes.

    `modified`: new files that may have come from old ones. `copied`: files made of copies, `copied_bytes` of which come
    from old ones; `patched`: files made by differences. `loose`: what the objects take in the repository.
    """

    name: str
    parts: tuple[PartHeader, ...]
    fallbacks: tuple[Fallback, ...]
    metadata: int
    regular: int
    symlinks: int
    modified: int
    copied: int
    copied_bytes: int
    patched: int
    superblock_bytes: int
    loose: int
    inline: bool = False

    @property
    def compressed(self) -> int:
        """Bytes of all parts."""
        return sum(part.size for part in self.parts)

    @property
    def uncompressed(self) -> int:
        """Bytes of the objects that the parts make."""
        return sum(part.usize for part in self.parts)

    @property
    def total(self) -> int:
        """Bytes that a client fetches: the superblock, parts that are not in it, and fallbacks."""
        parts = 0 if self.inline else self.compressed
        return parts + sum(fallback.size for fallback in self.fallbacks) + self.superblock_bytes


def generate(
    repo: Repo,
    to: Checksum,
    *,
    from_: Checksum | None = None,
    options: DeltaOptions = DeltaOptions(),
    report: Reporter = silent,
) -> DeltaStats:
    """Make the delta from one commit of the repository (None: from nothing) to another, replacing one that is there.

    Raises `NotFoundError` if objects of the commits are missing, `DeltaError` for options that make no sense.
    """
    if options.max_chunk <= 0:
        raise DeltaError("a delta's parts need a size above 0 MB", hint="give --max-chunk-size, such as 32")
    final = options.filename or repo.path / delta_folder(from_, to) / "superblock"
    final.parent.mkdir(parents=True, exist_ok=True)
    with repo.lock(), _working_folder(final.parent) as work, space_errors("making a delta", final.parent):
        made = _Generation(repo, from_, to, options, work, report).run()
        _install(repo, work, final, made.superblock, len(made.stats.parts), inline=options.inline)
    return made.stats


@contextmanager
def _working_folder(beside: Path) -> Iterator[Path]:
    folder = beside / f".delta-{os.getpid()}-{threading.get_ident()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        remove_tree(folder)


def _install(repo: Repo, work: Path, final: Path, superblock: bytes, parts: int, *, inline: bool) -> None:
    """Parts first, then the superblock; then parts of an older delta go."""
    count = 0 if inline else parts
    for number in range(count):
        (work / str(number)).rename(final.with_name(str(number)))
    if repo.fsync:
        fsync_directory(final.parent)
    atomic_write(final, superblock, durable=repo.fsync)
    for stale in final.parent.iterdir():
        if stale.name.isdecimal() and int(stale.name) >= count and final.name == "superblock":
            stale.unlink()


@dataclass(frozen=True, slots=True)
class _Made:
    superblock: bytes
    stats: DeltaStats


@dataclass(frozen=True, slots=True)
class _New:
    """A new file: `meta` and `size` in bytes, and what may resemble it."""

    checksum: Checksum
    path: str
    candidates: tuple[Checksum, ...]
    meta: FileMeta
    size: int
    texture: Texture


class _Generation:
    def __init__(
        self, repo: Repo, from_: Checksum | None, to: Checksum, options: DeltaOptions, work: Path, report: Reporter
    ) -> None:
        self._repo = repo
        self._from = from_
        self._to = to
        self._options = options
        self._work = work
        self._report = report
        self._workers = options.workers or max(1, processors())
        self._spool_lock = threading.Lock()
        self._readable: dict[Checksum, int | None] = {}

    def run(self) -> _Made:
        content, candidates = new_content(self._repo, self._from, self._to)
        files = [
            self._examine(checksum, path, candidates.get(checksum, ())) for checksum, path in content.files.items()
        ]
        metadata = [
            Item(kind, checksum, size, size, size)
            for kind, checksum in content.metadata
            for size in [self._repo.object_path(checksum, kind).stat().st_size]
        ]
        items, fallbacks = self._file_items(files)
        groups = _grouped(metadata, items, {new.checksum: new for new in files})
        plans = plan_parts(groups, max_chunk=self._options.max_chunk * MEGABYTE, workers=self._workers)
        headers = self._write_parts(plans)
        superblock = self._superblock(headers, fallbacks)
        stats = self._stats(headers, fallbacks, metadata, files, items, len(superblock))
        return _Made(superblock, stats)

    # --- files

    def _examine(self, checksum: Checksum, path: str, candidates: Sequence[Checksum]) -> _New:
        meta, size, content = self._repo.open_file_object(checksum)
        with content:
            start = content.read(_SAMPLE) if size >= _LEAST_COMPARED else b""
        return _New(checksum, path, tuple(candidates), meta, size, self._texture(checksum, size, start))

    def _texture(self, checksum: Checksum, size: int, start: bytes) -> Texture:
        """How to compress a file that is sent whole."""
        if self._repo.mode is RepoMode.ARCHIVE:
            packed = self._repo.object_path(checksum, ObjectType.FILE).lstat().st_size
        else:
            size, packed = len(start), len(zlib.compress(start, 1))
        if size >= _SAMPLE and packed >= _INCOMPRESSIBLE * size:
            return Texture.PACKED
        return Texture.CODE if _is_code(start) else Texture.WHOLE

    def _file_items(self, files: Sequence[_New]) -> tuple[list[Item], list[Fallback]]:
        jobs = [new for new in files if new.candidates and not new.meta.is_symlink and new.size >= _LEAST_COMPARED]
        jobs.sort(key=lambda new: -new.size)
        recipes = {}
        for done, (new, recipe) in enumerate(
            zip(
                jobs,
                map_forked(jobs, self._recipe, workers=self._workers, weight=lambda new: new.size),
                strict=True,
            ),
            1,
        ):
            if recipe is not None:
                recipes[new.checksum] = recipe
            self._report(Progress("delta", done, len(jobs), "files"))
        items, fallbacks = [], []
        for new in files:
            recipe = recipes.get(new.checksum)
            size = new.size if not new.meta.is_symlink else len(new.meta.target.encode())
            if recipe is None and self._falls_back(new):
                stored = self._repo.object_path(new.checksum, ObjectType.FILE).lstat().st_size
                fallbacks.append(Fallback(ObjectType.FILE, new.checksum, stored, new.size))
                continue
            payload, weight = (recipe.size, recipe.weight) if recipe else (size, size)
            items.append(Item(ObjectType.FILE, new.checksum, new.size, payload, weight, new.meta, recipe))
        return items, fallbacks

    def _falls_back(self, new: _New) -> bool:
        """Whether to leave a file out: what resembles an old one, in vain, is still sent with the others."""
        least = self._options.min_fallback * MEGABYTE
        return 0 < least < new.size and not any(self._usable(old, new.size) for old in new.candidates[:CANDIDATES])

    def _usable(self, old: Checksum, size: int) -> bool:
        """Whether a file may be the source of one of `size` bytes: every receiver must be able to read it."""
        if old not in self._readable:
            meta, old_size, content = self._repo.open_file_object(old)
            content.close()
            readable = stat.S_ISREG(meta.mode) and bool(meta.mode & stat.S_IROTH)
            self._readable[old] = old_size if readable else None
        old_size_or_none = self._readable[old]
        if not old_size_or_none:
            return False
        return old_size_or_none <= _SIZE_RATIO * size and size <= _SIZE_RATIO * old_size_or_none

    def _recipe(self, new: _New) -> Spooled | None:
        """How to make a file from the best of its candidates. Runs in a worker."""
        usable = [old for old in new.candidates if self._usable(old, new.size)][:CANDIDATES]
        if not usable:
            return None
        content = open_source(self._repo, new.checksum)
        best = None
        for old in usable:
            total = new.size + (self._readable[old] or 0)
            differences = self._options.bsdiff and total <= self._options.max_bsdiff * MEGABYTE
            made = make(open_source(self._repo, old), content, differences=differences)
            if made is not None and (best is None or made.cost < best[1].cost):
                best = (old, made)
            if best is not None and best[1].cost * 8 < new.size:
                break
        if best is None:
            return None
        old, made = best
        path, offset = self._spool(made.payload)
        return Spooled(old, made.steps, path, offset, len(made.payload), made.cost)

    def _spool(self, payload: bytes) -> tuple[str, int]:
        path = f"{self._work}/spool-{os.getpid()}"
        with self._spool_lock, open(path, "ab") as file:
            offset = file.tell()
            file.write(payload)
        return path, offset

    # --- files of the delta

    def _write_parts(self, plans: Sequence[PartPlan]) -> tuple[PartHeader, ...]:
        durable = self._repo.fsync and not self._options.inline

        def write(number: int) -> PartHeader:
            return write_part(self._repo, plans[number], f"{self._work}/{number}", durable=durable)

        order = sorted(range(len(plans)), key=lambda number: -plans[number].weight)
        headers = dict(zip(order, map_forked(order, write, workers=self._workers), strict=True))
        return tuple(headers[number] for number in range(len(plans)))

    def _superblock(self, headers: tuple[PartHeader, ...], fallbacks: list[Fallback]) -> bytes:
        options = self._options
        metadata = dict(options.metadata)
        metadata["ostree.endianness"] = Variant("y", ord(options.endianness))
        if options.inline:
            for number in range(len(headers)):
                data = (self._work / str(number)).read_bytes()
                key = part_path(self._from, self._to, number)
                metadata[key] = Variant("(yay)", (data[0], data[1:]))
        detached = self._repo.load_detached(self._to)
        if detached:
            metadata[detached_key(self._from, self._to)] = Variant(METADATA_TYPE, detached)
        encoded = Superblock(
            to=self._to,
            commit=self._repo.load_bytes(self._to, ObjectType.COMMIT),
            from_=self._from,
            timestamp=int(time.time()) if options.timestamp is None else options.timestamp,
            parts=headers,
            fallbacks=tuple(fallbacks),
            metadata=metadata,
            endianness=options.endianness,
        ).encode()
        if not options.signers:
            return encoded
        signatures: dict[str, list[bytes]] = {}
        for signer in options.signers:
            signatures.setdefault(signer.metadata_key, []).append(signer.sign(encoded))
        return SignedSuperblock(encoded, {key: Variant("aay", held) for key, held in signatures.items()}).encode()

    def _stats(
        self,
        headers: tuple[PartHeader, ...],
        fallbacks: list[Fallback],
        metadata: list[Item],
        files: Sequence[_New],
        items: list[Item],
        superblock_bytes: int,
    ) -> DeltaStats:
        recipes = [item.recipe for item in items if item.recipe]
        symlinks = sum(new.meta.is_symlink for new in files)
        copies = [recipe.steps for recipe in recipes if recipe.steps]
        return DeltaStats(
            name=delta_name(self._from, self._to),
            parts=headers,
            fallbacks=tuple(fallbacks),
            metadata=len(metadata) + 1,
            regular=len(files) - symlinks,
            symlinks=symlinks,
            modified=sum(bool(new.candidates) for new in files),
            copied=len(copies),
            copied_bytes=sum(step.length for steps in copies for step in steps if step.from_source),
            patched=len(recipes) - len(copies),
            superblock_bytes=superblock_bytes,
            inline=self._options.inline,
            loose=sum(self._repo.object_path(item.checksum, item.kind).lstat().st_size for item in (*metadata, *items)),
        )


def _grouped(metadata: list[Item], files: list[Item], news: Mapping[Checksum, _New]) -> list[Group]:
    """Items in the order in which they compress well: metadata by kind, files by how they are made and by name."""
    copied: list[Item] = []
    patched: list[Item] = []
    symlinks: list[Item] = []
    whole: dict[Texture, list[Item]] = {texture: [] for texture in Texture}
    for item in files:
        new = news[item.checksum]
        if item.recipe is not None:
            (copied if item.recipe.steps else patched).append(item)
        else:
            (symlinks if new.meta.is_symlink else whole[new.texture]).append(item)

    def nature(item: Item) -> tuple[str, str]:
        folder, _, name = news[item.checksum].path.rpartition("/")
        stem, dot, extension = name.rpartition(".")
        return (extension if dot and stem else ""), f"{folder}/{name}"

    return [
        (Texture.DIFFERENCES, sorted(metadata, key=lambda item: (item.kind, item.checksum))),
        (Texture.DIFFERENCES, sorted(copied, key=nature)),
        (Texture.DIFFERENCES, sorted(patched, key=nature)),
        (Texture.WHOLE, sorted(whole[Texture.WHOLE], key=nature)),
        (Texture.WHOLE, sorted(symlinks, key=nature)),
        (Texture.CODE, sorted(whole[Texture.CODE], key=nature)),
        (Texture.PACKED, sorted(whole[Texture.PACKED], key=nature)),
    ]


def _is_code(start: bytes) -> bool:
    """Whether a file that starts so is a program or library for x86."""
    kind, machine = int.from_bytes(start[16:18], "little"), int.from_bytes(start[18:20], "little")
    return start[:4] == b"\x7fELF" and kind in (2, 3) and machine in (3, 62)
