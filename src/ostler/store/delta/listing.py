"""The deltas that a repository has: finding, describing, verifying and removing them."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ostler.errors import NotFoundError
from ostler.formats.delta import (
    Endianness,
    PartHeader,
    SignedSuperblock,
    Superblock,
    decode_superblock,
    delta_folder,
    delta_name,
    is_signed,
    parse_delta_folder,
    parse_delta_name,
    part_path,
    superblock_path,
)
from ostler.formats.delta_parts import Op, Part, read_operations
from ostler.formats.gvariant import FormatError
from ostler.formats.objects import Checksum
from ostler.io.files import remove_tree
from ostler.store.delta.apply import inflate_held
from ostler.store.delta.offline import check_signed, read_superblock
from ostler.store.repo import Repo
from ostler.store.signing.errors import SignatureError
from ostler.store.signing.kinds import Trust, Verified


def list_deltas(repo: Repo) -> list[tuple[Checksum | None, Checksum]]:
    """(from, to) of every delta in the repository, ascending by name; what is no delta is passed over."""
    found = []
    for fanout in _entries(repo.path / "deltas"):
        for folder in _entries(fanout):
            try:
                pair = parse_delta_folder(fanout.name, folder.name)
            except FormatError:
                continue
            if (folder / "superblock").is_file():
                found.append(pair)
    return sorted(found, key=lambda pair: delta_name(*pair))


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return


def superblock_digests(repo: Repo) -> dict[str, Checksum]:
    """The deltas of the repository: name → SHA-256 of the superblock's file, as summaries and indexes list them."""
    found = {}
    for from_, to in list_deltas(repo):
        try:
            found[delta_name(from_, to)] = file_digest(repo.path / superblock_path(from_, to))
        except FileNotFoundError:
            continue  # removed meanwhile
    return found


def file_digest(path: Path) -> Checksum:
    """The SHA-256 of a file."""
    digest = sha256()
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return Checksum(digest.hexdigest())


def delta_exists(repo: Repo, from_: Checksum | None, to: Checksum) -> bool:
    """Whether the repository has that delta."""
    return (repo.path / superblock_path(from_, to)).is_file()


def delete_delta(repo: Repo, name: str) -> None:
    """Remove the delta of that name (FROM-TO or TO); raises `FormatError` and `NotFoundError`."""
    folder = repo.path / delta_folder(*_parse(name))
    if not folder.is_dir():
        raise NotFoundError(f"Can't find delta {name}", hint="`static-delta list` names those that there are")
    (folder / "superblock").unlink(missing_ok=True)
    remove_tree(folder)


def load_delta(repo: Repo, name: str) -> bytes:
    """The bytes of a superblock: by the delta's name, or by a path (whatever has a `/`).

    Raises `FormatError` (no name), `NotFoundError`.
    """
    return read_superblock(Path(name) if "/" in name else repo.path / superblock_path(*_parse(name)))


def _parse(name: str) -> tuple[Checksum | None, Checksum]:
    try:
        return parse_delta_name(name)
    except FormatError as error:
        bad = next(part for part in name.partition("-")[::2] if not _is_checksum(part))
        raise FormatError(
            f"Invalid rev {bad}", hint="a delta is named by one or two checksums: FROM-TO, or TO"
        ) from error


def _is_checksum(text: str) -> bool:
    return len(text) == 64 and not text.strip("0123456789abcdef")


def verify_delta(repo: Repo, name: str, trust: Trust) -> Verified:
    """A good signature of a delta (named as in `load_delta`); raises `SignatureError` if it has none."""
    data = load_delta(repo, name)
    if not is_signed(data):
        raise SignatureError("no signatures in static-delta")
    return check_signed(SignedSuperblock.decode(data), trust)


@dataclass(frozen=True, slots=True)
class PartSummary:
    """What is in a part: numbers of table entries, bytes of the blob and the program, operations by their kind."""

    header: PartHeader
    modes: int
    xattrs: int
    blob: int
    operations: int
    counts: dict[Op, int]


@dataclass(frozen=True, slots=True)
class DeltaSummary:
    """A delta, looked at. `name` is what it was asked for by."""

    name: str
    signed: bool
    superblock: Superblock
    parts: tuple[PartSummary, ...]


def describe_delta(repo: Repo, name: str) -> DeltaSummary:
    """Look at a delta of the repository (named as in `load_delta`) and at all its parts, whose digests are not checked.

    Raises `NotFoundError` and `FormatError`.
    """
    data = load_delta(repo, name)
    superblock = decode_superblock(data)
    folder = Path(name).parent if "/" in name else None
    parts = tuple(_describe_part(repo, superblock, number, folder) for number in range(len(superblock.parts)))
    return DeltaSummary(name, is_signed(data), superblock, parts)


def _describe_part(repo: Repo, superblock: Superblock, number: int, folder: Path | None) -> PartSummary:
    header = superblock.parts[number]
    inline = superblock.inline_part(number)
    if inline is not None:
        held = inflate_held(repo, header, inline)
    else:
        path = repo.path / part_path(superblock.from_, superblock.to, number)
        if folder is not None:
            path = folder / str(number)
        try:
            with path.open("rb") as file:
                held = inflate_held(repo, header, file)
        except FileNotFoundError as error:
            raise NotFoundError(f"the delta {superblock.name} lacks its part {number} ({path})") from error
    part = Part.decode(memoryview(held))
    counts = dict.fromkeys(Op, 0)
    for operation in read_operations(part.operations, (kind for kind, _ in header.objects())):
        counts[operation[0]] += 1
    return PartSummary(header, len(part.modes), len(part.xattrs), len(part.blob), len(part.operations), counts)


def describe_lines(summary: DeltaSummary) -> Iterator[str]:
    """The description in the lines that `ostree static-delta show` prints."""
    superblock = summary.superblock
    yield f"Delta: {summary.name}"
    yield f"Signed: {'yes' if summary.signed else 'no'}"
    yield f"From: {superblock.from_}" if superblock.from_ else "From <scratch>"
    yield f"To: {superblock.to}"
    yield f"Endianness: {_endianness(superblock)}"
    yield f"Timestamp: {superblock.timestamp}"
    yield f"Number of parents: {len(superblock.before) // 64}"
    yield f"Number of fallback entries: {len(superblock.fallbacks)}"
    for fallback in superblock.fallbacks:
        yield f"  {fallback.checksum}"
    fallback_size = sum(fallback.size for fallback in superblock.fallbacks)
    fallback_usize = sum(fallback.usize for fallback in superblock.fallbacks)
    yield _total("Total Fallback Size", fallback_size)
    yield _total("Total Fallback Uncompressed Size", fallback_usize)
    yield f"Number of parts: {len(summary.parts)}"
    for number, part in enumerate(summary.parts):
        header = part.header
        yield f"PartMeta{number}: nobjects={len(header)} size={header.size} usize={header.usize}"
        yield (
            f"PartPayload{number}: nmodes={part.modes} nxattrs={part.xattrs} "
            f"blobsize={part.blob} opsize={part.operations}"
        )
        yield f"PartPayloadOps{number}: " + " ".join(f"{word}={part.counts[op]}" for op, word in _OPS.items())
    size = sum(part.header.size for part in summary.parts)
    usize = sum(part.header.usize for part in summary.parts)
    yield _total("Total Part Size", size)
    yield _total("Total Part Uncompressed Size", usize)
    yield _total("Total Size", size + fallback_size)
    yield _total("Total Uncompressed Size", usize + fallback_usize)


_OPS = {
    Op.SPLICE: "openspliceclose",
    Op.OPEN: "open",
    Op.WRITE: "write",
    Op.SET_SOURCE: "setread",
    Op.UNSET_SOURCE: "unsetread",
    Op.CLOSE: "close",
    Op.PATCH: "bspatch",
}


def _endianness(superblock: Superblock) -> str:
    if superblock.endianness is None:
        return "invalid"
    word = "big" if superblock.endianness is Endianness.BIG else "little"
    return f"{word} (heuristic)" if superblock.guessed else word


def _total(what: str, size: int) -> str:
    return f"{what}: {size} ({format_size(size)})"


_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")


def format_size(size: int) -> str:
    """A size in bytes for people, as GLib writes it: "22.8\u00a0MB"."""
    if size < 1000:
        return "1 byte" if size == 1 else f"{size} bytes"
    power = min((len(str(size)) - 1) // 3, len(_UNITS))
    if power < len(_UNITS) and f"{size / 1000**power:.1f}" == "1000.0":
        power += 1
    return f"{size / 1000**power:.1f}\u00a0{_UNITS[power - 1]}"
