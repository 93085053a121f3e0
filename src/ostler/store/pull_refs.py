"""Which refs a pull brings, and where they go here: to a remote's, the repository's own, or those of a collection."""

from collections.abc import Sequence
from dataclasses import dataclass

from ostler.errors import CorruptError
from ostler.formats.gvariant import FormatError
from ostler.formats.objects import Checksum
from ostler.formats.refs import validate_ref
from ostler.store.refstore import read_ref
from ostler.store.repo import Repo
from ostler.store.summary import Summary
from ostler.store.transfer import Wanted

COLLECTION_ID = "ostree.summary.collection-id"
COLLECTION_MAP = "ostree.summary.collection-map"
COLLECTION_MAP_TYPE = "a{sa(s(taya{sv}))}"


@dataclass(frozen=True, slots=True)
class MirroredRef:
    """A ref of a collection (None: of no collection) and its commit."""

    collection: str | None
    ref: str
    commit: Checksum


def mirrored_refs(summary: Summary) -> Sequence[MirroredRef]:
    """All refs in a summary, those of its own collection and of others. Raises `CorruptError` for impossible names."""
    stated = summary.metadata.get(COLLECTION_ID)
    own = str(stated.value) if stated is not None and stated.type == "s" else None
    found = [MirroredRef(own, ref, entry.commit) for ref, entry in summary.refs.items()]
    others = summary.metadata.get(COLLECTION_MAP)
    if others is not None and others.type == COLLECTION_MAP_TYPE:
        for collection, entries in others.value.items():
            for ref, (_, commit, _) in entries:
                if len(commit) != 32:
                    raise CorruptError(f"the summary has a checksum of {len(commit)} bytes for {ref!r}")
                found.append(MirroredRef(collection, ref, Checksum(commit.hex())))
    try:
        for each in found:
            validate_ref(each.ref)
    except FormatError as error:
        raise CorruptError(f"the summary lists a ref with an impossible name: {error.message}") from error
    return found


def destination_of(
    repo: Repo, ref: str, commit: Checksum, *, remote: str | None, mirrored: MirroredRef | None
) -> Wanted:
    """What to bring for a ref. A `mirrored` one is the repository's own, unless it is of another collection."""
    if mirrored is None:
        return Wanted(commit, ref, remote, read_ref(repo.path, ref, remote))
    if mirrored.collection is None or mirrored.collection == repo.collection_id:
        return Wanted(commit, ref, None, read_ref(repo.path, ref))
    present = read_ref(repo.path, ref, collection=mirrored.collection)
    return Wanted(commit, ref, None, present, mirrored.collection)
