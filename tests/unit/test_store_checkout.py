import os
from pathlib import Path

import pytest
from store_samples import BIG, make_tree

from ostler.errors import CorruptError, NotFoundError
from ostler.formats.objects import Checksum, ObjectType
from ostler.store.checkout import Checkout, OnExisting, checkout
from ostler.store.errors import StoreError
from ostler.store.ingest import ingest_directory
from ostler.store.repo import Repo, RepoMode
from ostler.store.tree import Directory


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("source"))


@pytest.fixture(params=[RepoMode.BARE, RepoMode.BARE_USER, RepoMode.ARCHIVE])
def stored(request: pytest.FixtureRequest, tmp_path: Path, source: Path) -> tuple[Repo, Directory]:
    repo = Repo.create(tmp_path / "repo", request.param, settings={"fsync": "false"})
    with repo.transaction() as transaction:
        return repo, ingest_directory(transaction, source)


def again(repo: Repo, folder: Path) -> Directory:
    with repo.transaction() as transaction:
        return ingest_directory(transaction, folder)


def test_a_copy_is_what_was_stored_with_times_zero(stored: tuple[Repo, Directory], tmp_path: Path) -> None:
    repo, tree = stored
    dest = tmp_path / "dest"
    checkout(repo, tree, dest)
    assert again(repo, dest) == tree
    assert all(path.lstat().st_mtime == 0 for path in [dest, *dest.rglob("*")])
    assert all(path.lstat().st_nlink == 1 for path in dest.rglob("*") if path.is_file())


def test_hard_links_to_a_bare_repository(stored: tuple[Repo, Directory], tmp_path: Path) -> None:
    repo, tree = stored
    dest = tmp_path / "dest"
    checkout(repo, tree, dest, how=Checkout.HARDLINK)
    assert again(repo, dest) == tree
    linked = dest.joinpath("usr/big").samefile(repo.object_path(tree.dirs["usr"].files["big"], ObjectType.FILE))
    assert linked is (repo.mode is RepoMode.BARE)
    assert (dest / "usr/nothing").stat().st_nlink == 1


def test_a_user_checkout_has_content_but_no_owners(stored: tuple[Repo, Directory], tmp_path: Path) -> None:
    repo, tree = stored
    dest = tmp_path / "dest"
    checkout(repo, tree, dest, how=Checkout.USER)
    assert (dest / "usr/big").read_bytes() == BIG
    assert os.readlink(dest / "bin") == "usr/bin"  # noqa: PTH115
    assert all(path.lstat().st_uid == 0 and not path.lstat().st_mode & 0o6000 for path in dest.rglob("*"))
    assert ((dest / "usr/big").stat().st_nlink == 2) is (repo.mode is RepoMode.BARE_USER)
    assert (dest / "usr/nothing").stat().st_nlink == 1


def test_nothing_is_overwritten_unless_asked(stored: tuple[Repo, Directory], tmp_path: Path) -> None:
    repo, tree = stored
    dest = tmp_path / "dest"
    checkout(repo, tree, dest)
    with pytest.raises(StoreError, match="exists already"):
        checkout(repo, tree, dest)
    (dest / "usr/big").write_bytes(b"changed")
    (dest / "usr").chmod(0o700)
    checkout(repo, tree, dest, on_existing=OnExisting.KEEP)
    assert (dest / "usr/big").read_bytes() == b"changed"
    assert dest.joinpath("usr").stat().st_mode & 0o777 == 0o700
    checkout(repo, tree, dest, on_existing=OnExisting.REPLACE)
    assert dest.joinpath("usr").stat().st_mode & 0o777 == 0o700
    (dest / "usr").chmod(0o755)
    assert again(repo, dest) == tree


def test_replacing_does_not_write_into_objects_it_is_linked_to(tmp_path: Path, source: Path) -> None:
    repo = Repo.create(tmp_path / "repo", RepoMode.BARE)
    tree = again(repo, source)
    dest = tmp_path / "dest"
    checkout(repo, tree, dest, how=Checkout.HARDLINK)
    other = Directory(files={"bin": tree.dirs["usr"].files["secret"]})
    checkout(repo, other, dest, on_existing=OnExisting.REPLACE)
    assert (dest / "bin").read_bytes() == b"s"
    assert again(repo, source) == tree


def test_an_empty_folder_may_exist_but_a_symlink_is_never_followed(tmp_path: Path, source: Path) -> None:
    repo = Repo.create(tmp_path / "repo", RepoMode.BARE)
    tree = again(repo, source)
    (tmp_path / "empty").mkdir()
    checkout(repo, tree, tmp_path / "empty")
    (tmp_path / "outside").mkdir()
    dest = tmp_path / "dest"
    dest.mkdir()
    (dest / "usr").symlink_to(tmp_path / "outside")
    for existing in OnExisting:
        with pytest.raises(StoreError, match="exists already"):
            checkout(repo, tree, dest, on_existing=existing)
    assert list((tmp_path / "outside").iterdir()) == []


def test_missing_and_damaged_objects_are_named(stored: tuple[Repo, Directory], tmp_path: Path) -> None:
    repo, tree = stored
    with pytest.raises(NotFoundError, match="0" * 64):
        checkout(repo, Directory(files={"a": Checksum("0" * 64)}), tmp_path / "a")
    if repo.mode is RepoMode.ARCHIVE:
        path = repo.object_path(tree.dirs["usr"].files["big"], ObjectType.FILE)
        path.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(CorruptError):
            checkout(repo, tree, tmp_path / "b")


def test_hard_links_fall_back_to_copies_on_another_file_system(tmp_path: Path, source: Path) -> None:
    repo = Repo.create(tmp_path / "repo", RepoMode.BARE)
    tree = again(repo, source)
    shared = Path("/dev/shm") / f"ostler-checkout-{os.getpid()}"
    if shared.parent.stat().st_dev == tmp_path.stat().st_dev:
        return
    small = Directory(files={"a": tree.dirs["usr"].files["secret"]})
    try:
        checkout(repo, small, shared, how=Checkout.HARDLINK)
        assert (shared / "a").read_bytes() == b"s"
    finally:
        (shared / "a").unlink(missing_ok=True)
        shared.rmdir()
