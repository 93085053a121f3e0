"""Delta indexes: a small file for each commit that deltas lead to, so that clients need no summary to find them."""

from pathlib import Path

from ostler.formats.delta import delta_name, encode_index, index_path, parse_index_path, superblock_path
from ostler.formats.gvariant import FormatError
from ostler.formats.objects import Checksum
from ostler.io.files import atomic_write
from ostler.store.delta.listing import file_digest, list_deltas
from ostler.store.repo import Repo


def list_indexes(repo: Repo) -> list[Checksum]:
    """The commits that have an index, ascending; what is no index is passed over."""
    found = []
    for path in (repo.path / "delta-indexes").glob("??/*.index"):
        try:
            found.append(parse_index_path(path.parent.name, path.name))
        except FormatError:
            continue
    return sorted(found)


def reindex(repo: Repo, to: Checksum | None = None) -> None:
    """Bring the indexes up to date, all or that of one commit, and note in the configuration that there are indexes.

    Those of commits that no delta leads to any more are removed. Raises `BusyError`.
    """
    with repo.lock():
        if not repo.config.get_bool("core", "indexed-deltas", False):
            repo.write_config(repo.config.with_value("core", "indexed-deltas", "true"))
        deltas: dict[Checksum, dict[str, Checksum]] = {}
        for start, end in list_deltas(repo):
            if to in (None, end):
                digest = file_digest(repo.path / superblock_path(start, end))
                deltas.setdefault(end, {})[delta_name(start, end)] = digest
        for end, digests in deltas.items():
            _replace(repo.path / index_path(end), encode_index(digests), durable=repo.fsync)
        for end in [to] if to is not None else list_indexes(repo):
            if end not in deltas:
                (repo.path / index_path(end)).unlink(missing_ok=True)


def _replace(path: Path, data: bytes, *, durable: bool) -> None:
    """Write the file unless it holds that already."""
    try:
        if path.read_bytes() == data:
            return
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, data, durable=durable)
