import os
import stat
from pathlib import Path

import pytest
from sample_trees import add_commit, make_repo

from ostler.errors import NotFoundError
from ostler.formats.objects import FileMeta, ObjectType
from ostler.store.checkout import Checkout, CheckoutOptions, OnExisting, checkout, stored_tree
from ostler.store.commit import commit_tree
from ostler.store.content import RepoMode
from ostler.store.errors import StoreError
from ostler.store.repo import Repo
from ostler.store.tree import Directory, load_commit_tree

FILES: dict[str, bytes | str] = {
    "top": b"top",
    "empty": b"",
    "link": "top",
    "usr/bin/tool.sh": b"#!/bin/sh\n",
    "usr/share/doc": b"doc",
}


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    repo = make_repo(tmp_path / "repo", RepoMode.BARE)
    add_commit(repo, "main", FILES)
    return repo


def out(repo: Repo, dest: Path, rev: str = "main", **options: object) -> None:
    how = Checkout.USER if repo.mode is RepoMode.ARCHIVE else Checkout.HARDLINK
    checkout(repo, stored_tree(repo, rev), dest, how=how, options=CheckoutOptions(**options))  # type: ignore[arg-type]


def merge(repo: Repo, dest: Path, rev: str, existing: OnExisting, **options: object) -> None:
    settings = CheckoutOptions(**options)  # type: ignore[arg-type]
    checkout(repo, stored_tree(repo, rev), dest, how=Checkout.HARDLINK, on_existing=existing, options=settings)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_tree_read_as_it_is_written_is_the_same_as_one_in_memory(repo: Repo, tmp_path: Path) -> None:
    out(repo, tmp_path / "stored")
    checkout(repo, load_commit_tree(repo, "main"), tmp_path / "loaded", how=Checkout.HARDLINK)
    assert names(tmp_path / "stored") == names(tmp_path / "loaded") == {
        *FILES, "usr", "usr/bin", "usr/share",
    }  # fmt: skip
    assert (tmp_path / "stored/top").samefile(tmp_path / "loaded/top")


def test_a_directory_of_the_tree_or_a_single_file(repo: Repo, tmp_path: Path) -> None:
    out(repo, tmp_path / "usr", subpath="/usr")
    assert names(tmp_path / "usr") == {"bin", "bin/tool.sh", "share", "share/doc"}
    out(repo, tmp_path / "one", subpath="/usr/share/doc")
    out(repo, tmp_path / "one", subpath="top")
    assert names(tmp_path / "one") == {"doc", "top"}
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o700
    with pytest.raises(NotFoundError, match="No such file or directory: /usr/none"):
        out(repo, tmp_path / "none", subpath="/usr/none")


def test_the_current_folder_takes_a_single_file(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    out(repo, Path(), subpath="top")
    assert names(tmp_path / "here") == {"top"}


def test_listed_paths_are_left_out(repo: Repo, tmp_path: Path) -> None:
    out(repo, tmp_path / "dest", skip=frozenset({"/usr/bin/", "/link", "/usr/share"}))
    assert names(tmp_path / "dest") == {"top", "empty", "usr", "usr/share", "usr/share/doc"}
    out(repo, tmp_path / "below", subpath="/usr", skip=frozenset({"/share/doc"}))
    assert names(tmp_path / "below") == {"bin", "bin/tool.sh", "share"}
    out(repo, tmp_path / "nothing", skip=frozenset({"/"}))
    assert not (tmp_path / "nothing").exists()


def test_copies_can_be_asked_for(repo: Repo, tmp_path: Path) -> None:
    out(repo, tmp_path / "dest", force_copy=True)
    assert (tmp_path / "dest/top").stat().st_nlink == 1
    assert (tmp_path / "dest/link").lstat().st_nlink == 1


def test_links_can_be_required(repo: Repo, tmp_path: Path) -> None:
    out(repo, tmp_path / "dest", require_hardlinks=True)
    assert (tmp_path / "dest/top").stat().st_nlink == 2
    assert (tmp_path / "dest/empty").stat().st_nlink == 1
    with pytest.raises(StoreError, match="Bare repository mode cannot hardlink in user"):
        checkout(
            repo, stored_tree(repo, "main"), tmp_path / "u", how=Checkout.USER,
            options=CheckoutOptions(require_hardlinks=True),
        )  # fmt: skip
    user = make_repo(tmp_path / "user", RepoMode.BARE_USER)
    add_commit(user, "main", FILES)
    with pytest.raises(StoreError, match="User repository mode requires user checkout mode"):
        out(user, tmp_path / "v", require_hardlinks=True)


def test_an_existing_folder_can_be_refused(repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "dest").mkdir()
    with pytest.raises(StoreError, match="File exists"):
        out(repo, tmp_path / "dest", new_folder=True)
    out(repo, tmp_path / "dest")


def test_identical_files_may_exist_and_no_others(repo: Repo, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    out(repo, dest, force_copy=True)
    add_commit(repo, "more", {**FILES, "more": b"more"})
    merge(repo, dest, "more", OnExisting.IDENTICAL)
    assert (dest / "more").read_bytes() == b"more"
    for conflict in ({"top": b"oth"}, {"top": "link"}, {"link": "elsewhere"}, {"empty": b"full"}):
        add_commit(repo, "conflict", conflict)  # type: ignore[arg-type]
        with pytest.raises(StoreError, match="File exists"):
            merge(repo, dest, "conflict", OnExisting.IDENTICAL)
    assert (dest / "top").read_bytes() == b"top"


def test_files_are_replaced_whole_and_directories_are_not(repo: Repo, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    out(repo, dest)
    add_commit(repo, "next", {"top": b"next", "link": b"file now", "empty": "link now"})
    merge(repo, dest, "next", OnExisting.REPLACE)
    assert (dest / "top").read_bytes() == b"next"
    assert (dest / "link").read_bytes() == b"file now" and not (dest / "link").is_symlink()
    assert os.readlink(dest / "empty") == "link now"  # noqa: PTH115
    assert names(dest) == {*FILES, "usr", "usr/bin", "usr/share"}
    add_commit(repo, "wrong", {"usr": b"no directory"})
    with pytest.raises(StoreError):
        merge(repo, dest, "wrong", OnExisting.REPLACE)
    assert (dest / "usr/share/doc").read_bytes() == b"doc"
    assert not [name for name in names(dest) if name.endswith(".tmp")]


def test_replacing_a_link_by_itself_leaves_nothing_behind(repo: Repo, tmp_path: Path) -> None:
    out(repo, tmp_path / "dest")
    merge(repo, tmp_path / "dest", "main", OnExisting.REPLACE)
    assert names(tmp_path / "dest") == {*FILES, "usr", "usr/bin", "usr/share"}


def test_whiteouts_of_container_layers(repo: Repo, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    out(repo, dest)
    add_commit(
        repo,
        "layer",
        {
            "usr/share/.wh..wh..opq": b"",
            "usr/share/new": b"new",
            "usr/.wh.bin": b"",
            "usr/bin/new": b"n",
            ".wh.link": b"",
        },
    )
    merge(repo, dest, "layer", OnExisting.REPLACE, whiteouts=True)
    assert names(dest) == {"top", "empty", "usr", "usr/bin", "usr/bin/new", "usr/share", "usr/share/new"}
    add_commit(repo, "file", {"usr": b"a file now"})
    merge(repo, dest, "file", OnExisting.REPLACE, whiteouts=True)
    assert (dest / "usr").read_bytes() == b"a file now"


def test_whiteouts_name_something_beside_them(repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"")
    for name in (".wh.", ".wh..", ".wh..."):
        add_commit(repo, "bad", {name: b""})
        with pytest.raises(StoreError, match="names no file"):
            merge(repo, tmp_path / "dest", "bad", OnExisting.REPLACE, whiteouts=True)
    assert (tmp_path / "kept").exists()


def test_a_whiteout_removes_links_and_not_what_they_lead_to(repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_bytes(b"")
    (tmp_path / "dest").mkdir()
    (tmp_path / "dest/gone").symlink_to(tmp_path / "outside")
    add_commit(repo, "layer", {".wh.gone": b""})
    merge(repo, tmp_path / "dest", "layer", OnExisting.REPLACE, whiteouts=True)
    assert names(tmp_path / "dest") == set() and (tmp_path / "outside/file").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="makes devices")
def test_quoted_whiteouts_become_devices(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo", RepoMode.BARE_USER)
    with repo.transaction() as transaction:
        file = transaction.write_file(FileMeta(7, 8, 0o100640), b"")
        transaction.set_ref("main", commit_tree(transaction, Directory(files={".ostree-wh.gone": file}), timestamp=0))
    dest = tmp_path / "dest"
    out(repo, dest, passthrough_whiteouts=True)
    status = (dest / "gone").lstat()
    assert names(dest) == {"gone"} and stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (7, 8, 0o640)
    for existing in (OnExisting.KEEP, OnExisting.IDENTICAL, OnExisting.REPLACE):
        merge(repo, dest, "main", existing, passthrough_whiteouts=True)
    (dest / "gone").chmod(0o600)
    with pytest.raises(StoreError, match="File exists"):
        merge(repo, dest, "main", OnExisting.IDENTICAL, passthrough_whiteouts=True)


def test_directories_can_lose_their_special_bits(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo", RepoMode.BARE)
    add_commit(repo, "main", {"folder/file": b"x"}, directory_mode=0o42777)
    out(repo, tmp_path / "all")
    out(repo, tmp_path / "few", bareuseronly_dirs=True)
    assert stat.S_IMODE((tmp_path / "all/folder").stat().st_mode) == 0o2777
    assert stat.S_IMODE((tmp_path / "few/folder").stat().st_mode) == 0o775


@pytest.mark.skipif(os.geteuid() != 0, reason="sets attributes of the system")
def test_labels_are_set_on_copies(repo: Repo, tmp_path: Path) -> None:
    asked: list[str] = []

    def label(path: str, mode: int) -> str | None:
        asked.append(path)
        return f"u:r:{'dir' if stat.S_ISDIR(mode) else 'file'}_t:s0" if path != "/x/share/doc" else None

    out(repo, tmp_path / "dest", subpath="/usr", label_prefix="/x", labels=label)
    assert set(asked) == {"/x", "/x/bin", "/x/share", "/x/bin/tool.sh", "/x/share/doc"}
    assert os.getxattr(tmp_path / "dest/bin/tool.sh", "security.selinux") == b"u:r:file_t:s0"
    assert os.getxattr(tmp_path / "dest/bin", "security.selinux") == b"u:r:dir_t:s0"
    assert "security.selinux" not in os.listxattr(tmp_path / "dest/share/doc")
    assert (tmp_path / "dest/bin/tool.sh").stat().st_nlink == 1


def test_user_checkouts_of_archives_link_to_unpacked_files(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo", RepoMode.ARCHIVE)
    add_commit(repo, "main", FILES)
    for name in ("one", "two"):
        out(repo, tmp_path / name, uncompressed_cache=True)
    assert (tmp_path / "one/top").samefile(tmp_path / "two/top")
    assert (tmp_path / "one/empty").stat().st_nlink == 1
    cached = [path for path in (repo.path / "uncompressed-objects-cache").rglob("*") if path.is_file()]
    assert len(cached) == 3
    assert not list((repo.path / "tmp").glob("uncompressed-*"))
    out(repo, tmp_path / "three")
    assert (tmp_path / "three/top").stat().st_nlink == 1


def test_a_cache_that_was_not_finished_is_not_used(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo", RepoMode.ARCHIVE)
    add_commit(repo, "main", FILES)
    (tmp_path / "dest").mkdir()
    (tmp_path / "dest/top").write_bytes(b"in the way")
    with pytest.raises(StoreError):
        out(repo, tmp_path / "dest", uncompressed_cache=True)
    checkout(
        repo, stored_tree(repo, "main"), tmp_path / "keep", how=Checkout.USER, options=CheckoutOptions(durable=True)
    )
    assert not (repo.path / "uncompressed-objects-cache").exists()


def test_files_of_parents_are_linked_too(tmp_path: Path) -> None:
    parent = make_repo(tmp_path / "parent", RepoMode.BARE)
    commit = add_commit(parent, "main", FILES)
    child = make_repo(tmp_path / "child", RepoMode.BARE)
    child.write_config(child.config.with_value("core", "parent", str(parent.path)))
    out(Repo.open(child.path), tmp_path / "dest", commit)
    assert (tmp_path / "dest/top").stat().st_nlink == 2
    assert names(tmp_path / "dest") == {*FILES, "usr", "usr/bin", "usr/share"}


def test_bare_user_only_repositories_are_checked_out_plainly(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo", RepoMode.BARE_USER_ONLY)
    with repo.transaction() as transaction:
        file = transaction.write_file(FileMeta(0, 0, 0o100644), b"x")
        link = transaction.write_file(FileMeta(0, 0, 0o120777, target="file"), b"")
        transaction.set_ref(
            "main", commit_tree(transaction, Directory(files={"file": file, "link": link}), timestamp=0)
        )
    out(repo, tmp_path / "dest", require_hardlinks=True)
    assert (tmp_path / "dest/file").samefile(repo.object_path(file, ObjectType.FILE))
    assert (tmp_path / "dest/link").lstat().st_nlink == 1


def test_many_files_are_written_by_several_processes(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo", RepoMode.BARE_USER)
    files: dict[str, bytes | str] = {f"d{number % 50}/f{number}": b"%d" % number for number in range(2000)}
    add_commit(repo, "main", files)
    checkout(repo, stored_tree(repo, "main"), tmp_path / "dest", how=Checkout.USER)
    assert {path: (tmp_path / "dest" / path).read_bytes() for path in files} == files
    with pytest.raises(StoreError, match="exists already"):
        checkout(repo, stored_tree(repo, "main"), tmp_path / "dest", how=Checkout.USER)
