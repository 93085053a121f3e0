"""Which objects commits are made of."""

from collections.abc import Iterable, Iterator

from ostler.errors import NotFoundError
from ostler.formats.objects import Checksum, Commit, ObjectType
from ostler.store.repo import Repo

ObjectName = tuple[Checksum, ObjectType]


def all_refs(repo: Repo) -> dict[str, Checksum]:
    """Every ref of the repository, by a name for people: its own, those of remotes, and mirrored collections'."""
    mirrored = {f"{collection}/{ref}": commit for (collection, ref), commit in repo.collection_refs().items()}
    return {**mirrored, **repo.refs()}


def with_parents(repo: Repo, commits: Iterable[Checksum], depth: int) -> set[Checksum]:
    """`commits` that are there, and their ancestors up to `depth` generations (-1: all) as far as they are there."""
    generations: dict[Checksum, int] = {}
    todo = [(commit, depth) for commit in commits]
    while todo:
        checksum, left = todo.pop()
        known = generations.get(checksum)
        if known is not None and (known < 0 or known >= left >= 0):
            continue
        if not repo.has(checksum, ObjectType.COMMIT):
            continue
        generations[checksum] = left
        parent = repo.load_commit(checksum).parent
        if parent is not None and left != 0:
            todo.append((parent, left - 1 if left > 0 else left))
    return set(generations)


def reachable(repo: Repo, commits: Iterable[Checksum]) -> set[ObjectName]:
    """The names of the commits' objects, their own and detached metadata included.

    What a partial commit lacks is passed over. Raises `NotFoundError` for an object missing below another commit, and
    `CorruptError` for damaged metadata.
    """
    found: set[ObjectName] = set()
    complete: set[ObjectName] = set()  # gone down into without passing over anything
    for checksum in commits:
        found |= {(checksum, ObjectType.COMMIT), (checksum, ObjectType.DETACHED)}
        seen = found if repo.is_partial(checksum) else complete
        for name in _tree_objects(repo, repo.load_commit(checksum), seen, lenient=repo.is_partial(checksum)):
            found.add(name)
    return found | complete


def _tree_objects(repo: Repo, commit: Commit, seen: set[ObjectName], *, lenient: bool) -> Iterator[ObjectName]:
    """The objects of a commit's tree; those below dirtrees in `seen`, to which new ones are added, are left out."""
    yield commit.root_meta, ObjectType.DIRMETA
    stack = [commit.root_tree]
    while stack:
        checksum = stack.pop()
        name = (checksum, ObjectType.DIRTREE)
        if name in seen:
            continue
        seen.add(name)
        yield name
        try:
            tree = repo.load_dirtree(checksum)
        except NotFoundError:
            if lenient:
                continue
            raise
        for _, file in tree.files:
            yield file, ObjectType.FILE
        for _, below, meta in tree.dirs:
            yield meta, ObjectType.DIRMETA
            stack.append(below)
