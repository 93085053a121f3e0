"""Which objects commits are made of, held so that a million of them are no burden: 32 bytes each in sets."""

from collections.abc import Iterable, Iterator

from ostler.errors import NotFoundError
from ostler.formats.objects import Checksum, Commit, ObjectType
from ostler.store.repo import Repo

ObjectName = tuple[Checksum, ObjectType]


class ObjectSet:
    """A set of object names. `of(kind)` gives the raw digests of one kind, for those who look up very many."""

    def __init__(self, names: Iterable[ObjectName] = ()) -> None:
        self._digests: dict[ObjectType, set[bytes]] = {kind: set() for kind in ObjectType}
        for checksum, kind in names:
            self.add(checksum, kind)

    def of(self, kind: ObjectType) -> set[bytes]:
        """The digests of all objects of a kind; what is added to it is added to the set."""
        return self._digests[kind]

    def add(self, checksum: Checksum, kind: ObjectType) -> None:
        """Add one name."""
        self._digests[kind].add(bytes.fromhex(checksum))

    def __contains__(self, name: ObjectName) -> bool:
        checksum, kind = name
        return bytes.fromhex(checksum) in self._digests[kind]

    def __iter__(self) -> Iterator[ObjectName]:
        for kind, digests in self._digests.items():
            for digest in digests:
                yield Checksum(digest.hex()), kind

    def __len__(self) -> int:
        return sum(map(len, self._digests.values()))


def all_refs(repo: Repo) -> dict[str, Checksum]:
    """Every ref of the repository, by a name for people: its own, those of remotes, and mirrored collections'."""
    mirrored = {f"{collection}/{ref}": commit for (collection, ref), commit in repo.collection_refs().items()}
    return {**mirrored, **repo.refs()}


def reachable(repo: Repo, commits: Iterable[Checksum], *, commits_only: bool = False) -> ObjectSet:
    """The names of the commits' objects, their own and detached metadata included; with `commits_only` none but those.

    What a partial commit lacks is passed over. Raises `NotFoundError` for an object missing below another commit, and
    `CorruptError` for damaged metadata.
    """
    found = ObjectSet()
    complete: set[bytes] = set()  # dirtrees gone down into without passing over anything
    for checksum in commits:
        found.add(checksum, ObjectType.COMMIT)
        found.add(checksum, ObjectType.DETACHED)
        if not commits_only:
            _add_tree(repo, repo.load_commit(checksum), found, complete, lenient=repo.is_partial(checksum))
    found.of(ObjectType.DIRTREE).update(complete)
    return found


def _add_tree(repo: Repo, commit: Commit, found: ObjectSet, complete: set[bytes], *, lenient: bool) -> None:
    """Add the objects of a commit's tree; what lies below dirtrees in `complete` is there already."""
    files, metas = found.of(ObjectType.FILE), found.of(ObjectType.DIRMETA)
    seen = found.of(ObjectType.DIRTREE) if lenient else complete
    metas.add(bytes.fromhex(commit.root_meta))
    stack = [commit.root_tree]
    while stack:
        checksum = stack.pop()
        digest = bytes.fromhex(checksum)
        if digest in seen or digest in complete:
            continue
        seen.add(digest)
        try:
            tree = repo.load_dirtree(checksum)
        except NotFoundError:
            if lenient:
                continue
            raise
        files.update([bytes.fromhex(file) for _, file in tree.files])
        for _, below, meta in tree.dirs:
            metas.add(bytes.fromhex(meta))
            stack.append(below)
