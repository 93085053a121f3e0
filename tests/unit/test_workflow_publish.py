"""Publishing what a machine folder was built to: where to, signed by whom, and what the command prints of it."""

import json
from pathlib import Path

import pytest
from sample_trees import add_commit, make_repo, sample_files

from ostler.cli.main import main
from ostler.errors import ExitCode
from ostler.formats.objects import Checksum, ObjectType
from ostler.store.content import RepoMode
from ostler.store.repo import Repo
from ostler.store.signing.ed25519 import SecretKey
from ostler.store.signing.keyfolder import KeyFolderError
from ostler.sysroot.install import UPDATE_KEYS
from ostler.workflow.record import BuildRecord, read_record
from ostler.workflow.signing import check_believed


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine folder that was built."""
    monkeypatch.setenv("OSTLER_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "web"
    (folder / "build").mkdir(parents=True)
    (folder / "ostler.toml").write_text('name = "web"\nbase = "debian:trixie"\n')
    make_repo(tmp_path / "cache" / "repo", RepoMode.BARE_USER)
    built(folder, 1)
    monkeypatch.chdir(folder)
    return folder


def built(folder: Path, seed: int) -> Checksum:
    repo = Repo.open(folder.parent / "cache" / "repo")
    commit = add_commit(repo, None, {**sample_files(count=6), "version": f"{seed}".encode()}, timestamp=seed)
    BuildRecord(str(seed), commit, "0" * 64, "sha256:0", 0).write(folder / "build" / "build.json")
    return commit


def published(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    capsys.readouterr()
    assert main(["publish", "-q", "--json", *arguments]) == ExitCode.OK
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_the_last_build_goes_where_the_folder_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = published(capsys, "--dry-run")
    assert not (folder / "build/www").exists()
    done = published(capsys)
    assert done["destination"] == str(folder / "build/www")
    assert done["objects"] == first["objects"]
    assert (done["deltas"], done["pruned"], done["signed_by"]) == ([], None, [])
    assert Repo.open(folder / "build/www").refs() == {"web/stable": done["commit"]}


def test_deltas_and_pruning_on_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commits = [str(published(capsys)["commit"])]
    for seed in (2, 3):
        commits.append(built(folder, seed))
        done = published(capsys, "--delta-from", "1", "--prune", "--keep", "2")
    assert done["deltas"] == [{"from": commits[1], "to": commits[2]}]
    assert done["delta_bytes"]
    assert done["pruned"]
    repo = Repo.open(folder / "build/www")
    assert [repo.has(Checksum(commit), ObjectType.COMMIT) for commit in commits] == [False, True, True]
    capsys.readouterr()
    assert main(["publish", "-q", "--prune", "--keep", "1"]) == ExitCode.OK
    shown = capsys.readouterr().out
    assert "objects removed" in shown


def test_another_place_can_be_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert published(capsys, "--to", str(tmp_path / "elsewhere"))["destination"] == str(tmp_path / "elsewhere")
    assert main(["publish", "-q", "--to", "ftp://example.org/x"]) != ExitCode.OK
    assert "ssh://USER@HOST/PATH" in capsys.readouterr().err
    monkeypatch.setenv("OSTLER_SSH_OPTIONS", "-F /dev/null -o ConnectTimeout=1")
    assert main(["publish", "-q", "--to", "ssh://127.0.0.1:1/srv/www"]) != ExitCode.OK
    assert "ssh://127.0.0.1:1/srv/www" in capsys.readouterr().err
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    assert main(["publish", "-q", "--to", "s3://updates/web"]) != ExitCode.OK
    assert "AWS_ACCESS_KEY_ID" in capsys.readouterr().err


def test_what_is_no_number_is_refused(folder: Path) -> None:
    with pytest.raises(SystemExit):
        main(["publish", "--delta-from", "some"])


def test_keys_of_the_folder_sign_commit_and_summary(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "make"]) == ExitCode.OK
    capsys.readouterr()
    assert main(["publish", "-q"]) != ExitCode.OK
    assert "ostler build" in capsys.readouterr().err


def test_a_version_that_running_machines_would_refuse_is_refused(folder: Path) -> None:
    repo = Repo.open(folder.parent / "cache" / "repo")
    old, new = SecretKey.generate(), SecretKey.generate()
    with_old, with_both = (
        add_commit(repo, None, {UPDATE_KEYS: "".join(f"{key.public}\n" for key in keys).encode()})
        for keys in ((old,), (old, new))
    )
    with pytest.raises(KeyFolderError, match="would refuse this one") as caught:
        check_believed(with_old, [repo], [new])
    assert "--new-keys" in (caught.value.hint or "")
    check_believed(with_old, [repo], [old, new])
    check_believed(with_both, [repo], [new])
    check_believed(None, [repo], [new])
    check_believed(Checksum("a" * 64), [repo], [new])
    check_believed(Checksum(str(read_record(folder / "build/build.json").commit)), [repo], [new])
