"""`ostler ostree static-delta`: what its options mean, and what it prints."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ostler.cli.ostree import main
from ostler.formats.objects import Checksum, DirMeta
from ostler.store.commit import commit_tree
from ostler.store.ingest import ingest_directory
from ostler.store.repo import Repo, RepoMode
from ostler.store.signing.ed25519 import SecretKey
from ostler.store.tree import Directory

Run = Callable[..., str]
KEY, OTHER = SecretKey.generate(), SecretKey.generate()


@pytest.fixture
def commit(tmp_path: Path) -> Checksum:
    repo = Repo.create(tmp_path / "repo", RepoMode.ARCHIVE, settings={"fsync": "false"})
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("content")
    with repo.transaction() as transaction:
        first = commit_tree(transaction, Directory(DirMeta(0, 0, 0o40755)), timestamp=1, subject="")
        root = ingest_directory(transaction, tmp_path / "tree")
        checksum = commit_tree(transaction, root, timestamp=2, subject="", parent=first)
        transaction.set_ref("main", checksum)
    return checksum


@pytest.fixture
def run(tmp_path: Path, commit: Checksum, capfd: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str | Path, repo: str = "repo", code: int = 0) -> str:
        actual = main(["static-delta", f"--repo={tmp_path / repo}", *map(str, words)])
        out, err = capfd.readouterr()
        assert actual == code, err
        return err if code else out

    return run


def test_a_delta_leads_from_the_parent_unless_something_else_is_said(run: Run, commit: Checksum) -> None:
    assert run("list") == "(No static deltas)\n"
    first = run("generate", "main").splitlines()
    assert first[0] == "Generating static delta:"
    assert first[1].startswith("  From: ") and len(first[1]) == 8 + 64
    assert first[2] == f"  To:   {commit}"
    assert run("generate", "--empty", "main").splitlines()[1] == "  From: empty"
    assert run("generate", "--empty", "-n", "main") == f"Delta {commit} already exists.\n"
    assert run("list").splitlines() == sorted([f"{first[1][8:]}-{commit}", commit])


@pytest.mark.parametrize(
    ("options", "endianness"),
    [
        ([], "little"),
        (["--swap-endianness"], "big"),
        (["--set-endianness=B"], "big"),
        (["--set-endianness=B", "--swap-endianness"], "little"),
    ],
)
def test_the_byte_order_is_chosen(run: Run, commit: Checksum, options: list[str], endianness: str) -> None:
    run("generate", "--empty", *options, "main")
    assert f"Endianness: {endianness}\n" in run("show", commit)


def test_signatures_are_made_and_verified(run: Run, tmp_path: Path, commit: Checksum) -> None:
    Repo.create(tmp_path / "new", RepoMode.ARCHIVE, settings={"fsync": "false"})
    run("generate", "--empty", f"--sign={KEY.text()}", f"--filename={tmp_path / 'delta'}", "--inline", "main")
    assert run("verify", tmp_path / "delta", KEY.public) == "Verification OK\n"
    assert "couldn't be verified" in run("verify", tmp_path / "delta", OTHER.public, code=1)
    assert "error: " in run("apply-offline", tmp_path / "delta", OTHER.public, repo="new", code=1)
    run("apply-offline", tmp_path / "delta", KEY.public, repo="new")
    assert Repo.open(tmp_path / "new").load_commit(commit).timestamp == 2


def test_without_any_key_a_delta_is_applied_unless_the_repository_demands_signatures(
    run: Run, tmp_path: Path, commit: Checksum
) -> None:
    run("generate", "--empty", f"--sign={KEY.text()}", f"--filename={tmp_path / 'delta'}", "--inline", "main")
    for name, setting in (("trusting", "false"), ("strict", "true")):
        settings = {"fsync": "false", "sign-verify-deltas": setting}
        Repo.create(tmp_path / name, RepoMode.ARCHIVE, settings=settings)
    run("apply-offline", tmp_path / "delta", repo="trusting")
    assert "Key is mandatory" in run("apply-offline", tmp_path / "delta", repo="strict", code=1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("generate",), "TO revision must be specified"),
        (("generate", "--empty", "--from=main", "main"), "Cannot specify both --empty and --from=REV"),
        (("generate", "--set-endianness=x", "main"), "Invalid endianness 'x'"),
        (("show",), "DELTA must be specified"),
        (("show", "GARBAGE"), "Invalid rev GARBAGE"),
        (("delete", "0" * 64), f"Can't find delta {'0' * 64}"),
        (("apply-offline",), "PATH must be specified"),
        (("reindex", "--to=main"), "Invalid rev main"),
    ],
)
def test_mistakes_are_named(run: Run, words: tuple[str, ...], message: str) -> None:
    assert run(*words, code=1) == f"error: {message}\n"
