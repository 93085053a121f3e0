"""Copying refs of collections to removable media."""

from pathlib import Path

import pytest

from ostler.errors import NotFoundError
from ostler.formats.gvariant import Variant
from ostler.formats.objects import DirMeta, ObjectType
from ostler.store.commit import commit_tree
from ostler.store.errors import StoreError
from ostler.store.removable import copy_to_media
from ostler.store.repo import Repo, RepoMode
from ostler.store.tree import Directory

COLLECTION = "org.example.Os"


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    settings = {"fsync": "false", "collection-id": COLLECTION}
    made = Repo.create(tmp_path / "repo", RepoMode.ARCHIVE, settings=settings)
    with made.transaction() as transaction:
        for number, ref in enumerate(("one", "two", "three")):
            metadata = _binding(ref)
            root = Directory(DirMeta(0, 0, 0o40755))
            commit = commit_tree(transaction, root, timestamp=number, subject="", metadata=metadata)
            transaction.set_ref(ref, commit)
    return made


def _binding(ref: str) -> dict[str, Variant]:
    return {
        "ostree.ref-binding": Variant("as", [ref]),
        "ostree.collection-binding": Variant("s", COLLECTION),
    }


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    (tmp_path / "mount").mkdir()
    return tmp_path / "mount"


def test_refs_arrive_as_those_of_their_collection(repo: Repo, mount: Path) -> None:
    target = copy_to_media(repo, mount, [(COLLECTION, "one"), (COLLECTION, "two")])
    assert target.path == mount / ".ostree/repo"
    assert target.mode is RepoMode.ARCHIVE
    refs = repo.refs()
    assert target.collection_refs() == {(COLLECTION, ref): refs[ref] for ref in ("one", "two")}
    assert target.has(refs["one"], ObjectType.COMMIT)
    assert not target.has(refs["three"], ObjectType.COMMIT)
    assert (target.path / "summary").is_file()
    copy_to_media(repo, mount, [(COLLECTION, "three")])
    assert len(Repo.open(target.path).collection_refs()) == 3


def test_a_folder_of_another_name_is_linked_where_readers_look(repo: Repo, mount: Path) -> None:
    for _ in range(2):
        copy_to_media(repo, mount, [(COLLECTION, "one")], folder="some/where")
    links = list((mount / ".ostree/repos.d").iterdir())
    assert [link.name for link in links] == ["00-generated"]
    assert links[0].samefile(mount / "some/where")
    copy_to_media(repo, mount, [(COLLECTION, "one")], folder="ostree/repo")
    assert len(list((mount / ".ostree/repos.d").iterdir())) == 1


def test_what_cannot_be_copied_is_refused(repo: Repo, mount: Path) -> None:
    with pytest.raises(NotFoundError, match="No such branch"):
        copy_to_media(repo, mount, [(COLLECTION, "four")])
    with pytest.raises(NotFoundError, match="No such file or directory"):
        copy_to_media(repo, mount / "nothing", [(COLLECTION, "one")])
    with pytest.raises(StoreError, match="must not be the source repository"):
        copy_to_media(repo, repo.path.parent, [(COLLECTION, "one")], folder="repo")
