"""Publishing into a folder: what arrives, in which order, readable by whom, and what a dry run says."""

import os
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sample_trees import add_commit, content_of, file_checksum, make_repo, object_file, object_names, sample_files

from ostler.errors import CorruptError, NotFoundError
from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum, ObjectType
from ostler.publish import folder as publishing
from ostler.publish.folder import PublishError, RefChange, plan_publish, publish_folder
from ostler.store.content import RepoMode
from ostler.store.fsck import fsck
from ostler.store.repo import Repo
from ostler.store.summary import Summary, write_summary

REFS = {"web/stable": "ostler/machine/web"}


@pytest.fixture
def source(tmp_path: Path) -> Repo:
    repo = make_repo(tmp_path / "source")
    add_commit(repo, "ostler/machine/web", sample_files(count=10))
    return repo


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "build/www"


@pytest.fixture
def strict_umask() -> Iterator[None]:
    old = os.umask(0o077)
    yield
    os.umask(old)


def summary_of(folder: Path) -> Summary:
    return Summary.decode((folder / "summary").read_bytes())


def test_a_missing_folder_becomes_an_archive_with_ref_and_summary(source: Repo, destination: Path) -> None:
    result = publish_folder(source, REFS, destination, timestamp=1_800_000_000)
    repo = Repo.open(destination)
    commit = source.resolve("ostler/machine/web")
    assert repo.mode is RepoMode.ARCHIVE
    assert repo.refs() == {"web/stable": commit}
    assert content_of(repo, commit) == content_of(source, commit)
    assert fsck(repo) == []
    assert result.refs == (RefChange("web/stable", None, commit),)
    assert result.objects == len(object_names(repo))
    assert 0 < result.stored_bytes < result.content_bytes
    summary = summary_of(destination)
    assert {ref: entry.commit for ref, entry in summary.refs.items()} == {"web/stable": commit}
    assert summary.refs["web/stable"].size == object_file(repo, commit, ObjectType.COMMIT).stat().st_size


def test_what_is_published_can_be_read_by_everyone(source: Repo, destination: Path, strict_umask: None) -> None:
    publish_folder(source, REFS, destination)
    add_commit(source, "ostler/machine/web", sample_files(seed=2, count=10))
    publish_folder(source, {**REFS, "db/a/b": "ostler/machine/web"}, destination)
    for folder in (destination, destination.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    for name in ("objects", "refs"):
        for where, folders, files in os.walk(destination / name):
            assert all(stat.S_IMODE(Path(where, name).stat().st_mode) & 0o055 == 0o055 for name in [*folders, "."])
            assert all(stat.S_IMODE(Path(where, name).stat().st_mode) & 0o044 == 0o044 for name in files)
    for name in ("config", "summary"):
        assert stat.S_IMODE((destination / name).stat().st_mode) == 0o644


def test_an_update_adds_only_what_is_missing(source: Repo, destination: Path) -> None:
    publish_folder(source, REFS, destination)
    old = source.resolve("ostler/machine/web")
    new = add_commit(source, "ostler/machine/web", {**sample_files(count=10), "etc/motd": b"hello"})
    result = publish_folder(source, REFS, destination)
    assert result.refs == (RefChange("web/stable", old, new),)
    assert (result.objects, result.content_bytes > 5) == (4, True)  # commit, root, etc, the file
    assert Repo.open(destination).refs() == {"web/stable": new}
    assert summary_of(destination).refs["web/stable"].commit == new


def test_publishing_again_changes_nothing(source: Repo, destination: Path) -> None:
    publish_folder(source, REFS, destination)

    def state() -> dict[str, tuple[int, int]]:
        return {
            str(path): (path.stat().st_mtime_ns, path.stat().st_ino)
            for path in destination.rglob("*")
            if path.is_file() and path.name != ".lock"
        }

    before = state()
    result = publish_folder(source, REFS, destination)
    assert (result.objects, result.content_bytes, result.stored_bytes) == (0, 0, 0)
    assert result.refs[0].old == result.refs[0].new
    assert state() == before


def test_a_dry_run_counts_and_writes_nothing(source: Repo, destination: Path) -> None:
    planned = publish_folder(source, REFS, destination, dry_run=True)
    assert not destination.parent.exists()
    plan = plan_publish(source, REFS, destination)
    assert (plan.creates, plan.copy.objects) == (True, planned.objects)
    done = publish_folder(source, REFS, destination)
    assert (planned.refs, planned.objects) == (done.refs, done.objects)
    assert plan.copy.content_bytes <= done.content_bytes
    assert publish_folder(source, REFS, destination, dry_run=True).objects == 0
    assert not plan_publish(source, REFS, destination).creates


def test_clients_never_see_a_ref_without_its_objects(
    source: Repo, destination: Path, monkeypatch: pytest.MonkeyPatch, strict_umask: None
) -> None:
    publish_folder(source, REFS, destination)
    old = source.resolve("ostler/machine/web")
    new = add_commit(source, "ostler/machine/web", sample_files(seed=3, count=10))
    seen: list[str] = []
    real_set, real_summary = Repo.set_ref, publishing.write_summary

    def set_ref(repo: Repo, ref: str, checksum: Checksum | None, *, remote: str | None = None) -> None:
        seen.append("ref")
        assert checksum == new
        assert content_of(Repo.open(destination), new) == content_of(source, new)
        assert all(entry.stat().st_mode & 0o055 == 0o055 for entry in (destination / "objects").iterdir())
        assert summary_of(destination).refs["web/stable"].commit == old
        real_set(repo, ref, checksum, remote=remote)

    def summary(repo: Repo, *, timestamp: int | None = None) -> bool:
        seen.append("summary")
        assert repo.refs() == {"web/stable": new}
        return real_summary(repo, timestamp=timestamp)

    monkeypatch.setattr(Repo, "set_ref", set_ref)
    monkeypatch.setattr(publishing, "write_summary", summary)
    publish_folder(source, REFS, destination)
    assert seen == ["ref", "summary"]


def test_damage_in_the_source_is_named_and_the_published_state_stays(source: Repo, destination: Path) -> None:
    publish_folder(source, REFS, destination)
    before = (
        Repo.open(destination).refs(),
        (destination / "summary").read_bytes(),
        object_names(Repo.open(destination)),
    )
    add_commit(source, "ostler/machine/web", {"new": b"new content", "other": b"other"})
    checksum = file_checksum(source, "ostler/machine/web", "new")
    object_file(source, checksum).chmod(0o644)
    object_file(source, checksum).write_bytes(b"bad content")
    with pytest.raises(CorruptError, match=checksum):
        publish_folder(source, REFS, destination)
    after = (
        Repo.open(destination).refs(),
        (destination / "summary").read_bytes(),
        object_names(Repo.open(destination)),
    )
    assert after == before


def test_an_unknown_revision_is_named(source: Repo, destination: Path) -> None:
    with pytest.raises(NotFoundError, match="ostler/machine/db"):
        publish_folder(source, {"db/stable": "ostler/machine/db"}, destination)
    assert not destination.exists()


def test_a_commit_bound_to_another_ref_is_not_published(source: Repo, destination: Path) -> None:
    binding = {"ostree.ref-binding": Variant("as", ["web/testing"])}
    add_commit(source, "bound", {"a": b"a"}, metadata=binding)
    with pytest.raises(CorruptError, match="web/testing"):
        publish_folder(source, {"web/stable": "bound"}, destination)
    publish_folder(source, {"web/testing": "bound"}, destination)


def test_a_folder_with_something_else_is_left_alone(source: Repo, destination: Path) -> None:
    destination.mkdir(parents=True)
    (destination / "index.html").write_text("my home page")
    with pytest.raises(PublishError, match="something else"):
        publish_folder(source, REFS, destination)
    assert [entry.name for entry in destination.iterdir()] == ["index.html"]


def test_a_repository_that_cannot_be_pulled_from_is_refused(source: Repo, tmp_path: Path) -> None:
    make_repo(tmp_path / "bare", RepoMode.BARE_USER)
    with pytest.raises(PublishError, match="mode bare-user"):
        publish_folder(source, REFS, tmp_path / "bare")


def test_summaries_list_own_refs_with_time_and_version(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo", RepoMode.ARCHIVE)
    first = add_commit(repo, "b", {"a": b"a"}, metadata={"version": Variant("s", "7")}, timestamp=256)
    second = add_commit(repo, "a/x", {"a": b"b"})
    repo.set_ref("a", second, remote="origin")
    (repo.path / "summary.sig").touch()
    assert write_summary(repo, timestamp=3)
    assert not (repo.path / "summary.sig").exists()
    summary = summary_of(repo.path)
    assert list(summary.refs) == ["a/x", "b"]
    assert summary.refs["b"].commit == first
    assert summary.refs["b"].metadata == {
        "ostree.commit.timestamp": Variant("t", 256 << 40),
        "ostree.commit.version": Variant("s", "7"),
    }
    assert summary.metadata["ostree.summary.last-modified"] == Variant("t", 3 << 56)
    assert Summary.decode(summary.encode()) == summary
    assert not write_summary(repo, timestamp=4)
    (repo.path / "summary").write_bytes(b"garbage")
    assert write_summary(repo, timestamp=5)


def test_a_summary_has_the_refs_of_all_who_publish_at_once(
    source: Repo, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_folder(source, REFS, destination)
    real = publishing.write_summary
    waiting = threading.Event()

    def summary(repo: Repo, *, timestamp: int | None = None) -> bool:
        assert not waiting.is_set(), "another is at refs and summary"
        waiting.set()
        time.sleep(0.1)
        waiting.clear()
        return real(repo, timestamp=timestamp)

    monkeypatch.setattr(publishing, "write_summary", summary)
    names = [f"web/{number}" for number in range(4)]
    with ThreadPoolExecutor(len(names)) as pool:
        for future in [
            pool.submit(publish_folder, source, {name: "ostler/machine/web"}, destination) for name in names
        ]:
            future.result()
    assert set(summary_of(destination).refs) == {*REFS, *names}
