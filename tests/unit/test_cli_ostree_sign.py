"""`ostler ostree sign`: signatures with keys as text, in files and in folders."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ostler.cli.ostree import main
from ostler.formats.objects import Checksum, DirMeta, ObjectType
from ostler.store.commit import commit_tree
from ostler.store.repo import Repo, RepoMode
from ostler.store.signing.ed25519 import SecretKey
from ostler.store.tree import Directory

GOOD = "ed25519: Signature verified successfully with key"
KEY, OTHER = SecretKey.generate(), SecretKey.generate()

Run = Callable[..., str]


@pytest.fixture
def commit(tmp_path: Path) -> Checksum:
    repo = Repo.create(tmp_path / "repo", RepoMode.ARCHIVE, settings={"fsync": "false"})
    with repo.transaction() as transaction:
        checksum = commit_tree(transaction, Directory(DirMeta(0, 0, 0o40755)), timestamp=1, subject="")
        transaction.set_ref("main", checksum)
    return checksum


@pytest.fixture
def run(tmp_path: Path, commit: Checksum, capfd: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str | Path, code: int = 0) -> str:
        actual = main(["sign", f"--repo={tmp_path / 'repo'}", *map(str, words)])
        out, err = capfd.readouterr()
        assert actual == code, err
        return err if code else out

    return run


def test_a_signature_verifies_with_its_key_only(run: Run) -> None:
    assert run("main", KEY.text()) == ""
    assert run("--verify", "main", KEY.public) == f"{GOOD} '{KEY.public.hex}'\n"
    assert run("--verify", "main", OTHER.public, "no key at all", KEY.public).startswith(GOOD)
    assert run("--verify", "main", OTHER.public, code=1) == "error: No valid signatures found\n"


def test_keys_come_from_files_and_folders(run: Run, tmp_path: Path) -> None:
    secrets, publics = tmp_path / "secrets", tmp_path / "publics"
    secrets.write_text(f"{KEY.text()}\n")
    publics.write_text(f"{OTHER.public}\n{KEY.public}\n")
    run(f"--keys-file={secrets}", "main")
    assert run("--verify", f"--keys-file={publics}", "main").startswith(GOOD)
    trusted = tmp_path / "keys/trusted.ed25519.d"
    trusted.mkdir(parents=True)
    (trusted / "key").write_text(f"{KEY.public}\n")
    assert run("--verify", f"--keys-dir={tmp_path / 'keys'}", "main").startswith(GOOD)
    (tmp_path / "keys/revoked.ed25519").write_text(f"{KEY.public}\n")
    assert "error: " in run("--verify", f"--keys-dir={tmp_path / 'keys'}", "main", code=1)
    publics.write_text(f"{OTHER.public}\n")
    assert "ed25519: Signature couldn't be verified" in run("--verify", f"--keys-file={publics}", "main", code=1)


def test_signatures_without_worth_are_for_tests_only(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OSTREE_DUMMY_SIGN_ENABLED", raising=False)
    assert "only for ostree testing" in run("--sign-type=dummy", "main", "x", code=1)
    monkeypatch.setenv("OSTREE_DUMMY_SIGN_ENABLED", "1")
    run("-s", "dummy", "main", "x")
    assert run("-s", "dummy", "--verify", "main", "x") == "dummy: Signature verified\n"


def test_signatures_are_added_to_those_that_are_there(run: Run, tmp_path: Path, commit: Checksum) -> None:
    run("main", KEY.text(), OTHER.text())
    detached = Repo.open(tmp_path / "repo").load_detached(commit)
    assert len(detached["ostree.sign.ed25519"].value) == 2
    assert Repo.open(tmp_path / "repo").has(commit, ObjectType.DETACHED)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Need a COMMIT to sign or verify"),
        (("main",), "Need at least one KEY-ID to sign with"),
        (("nothing", "key"), "Refspec 'nothing' not found"),
        (("-s", "nothing", "main", "key"), "Requested signature type is not implemented"),
        (("main", "key"), "Incorrect ed25519 secret key"),
    ],
)
def test_mistakes_are_named(run: Run, words: tuple[str, ...], message: str) -> None:
    assert f"error: {message}" in run(*words, code=1)
