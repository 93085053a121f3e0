import io
import stat
import tarfile
from importlib import import_module
from pathlib import Path

import pytest
from store_samples import BIG, make_tree, tar_of

from ostler.errors import CorruptError
from ostler.formats.objects import DirMeta, FileMeta
from ostler.store.errors import UnsupportedFileError
from ostler.store.ingest import Meta, ingest_directory, ingest_tar
from ostler.store.repo import Repo, RepoMode
from ostler.store.tree import Directory


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo.create(tmp_path / "repo", RepoMode.ARCHIVE, settings={"fsync": "false"})


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info


def archive(*members: tarfile.TarInfo, content: bytes = b"x") -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info in members:
            if info.isreg():
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    out.seek(0)
    return out


def ingest(repo: Repo, *members: tarfile.TarInfo, content: bytes = b"x") -> Directory:
    with repo.transaction() as transaction:
        return ingest_tar(transaction, archive(*members, content=content))


def test_an_archive_of_a_folder_gives_the_tree_of_the_folder(repo: Repo, tmp_path: Path) -> None:
    make_tree(tmp_path / "tree")
    with repo.transaction() as transaction:
        tree = ingest_tar(transaction, io.BytesIO(tar_of(tmp_path / "tree")))
        assert tree == ingest_directory(transaction, tmp_path / "tree")


def test_the_stream_is_read_once_and_to_its_end(repo: Repo) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self.stream = io.BytesIO(data)

        def read(self, size: int = -1) -> bytes:
            return self.stream.read(min(size, 10_007))

    source = Pipe(archive(member("a"), content=BIG * 2).getvalue() + b"behind")
    with repo.transaction() as transaction:
        tree = ingest_tar(transaction, source)  # type: ignore[arg-type]
    assert repo.open_file(tree.files["a"], verify=True).read() == BIG * 2
    assert source.stream.read() == b""


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "..", "a/.."])
def test_paths_that_leave_the_root_are_refused(repo: Repo, name: str) -> None:
    for bad in (member(name), member(name, tarfile.DIRTYPE), member("x", tarfile.LNKTYPE, name)):
        with pytest.raises(CorruptError, match="leaves its root"):
            ingest(repo, bad)
    assert list(repo.objects()) == []


def test_leading_slashes_and_dots_are_dropped(repo: Repo) -> None:
    tree = ingest(repo, member("/a"), member("./b/./c"), member("b//d"))
    assert [path for path, _ in tree.walk()] == ["a", "b", "b/c", "b/d"]


def test_nothing_is_written_through_a_symlink(repo: Repo) -> None:
    with pytest.raises(CorruptError, match="as a directory"):
        ingest(repo, member("etc", tarfile.SYMTYPE, "/etc"), member("etc/passwd"))


def test_missing_parents_and_late_directories(repo: Repo) -> None:
    tree = ingest(repo, member("a/b/c"), member("a/b", tarfile.DIRTYPE, mode=0o700), member("d/e"))
    assert tree.dirs["a"].dirs["b"].meta == DirMeta(0, 0, 0o40700)
    assert tree.dirs["d"].meta == DirMeta(0, 0, 0o40755)


def test_later_members_replace_earlier_ones(repo: Repo) -> None:
    tree = ingest(
        repo, member("a"), member("a", tarfile.SYMTYPE, "t"), member("b"), member("b", tarfile.DIRTYPE), member("c/x"),
        member("c"),
    )  # fmt: skip
    assert repo.file_meta(tree.files["a"]).target == "t"
    assert set(tree.dirs) == {"b"}
    assert repo.file_size(tree.files["c"]) == 1


def test_whiteouts_stay_files(repo: Repo) -> None:
    tree = ingest(repo, member("d/.wh.gone"), member("d/.wh..wh..opq"), content=b"")
    assert set(tree.dirs["d"].files) == {".wh.gone", ".wh..wh..opq"}


def test_hard_links_need_their_target_before_them(repo: Repo) -> None:
    tree = ingest(repo, member("a"), member("b", tarfile.LNKTYPE, "./a"), member("c", tarfile.LNKTYPE, "b"))
    assert tree.files["a"] == tree.files["b"] == tree.files["c"]
    with pytest.raises(CorruptError, match="hard link"):
        ingest(repo, member("b", tarfile.LNKTYPE, "a"), member("a"))


def test_the_filter_sees_everything_and_may_change_or_drop_it(repo: Repo) -> None:
    seen = []

    def keep(path: str, meta: Meta) -> Meta | None:
        seen.append((path, stat.S_IFMT(meta.mode)))
        if path in ("dev", "tmp"):
            return None
        return FileMeta(3, 3, meta.mode, target=meta.target) if isinstance(meta, FileMeta) and path == "link" else meta

    source = archive(
        member("a"),
        member("link", tarfile.LNKTYPE, "a"),
        member("dev", tarfile.CHRTYPE),
        member("tmp", tarfile.DIRTYPE),
    )
    with repo.transaction() as transaction:
        tree = ingest_tar(transaction, source, filter=keep)
    assert [path for path, _ in tree.walk()] == ["a", "link"]
    assert [repo.file_meta(tree.files[name]).uid for name in ("a", "link")] == [0, 3]
    assert ("dev", stat.S_IFCHR) in seen


def test_devices_are_refused(repo: Repo) -> None:
    with pytest.raises(UnsupportedFileError):
        ingest(repo, member("null", tarfile.CHRTYPE))


def test_a_malformed_archive_adds_nothing(repo: Repo) -> None:
    data = archive(*(member(str(number)) for number in range(50)), member("last"), content=BIG).getvalue()
    with pytest.raises(CorruptError), repo.transaction() as transaction:
        ingest_tar(transaction, io.BytesIO(data[: len(data) // 2]))
    assert list(repo.objects()) == []


def test_directories_that_are_only_implied_are_counted(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("ostler.store.ingest_tar"), "MAX_IMPLIED", 20)
    listed = [member(f"d{number}", tarfile.DIRTYPE) for number in range(50)]
    assert len(ingest(repo, *listed, member("a/b/c"), member("a/b/d")).dirs) == 51
    with pytest.raises(CorruptError, match="more than 20 directories"):
        ingest(repo, member("a/" * 12 + "x"), member("b/" * 12 + "x"))
