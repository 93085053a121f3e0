import io
import os
import shutil
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from store_samples import BIG, NOISE

from ostler.errors import CorruptError, NoSpaceError
from ostler.formats import filez
from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum, Commit, DirTree, FileMeta, ObjectType, checksum_of
from ostler.store import staging
from ostler.store.errors import ChecksumMismatchError, StoreError
from ostler.store.repo import Repo, RepoMode
from ostler.store.transaction import Transaction

FILE = FileMeta(0, 0, 0o100644)
LINK = FileMeta(0, 0, 0o120777, target="a")


@pytest.fixture(params=list(RepoMode))
def repo(request: pytest.FixtureRequest, tmp_path: Path) -> Repo:
    return Repo.create(tmp_path / "repo", request.param)


def left_over(repo: Repo) -> list[str]:
    return [name for name in os.listdir(repo.path / "tmp") if name != "cache"]  # noqa: PTH208


@pytest.mark.parametrize(
    "content", [b"", b"x", BIG, NOISE, BIG + NOISE + BIG], ids=["empty", "small", "big", "noise", "mixed"]
)
def test_bytes_paths_and_streams_give_the_same_object(repo: Repo, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "content"
    path.write_bytes(content)
    checksums = set()
    for form in (content, path, str(path), io.BytesIO(content), _Dribble(content)):
        with repo.transaction() as transaction:
            checksums.add(transaction.write_file(FILE, form))  # type: ignore[arg-type]
    assert checksums == {FILE.checksum_with(content)}
    meta, size, stream = repo.open_file_object(checksums.pop(), verify=True)
    assert (meta, size, stream.read()) == (FILE, len(content), content)


class _Dribble:
    """A stream without `readinto` that gives little at a time, as sockets do."""

    def __init__(self, content: bytes) -> None:
        self._stream = io.BytesIO(content)

    def read(self, size: int) -> bytes:
        return self._stream.read(min(size, 70_001))


def test_symlinks_are_stored(repo: Repo) -> None:
    with repo.transaction() as transaction:
        checksum = transaction.write_file(LINK, b"")
    assert repo.file_meta(checksum) == LINK
    assert repo.file_size(checksum) == 0
    assert repo.open_file(checksum, verify=True).read() == b""


def test_nothing_is_visible_before_the_end_and_nothing_remains_of_a_failure(repo: Repo) -> None:
    other = Repo.open(repo.path)
    with pytest.raises(RuntimeError), repo.transaction() as transaction:
        checksum = transaction.write_file(FILE, b"x")
        transaction.set_ref("a", checksum)
        assert transaction.has(checksum, ObjectType.FILE)
        assert repo.open_file(checksum).read() == b"x"
        assert not other.has(checksum, ObjectType.FILE)
        raise RuntimeError
    assert list(repo.objects()) == []
    assert repo.refs() == {}
    assert left_over(repo) == []


def test_objects_that_exist_are_not_written_again(repo: Repo) -> None:
    with repo.transaction() as transaction:
        checksum = transaction.write_file(FILE, b"x")
        transaction.write_file(FILE, b"x")
        assert transaction.stats.file_objects == 1
    before = repo.object_path(checksum, ObjectType.FILE).stat().st_ino
    with repo.transaction() as transaction:
        transaction.write_file(FILE, b"x")
        transaction.write_file(FILE, io.BytesIO(b"x"))
        assert transaction.stats.file_objects == 0
    assert repo.object_path(checksum, ObjectType.FILE).stat().st_ino == before


def test_an_unexpected_checksum_adds_nothing(repo: Repo, tmp_path: Path) -> None:
    wrong = Checksum("0" * 64)
    big = tmp_path / "big"
    big.write_bytes(BIG)
    with repo.transaction() as transaction:
        for content in (b"x", io.BytesIO(b"x"), big):
            with pytest.raises(ChecksumMismatchError):
                transaction.write_file(FILE, content, expected=wrong)
        with pytest.raises(ChecksumMismatchError):
            transaction.write_metadata_bytes(ObjectType.DIRTREE, b"\0", expected=wrong)
    assert list(repo.objects()) == []


def test_foreign_metadata_is_checked_for_its_form(repo: Repo) -> None:
    with repo.transaction() as transaction:
        assert transaction.write_metadata_bytes(ObjectType.DIRTREE, b"\0", expected=DirTree().checksum) == DirTree()
        with pytest.raises(CorruptError):
            transaction.write_metadata_bytes(ObjectType.DIRTREE, b"\1", expected=checksum_of(b"\1"))


def archive_form(meta: FileMeta, content: bytes, *, size: int | None = None) -> bytes:
    coder = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = b"" if meta.is_symlink else coder.compress(content) + coder.flush()
    return filez.encode_header(meta, len(content) if size is None else size) + body


@pytest.mark.parametrize(("meta", "content"), [(FILE, b""), (FILE, b"x"), (FILE, BIG + NOISE), (LINK, b"")])
def test_archive_objects_are_taken_over(repo: Repo, meta: FileMeta, content: bytes) -> None:
    stored = archive_form(meta, content)
    expected = meta.checksum_with(content)
    with repo.transaction() as transaction:
        assert transaction.write_filez(io.BytesIO(stored), expected) == len(stored)
    found, size, stream = repo.open_file_object(expected, verify=True)
    assert (found, size, stream.read()) == (meta, len(content), content)
    if repo.mode is RepoMode.ARCHIVE:
        assert repo.object_path(expected, ObjectType.FILE).read_bytes() == stored


@pytest.mark.parametrize(
    "stored",
    [
        archive_form(FILE, b"other"),
        archive_form(FILE, b"right", size=4),
        archive_form(FILE, b"right", size=6),
        archive_form(FILE, b"right") + b"x",
        archive_form(FILE, b"right")[:-1],
        archive_form(FILE, b"right")[:20],
        archive_form(FILE, b"")[:-2] + b"\xff\xff",
        archive_form(LINK, b"") + b"x",
        b"",
    ],
)
def test_bad_archive_objects_are_refused(repo: Repo, stored: bytes) -> None:
    with pytest.raises(CorruptError), repo.transaction() as transaction:
        transaction.write_filez(io.BytesIO(stored), FILE.checksum_with(b"right"))
    assert list(repo.objects()) == []
    assert left_over(repo) == []


def test_objects_can_be_linked_from_a_repository_of_the_same_mode(repo: Repo, tmp_path: Path) -> None:
    with repo.transaction() as transaction:
        checksum = transaction.write_file(FILE, b"x")
    other = Repo.create(tmp_path / "other", repo.mode)
    with other.transaction() as transaction:
        for _ in range(2):
            assert transaction.link_object(checksum, ObjectType.FILE, repo.object_path(checksum, ObjectType.FILE))
    assert other.open_file(checksum, verify=True).read() == b"x"
    assert other.object_path(checksum, ObjectType.FILE).samefile(repo.object_path(checksum, ObjectType.FILE))


def test_threads_may_write_the_same_objects_at_once(repo: Repo) -> None:
    with repo.transaction() as transaction, ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda i: transaction.write_file(FILE, b"%d" % (i % 20)), range(400)))
    assert len(set(written)) == len(list(repo.objects())) == 20


def test_a_full_file_system_is_refused_before_it_is_full(repo: Repo) -> None:
    free = os.statvfs(repo.path).f_bfree * os.statvfs(repo.path).f_frsize
    repo.write_config(repo.config.with_value("core", "min-free-space-size", f"{free >> 20}MB"))
    exceeded = r"min-free-space-size .*MB would be exceeded"
    with pytest.raises(NoSpaceError, match=exceeded), repo.transaction() as transaction:
        transaction.write_file(FILE, io.BytesIO(NOISE))
    assert list(repo.objects()) == []
    repo.write_config(repo.config.with_value("core", "min-free-space-size", "much"))
    with pytest.raises(CorruptError, match="Invalid min-free-space-size"), repo.transaction():
        pass


def test_what_a_killed_process_staged_is_taken_over(repo: Repo) -> None:
    killed = (
        "import os, sys; from pathlib import Path; from ostler.store.repo import Repo\n"
        "from ostler.formats.objects import FileMeta\n"
        "with Repo.open(Path(sys.argv[1])).transaction() as t:\n"
        "    t.write_file(FileMeta(0, 0, 0o100644), b'kept')\n"
        "    Path(t._stage.path, 'tmp-99').write_bytes(b'half')\n"
        "    Path(t._stage._folder('ab'), 'tmp-98').write_bytes(b'half')\n"
        "    os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", killed, repo.path], check=False).returncode == 9
    assert len(left_over(repo)) == 2
    with repo.transaction() as transaction:
        checksum = transaction.write_file(FILE, b"kept")
        assert transaction.stats.file_objects == 0
    assert repo.open_file(checksum, verify=True).read() == b"kept"
    assert left_over(repo) == []


def test_staging_of_another_boot_is_thrown_away(repo: Repo) -> None:
    stale = repo.path / "tmp/staging-00000000-0000-0000-0000-000000000000-aaaaaa/ab"
    stale.mkdir(parents=True)
    (stale / ("c" * 62 + ".commit")).write_bytes(b"")
    with repo.transaction():
        pass
    assert left_over(repo) == []
    assert list(repo.objects()) == []


def test_a_resumable_transaction_leaves_its_objects_to_the_next(repo: Repo) -> None:
    with pytest.raises(KeyboardInterrupt), repo.transaction(resumable=True) as transaction:
        transaction.write_file(FILE, b"kept")
        raise KeyboardInterrupt
    assert list(repo.objects()) == []
    with repo.transaction(resumable=True) as transaction:
        transaction.write_file(FILE, b"kept")
        assert transaction.stats.file_objects == 0


def test_two_transactions_at_once_do_not_meet(repo: Repo) -> None:
    other = Repo.open(repo.path)
    with repo.transaction() as one, other.transaction() as two:
        checksum = one.write_file(FILE, b"same")
        assert two.write_file(FILE, b"same") == checksum
        assert isinstance(two, Transaction)
    assert [found for found, _ in repo.objects()] == [checksum]


def test_bare_user_keeps_files_readable_and_free_of_set_id_bits(tmp_path: Path) -> None:
    repo = Repo.create(tmp_path / "r", RepoMode.BARE_USER)
    with repo.transaction() as transaction:
        checksum = transaction.write_file(FileMeta(5, 6, 0o104000, ((b"user.x", b"1"),)), b"x")
    assert repo.object_path(checksum, ObjectType.FILE).stat().st_mode & 0o7777 == 0o400
    assert repo.file_meta(checksum) == FileMeta(5, 6, 0o104000, ((b"user.x", b"1"),))


def test_a_staged_commit_is_not_taken_over(repo: Repo) -> None:
    with pytest.raises(RuntimeError), repo.transaction(resumable=True) as transaction:
        tree = transaction.write_metadata(DirTree())
        commit = transaction.write_metadata(Commit(tree, tree, 0))
        transaction.write_detached(commit, {})
        transaction.write_detached(commit, {"a": Variant("s", "b")})
        raise RuntimeError
    with repo.transaction() as transaction:
        assert transaction.has(tree, ObjectType.DIRTREE)
        assert not transaction.has(commit, ObjectType.COMMIT)
    assert list(repo.objects()) == [(tree, ObjectType.DIRTREE)]


def test_a_stage_that_its_owner_removes_meanwhile_is_passed_over(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError), repo.transaction(resumable=True) as transaction:
        transaction.write_file(FILE, b"x")
        raise RuntimeError
    gone = Path(transaction._stage.path)
    real = staging.try_lock

    def try_lock(fd: int, *, exclusive: bool) -> bool:
        if gone.exists():
            shutil.rmtree(gone)
        return real(fd, exclusive=exclusive)

    monkeypatch.setattr(staging, "try_lock", try_lock)
    with repo.transaction() as transaction:
        assert Path(transaction._stage.path).is_dir()
        transaction.write_file(FILE, b"y")
    assert left_over(repo) == []


def test_a_ref_that_cannot_be_is_noticed_before_anything_is_stored(repo: Repo) -> None:
    with repo.transaction() as transaction:
        known = transaction.write_metadata(DirTree())
        transaction.set_ref("side", known)
    before = sorted(repo.objects())
    for ref in ("side/one", "side/one/two"):
        with pytest.raises(StoreError, match="beginning of its name"), repo.transaction() as transaction:
            transaction.write_file(FILE, b"new")
            transaction.set_ref(ref, known)
        assert sorted(repo.objects()) == before
    assert repo.refs() == {"side": known}
