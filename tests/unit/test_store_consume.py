"""Taking files from a folder without reading or copying them: `consume`, hard links, `bare-user-only`, workers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from store_samples import make_tree

from ostler.errors import NoSpaceError
from ostler.formats.objects import DirMeta, FileMeta, ObjectType
from ostler.store.checkout import checkout
from ostler.store.commit import commit_tree
from ostler.store.errors import ChecksumMismatchError, StoreError
from ostler.store.ingest import ingest_directory
from ostler.store.inodes import hard_links
from ostler.store.modifier import Modifier
from ostler.store.repo import Repo, RepoMode


def create(path: Path, mode: RepoMode, **settings: str) -> Repo:
    return Repo.create(path, mode, settings={"fsync": "false", **settings})


@pytest.fixture(params=list(RepoMode))
def repo(request: pytest.FixtureRequest, tmp_path: Path) -> Repo:
    return create(tmp_path / "repo", request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


def many_files(folder: Path, count: int = 400) -> None:
    for number in range(count):
        (folder / f"file{number}").write_text(str(number % 350) * 50)


def test_consuming_gives_the_same_tree_and_leaves_nothing(repo: Repo, folder: Path) -> None:
    make_tree(folder)
    with repo.transaction() as transaction:
        expected = ingest_directory(transaction, folder)
    again = create(folder.parent / "again", repo.mode)
    with again.transaction() as transaction:
        assert ingest_directory(transaction, folder, consume=True) == expected
    assert not folder.exists()
    assert set(again.objects()) == {found for found in repo.objects() if found[1] is ObjectType.FILE}


def test_a_consumed_file_becomes_the_object(folder: Path, tmp_path: Path) -> None:
    repo = create(tmp_path / "repo", RepoMode.BARE)
    (folder / "file").write_text("content")
    inode = (folder / "file").stat().st_ino
    with repo.transaction() as transaction:
        tree = ingest_directory(transaction, folder, consume=True)
    assert Path(repo.find_object(tree.files["file"], ObjectType.FILE)).stat().st_ino == inode


def test_what_the_filter_leaves_out_is_consumed_too(repo: Repo, folder: Path) -> None:
    make_tree(folder)
    with repo.transaction() as transaction:
        tree = ingest_directory(transaction, folder, consume=True, filter=Modifier(skip=["/usr"]))
    assert set(tree.files) == {"bin"}
    assert not folder.exists()


def test_a_user_only_repository_makes_everything_roots(folder: Path, tmp_path: Path) -> None:
    repo = create(tmp_path / "repo", RepoMode.BARE_USER_ONLY)
    make_tree(folder)
    with repo.transaction() as transaction:
        tree = ingest_directory(transaction, folder)
    tool = tree.lookup("usr/bin/tool")
    assert isinstance(tool, str)
    assert repo.file_meta(tool) == FileMeta(0, 0, 0o100755)
    assert repo.object_path(tool, ObjectType.FILE).stat().st_mode == 0o100755
    assert tree.dirs["usr"].dirs["empty"].meta == DirMeta(0, 0, 0o40755)
    link = tree.lookup("bin")
    assert isinstance(link, str)
    assert repo.object_path(link, ObjectType.FILE).readlink() == Path("usr/bin")


def test_a_user_only_repository_refuses_set_id_bits(tmp_path: Path) -> None:
    repo = create(tmp_path / "repo", RepoMode.BARE_USER_ONLY)
    with (
        pytest.raises(StoreError, match="invalid mode 0104755 with bits 04000"),
        repo.transaction() as transaction,
    ):
        transaction.write_file(FileMeta(0, 0, 0o104755), b"")


@pytest.mark.parametrize("mode", [RepoMode.BARE, RepoMode.BARE_USER, RepoMode.BARE_USER_ONLY])
def test_hard_links_are_recognised(mode: RepoMode, folder: Path, tmp_path: Path) -> None:
    repo = create(tmp_path / "repo", mode)
    many_files(folder, 20)
    with repo.transaction() as transaction:
        tree = ingest_directory(transaction, folder)
        commit_tree(transaction, tree, timestamp=0)
    out = tmp_path / "out"
    out.mkdir(mode=0o755)
    for name, checksum in tree.files.items():
        os.link(repo.find_object(checksum, ObjectType.FILE), out / name)
    (out / "new").write_text("new")
    with repo.transaction() as transaction:
        found = ingest_directory(transaction, out, links=hard_links(repo))
        assert (transaction.stats.cache_hits, transaction.stats.content_total) == (20, 1)
        owned = Modifier(owner_uid=5)
        changed = ingest_directory(transaction, out, links=hard_links(repo), filter=owned)
        trusted = ingest_directory(transaction, out, links=hard_links(repo, trusted=True), filter=owned)
    assert {name: found.files[name] for name in tree.files} == tree.files
    assert {name: trusted.files[name] for name in tree.files} == tree.files
    if mode is not RepoMode.BARE_USER_ONLY:
        assert not set(changed.files.values()) & set(tree.files.values())
    assert not hard_links(create(tmp_path / "archive", RepoMode.ARCHIVE)).objects


def test_attributes_can_be_left_alone(repo: Repo, folder: Path) -> None:
    make_tree(folder)
    with repo.transaction() as transaction:
        tree = ingest_directory(transaction, folder, attributes=False)
    assert tree.dirs["usr"].dirs["empty"].meta.xattrs == ()
    repo.write_config(repo.config.with_value("core", "disable-xattrs", "true"))
    with repo.transaction() as transaction:
        assert ingest_directory(transaction, folder) == tree


def test_worker_processes_count_as_one_transaction(repo: Repo, folder: Path) -> None:
    many_files(folder)
    with repo.transaction() as transaction:
        tree = ingest_directory(transaction, folder, threads=3)
        stats = transaction.stats
        assert (stats.content_total, stats.file_objects) == (400, 350)
        assert stats.content_bytes == sum(len(str(number) * 50) for number in range(350))
        assert transaction.write_file(repo.file_meta(tree.files["file7"]), b"7" * 50) == tree.files["file7"]
        assert stats.file_objects == 350
    assert len(list(repo.objects())) == 350
    assert [path for path in (repo.path / "tmp").iterdir() if path.name != "cache"] == []


def test_an_error_in_a_worker_process_leaves_nothing(repo: Repo, folder: Path) -> None:
    many_files(folder)

    def vanish(path: str, meta: FileMeta | DirMeta) -> FileMeta | DirMeta:
        if path == "file9":
            (folder / path).unlink()
        return meta

    with pytest.raises(StoreError, match=r"cannot read .*file9"), repo.transaction() as transaction:
        ingest_directory(transaction, folder, threads=2, filter=vanish)
    assert list(repo.objects()) == []
    assert [path for path in (repo.path / "tmp").iterdir() if path.name != "cache"] == []


def test_worker_processes_share_the_space_that_is_left(folder: Path, tmp_path: Path) -> None:
    repo = create(tmp_path / "repo", RepoMode.ARCHIVE, **{"min-free-space-percent": "99"})
    many_files(folder)
    with (
        pytest.raises(NoSpaceError, match=r"min-free-space-percent '99%' would be exceeded, at least .* requested"),
        repo.transaction() as transaction,
    ):
        ingest_directory(transaction, folder, threads=2)
    assert list(repo.objects()) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_commit_leaves_nothing_visible(how: signal.Signals, folder: Path, tmp_path: Path) -> None:
    repo = create(tmp_path / "repo", RepoMode.ARCHIVE)
    many_files(folder, 3000)
    script = (
        "import sys; from pathlib import Path; from ostler.store.repo import Repo\n"
        "from ostler.store.ingest import ingest_directory\n"
        "with Repo.open(Path(sys.argv[1])).transaction() as t:\n"
        "    ingest_directory(t, Path(sys.argv[2]), threads=2)\n"
        "    t.set_ref('main', None)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, repo.path, folder], stderr=subprocess.DEVNULL)
    stage = repo.path / "tmp"
    while process.poll() is None and not list(stage.glob("staging-*/??/*.filez")):
        time.sleep(0.002)
    process.send_signal(how)
    process.wait()
    assert list(repo.objects()) == []
    with repo.transaction() as transaction:
        tree = ingest_directory(transaction, folder, threads=2)
    checkout(repo, tree, tmp_path / "out")
    assert (tmp_path / "out/file9").read_text() == "9" * 50


def test_trusted_objects_keep_their_name(repo: Repo, tmp_path: Path) -> None:
    name = FileMeta(0, 0, 0o100644).checksum_with(b"right")
    with repo.transaction() as transaction:
        assert transaction.write_file(FileMeta(0, 0, 0o100644), b"wrong", expected=name, verify=False) == name
    with pytest.raises(ChecksumMismatchError, match="Corrupted file object; checksum expected="):
        repo.open_file(name, verify=True).read()
