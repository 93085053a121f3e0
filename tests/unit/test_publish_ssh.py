"""Publishing into a folder behind SSH, with a shell of this machine in the place of `ssh`."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sample_trees import add_commit, make_repo, sample_files

from ostler.errors import ExitCode
from ostler.formats.delta import superblock_path
from ostler.formats.objects import ObjectType
from ostler.formats.summary import Summary
from ostler.publish.destination import DeltaChanges, PublishError
from ostler.publish.sequence import PublishOptions, publish
from ostler.publish.ssh import STAGE, SshDestination, SshError
from ostler.store.fsck import fsck
from ostler.store.repo import Repo


class HereDestination(SshDestination):
    """Nearer than it seems."""

    def _ssh(self) -> list[str]:
        return ["sh", "-c", 'exec sh -c "$3"', "ssh"]


@pytest.fixture
def source(tmp_path: Path) -> Repo:
    repo = make_repo(tmp_path / "source")
    add_commit(repo, "web", sample_files(count=8))
    return repo


@pytest.fixture
def there(tmp_path: Path) -> Iterator[HereDestination]:
    destination = HereDestination(f"ssh://host{tmp_path}/www")
    yield destination
    destination.close()


def objects(folder: Path) -> list[Path]:
    return sorted(folder.glob("objects/??/*.filez"))


def boot_folder(www: Path) -> Path:
    return www / STAGE / Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_publishing_the_same_commit_again_brings_back_lost_objects(
    source: Repo, there: HereDestination, tmp_path: Path
) -> None:
    publish(source, {"web": "web"}, there)
    lost = objects(tmp_path / "www")[:2]
    for path in lost:
        path.unlink()
    assert publish(source, {"web": "web"}, there).objects == 2
    assert all(path.exists() for path in lost)
    assert fsck(Repo.open(tmp_path / "www")) == []


def test_only_whole_folders_of_a_broken_attempt_are_used(source: Repo, there: HereDestination, tmp_path: Path) -> None:
    www = tmp_path / "www"
    publish(source, {"web": "web"}, there)
    moved, truncated = objects(www)[:2]
    for path, state in ((moved, "whole"), (truncated, "part")):
        staged = boot_folder(www) / f"1-1.{state}" / path.relative_to(www)
        staged.parent.mkdir(parents=True)
        path.rename(staged)
        if state == "part":
            staged.write_bytes(staged.read_bytes()[:5])
    assert publish(source, {"web": "web"}, there).objects == 1
    assert fsck(Repo.open(www)) == []


def test_what_was_sent_is_looked_for_before_commits_come(
    source: Repo, there: HereDestination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose() -> None:
        shutil.rmtree(boot_folder(tmp_path / "www"))

    monkeypatch.setattr(there, "_place_staged", lose)
    with pytest.raises(SshError, match="are not there"):
        publish(source, {"web": "web"}, there)
    assert not list((tmp_path / "www").glob("objects/??/*.commit"))


def test_a_ref_cannot_be_in_the_place_of_a_folder(source: Repo, there: HereDestination, tmp_path: Path) -> None:
    publish(source, {"web/stable": "web"}, there)
    for ref in ("web", "web/stable/new"):
        with pytest.raises(PublishError, match="both refs"):
            publish(source, {ref: "web"}, there)
    (tmp_path / "www/refs/heads/other").mkdir()
    with pytest.raises(SshError, match="is a folder"):
        publish(source, {"other": "web"}, there)
    assert there.refs().keys() == {"web/stable"}


def test_pruning_spares_what_mirrored_refs_need(source: Repo, there: HereDestination, tmp_path: Path) -> None:
    old = source.resolve("web")
    publish(source, {"web": "web"}, there)
    mirrored = tmp_path / "www/refs/mirrors/org.example/web"
    mirrored.parent.mkdir(parents=True)
    mirrored.write_text(f"{old}\n")
    add_commit(source, "web", {"a": b"new"})
    publish(source, {"web": "web"}, there, PublishOptions(prune=True, keep=1))
    repo = Repo.open(tmp_path / "www")
    assert repo.has(old, ObjectType.COMMIT)
    assert fsck(repo) == []


def test_a_dry_run_foresees_what_pruning_will_remove(source: Repo, there: HereDestination) -> None:
    for number in range(3):
        publish(source, {"web": "web"}, there)
        add_commit(source, "web", {"a": b"%d" % number})
    foreseen = publish(source, {"web": "web"}, there, PublishOptions(prune=True, keep=2, dry_run=True))
    assert foreseen.pruned == publish(source, {"web": "web"}, there, PublishOptions(prune=True, keep=2)).pruned


def test_an_interrupted_publication_leaves_no_note(source: Repo, there: HereDestination, tmp_path: Path) -> None:
    there.create()
    with pytest.raises(KeyboardInterrupt), there.busy(removing=False):
        raise KeyboardInterrupt
    assert not list((tmp_path / "www/ostler/busy").iterdir())


def test_a_delta_that_a_broken_attempt_did_not_list_is_listed(
    source: Repo, there: HereDestination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = source.resolve("web")
    publish(source, {"web": "web"}, there)
    new = add_commit(source, "web", {"a": b"new"})
    write_summary = there.write_summary

    def broken(source: Repo, deltas: DeltaChanges, timestamp: int | None) -> bytes | None:
        raise SshError("cut off")

    monkeypatch.setattr(there, "write_summary", broken)
    with pytest.raises(SshError, match="cut off"):
        publish(source, {"web": "web"}, there, PublishOptions(delta_from=1))
    monkeypatch.setattr(there, "write_summary", write_summary)
    assert (tmp_path / "www" / superblock_path(old, new)).exists()
    publish(source, {"web": "web"}, there, PublishOptions(delta_from=1))
    listed = Summary.decode((tmp_path / "www/summary").read_bytes()).metadata["ostree.static-deltas"].value
    assert list(listed) == [f"{old}-{new}"]
    assert len(list((tmp_path / "www/delta-indexes").glob("*/*"))) == 1


def test_after_an_interruption_the_next_command_has_a_shell_of_its_own(
    there: HereDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    there.create()
    before = there._shell

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(there, "_converse", interrupted)
        with pytest.raises(KeyboardInterrupt):
            there.exists()
    assert there.exists()
    assert there._shell is not before


def test_a_chatty_shell_there_is_named(there: HereDestination, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(there, "_ssh", lambda: ["sh", "-c", 'echo Welcome; exec sh -c "$3"', "ssh"])
    with pytest.raises(SshError, match="Welcome"):
        there.exists()


def test_a_file_that_vanishes_while_it_is_read_is_looked_for_again(
    there: HereDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    there.create()
    run, fail = there._run, iter([True])

    def once(script: str, *arguments: object, **options: object) -> bytes:
        if "tar -cf" in script and next(fail, False):
            raise SshError("tar: x: Cannot stat")
        return run(script, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(there, "_run", once)
    assert b"archive" in there.read(["config"])["config"]


@pytest.mark.parametrize("url", ["ssh://h:99999/x", "ssh://h:abc/x", "ssh://[::1/x"])
def test_bad_addresses_are_named(url: str) -> None:
    with pytest.raises(PublishError, match="no address"):
        SshDestination(url)


def test_hosts_keep_their_case() -> None:
    assert SshDestination("ssh://Me@Web-Server:22/srv")._host == "Me@Web-Server"
    assert SshDestination("ssh://[FE80::1]:22/srv").name == "ssh://[FE80::1]:22/srv"


def test_options_for_ssh_that_cannot_be_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ostler.cli.main import main

    monkeypatch.setenv("OSTLER_SSH_OPTIONS", '"abc')
    assert main(["publish", "-q", "-C", str(tmp_path)]) != ExitCode.OK
    assert "OSTLER_SSH_OPTIONS" in capsys.readouterr().err
