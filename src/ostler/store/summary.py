"""Writing the summary of a repository, which lists its refs and static deltas for clients."""

import time
from collections.abc import Mapping

from ostler.errors import NotFoundError
from ostler.formats.delta import DELTAS_KEY
from ostler.formats.gvariant import FormatError, Variant
from ostler.formats.objects import Checksum, Commit, DirMeta, DirTree
from ostler.formats.summary import (
    COLLECTION_ID,
    COLLECTION_MAP,
    COLLECTIONS_TYPE,
    COMMIT_TIMESTAMP,
    COMMIT_VERSION,
    INDEXED_DELTAS,
    LAST_MODIFIED,
    MODE,
    SUMMARY_TYPE,
    TOMBSTONE_COMMITS,
    Summary,
    SummaryEntry,
    big_endian,
    encode_refs,
)
from ostler.io.files import atomic_write
from ostler.store.bindings import COLLECTION_BINDING, REF_BINDING
from ostler.store.repo import Repo

__all__ = [
    "LAST_MODIFIED",
    "MAX_SUMMARY",
    "METADATA_REF",
    "SUMMARY_TYPE",
    "Summary",
    "SummaryEntry",
    "commit_metadata_ref",
    "summarise",
    "update_automatically",
    "write_summary",
]

MAX_SUMMARY = 128 * 1024 * 1024
"""The largest summary that is read, in bytes."""
METADATA_REF = "ostree-metadata"
"""The ref that repositories with a collection ID keep their metadata in."""
_NOTHING: Mapping[str, Variant] = {}


def summarise(repo: Repo, *, timestamp: int, additional: Mapping[str, Variant] = _NOTHING) -> Summary:
    """What the summary of the repository should be; `additional` is more metadata for it.

    `timestamp` is the time of writing in seconds since 1970. Raises `NotFoundError` for a ref whose commit is missing.
    """
    own, others = _listed_refs(repo)
    whole = dict(additional)
    deltas = _delta_digests(repo)
    if deltas:
        whole[DELTAS_KEY] = Variant("a{sv}", deltas)
    whole |= {
        LAST_MODIFIED: Variant("t", big_endian(timestamp)),
        MODE: Variant("s", str(repo.mode)),
        TOMBSTONE_COMMITS: Variant("b", repo.config.get_bool("core", "tombstone-commits", False)),
        INDEXED_DELTAS: Variant("b", True),
    }
    collection = repo.config.get("core", "collection-id")
    if collection:
        whole[COLLECTION_ID] = Variant("s", collection)
    if others:
        entries = {owner: encode_refs(_entries(repo, refs)) for owner, refs in sorted(others.items())}
        whole[COLLECTION_MAP] = Variant(COLLECTIONS_TYPE, entries)
    return Summary(_entries(repo, own), whole)


def _listed_refs(repo: Repo) -> tuple[dict[str, Checksum], dict[str, dict[str, Checksum]]]:
    """The repository's own refs, and those of other collections: mirrored ones and remotes' that name a collection."""
    heads: dict[str, Checksum] = {}
    others: dict[str, dict[str, Checksum]] = {}
    remotes = repo.remotes()
    for name, checksum in repo.refs().items():
        remote, colon, ref = name.rpartition(":")
        if not colon:
            heads[name] = checksum
        elif remote in remotes and (owner := remotes[remote].options.get("collection-id")):
            others.setdefault(owner, {})[ref] = checksum
    for (owner, ref), checksum in repo.collection_refs().items():
        others.setdefault(owner, {})[ref] = checksum
    collection = repo.config.get("core", "collection-id")
    if collection:
        heads = {**others.pop(collection, {}), **heads}
    return heads, others


def _entries(repo: Repo, refs: Mapping[str, Checksum]) -> dict[str, SummaryEntry]:
    entries = {}
    for ref, checksum in refs.items():
        commit = repo.load_commit(checksum)
        metadata = {COMMIT_TIMESTAMP: Variant("t", big_endian(commit.timestamp))}
        version = commit.metadata.get("version")
        if version is not None and version.type == "s":
            metadata[COMMIT_VERSION] = version
        entries[ref] = SummaryEntry(checksum, len(commit.encode()), metadata)
    return entries


def _delta_digests(repo: Repo) -> dict[str, Variant]:
    """The digest of each static delta's superblock by the delta's name, unless they are kept out of the summary."""
    if repo.config.get_bool("core", "no-deltas-in-summary", False):
        return {}
    if not _has_deltas(repo):
        return {}
    from ostler.store.delta.listing import superblock_digests

    return {name: Variant("ay", bytes.fromhex(c)) for name, c in sorted(superblock_digests(repo).items())}


def write_summary(
    repo: Repo,
    *,
    timestamp: int | None = None,
    additional: Mapping[str, Variant] = _NOTHING,
    always: bool = False,
) -> bool:
    """Bring the file `summary` and the indexes of static deltas up to date; return whether the summary was written.

    `timestamp` is the time to note in it, in seconds since 1970 (None: now). It is left alone if it would say the same
    as before, unless `always`. A signature of the old one is removed.
    """
    path = repo.path / "summary"
    reindex_deltas(repo)
    summary = summarise(repo, timestamp=int(time.time()) if timestamp is None else timestamp, additional=additional)
    try:
        if not always and _same(Summary.decode(path.read_bytes()), summary):
            return False
    except (OSError, FormatError):
        pass  # none yet, or one that nobody can read
    (repo.path / "summary.sig").unlink(missing_ok=True)
    atomic_write(path, summary.encode(), mode=0o644, durable=repo.fsync)
    return True


def update_automatically(repo: Repo) -> None:
    """Write the summary if the repository wants that whenever its refs change (`core.auto-update-summary`)."""
    keys = ("auto-update-summary", "commit-update-summary")
    if any(repo.config.get_bool("core", key, False) for key in keys):
        write_summary(repo, always=True)


def commit_metadata_ref(
    repo: Repo, *, timestamp: int | None = None, additional: Mapping[str, Variant] = _NOTHING
) -> Checksum:
    """In a repository with a collection ID: commit an empty tree with `additional` as metadata to `ostree-metadata`.

    Such commits can be signed and pulled, unlike summaries. Raises `NotFoundError` if there is no collection ID.
    """
    collection = repo.config.get("core", "collection-id")
    if not collection:
        raise NotFoundError(f"the repository {repo.path} has no collection ID", hint="set core.collection-id first")
    metadata = dict(additional)
    metadata[COLLECTION_BINDING] = Variant("s", collection)
    metadata[REF_BINDING] = Variant("as", [METADATA_REF])
    parent = repo.refs().get(METADATA_REF)
    with repo.transaction() as transaction:
        meta = transaction.write_metadata(DirMeta(0, 0, 0o40755))
        tree = transaction.write_metadata(DirTree())
        moment = int(time.time()) if timestamp is None else timestamp
        commit = transaction.write_metadata(Commit(tree, meta, moment, parent=parent, metadata=metadata))
        transaction.set_ref(METADATA_REF, commit)
    return commit


def reindex_deltas(repo: Repo) -> None:
    """Bring the indexes of static deltas up to date, which newer clients read instead of the list in the summary."""
    if _has_deltas(repo):
        from ostler.store.delta.index import reindex

        reindex(repo)


def _has_deltas(repo: Repo) -> bool:
    return (repo.path / "deltas").is_dir() or (repo.path / "delta-indexes").is_dir()


def _same(old: Summary, new: Summary) -> bool:
    """Whether the two say the same, whenever they were written."""
    old_metadata = {key: value for key, value in old.metadata.items() if key != LAST_MODIFIED}
    new_metadata = {key: value for key, value in new.metadata.items() if key != LAST_MODIFIED}
    return dict(old.refs.items()) == new.refs and old_metadata == new_metadata
