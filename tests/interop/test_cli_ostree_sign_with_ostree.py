"""Signing verbs of both programs: each verifies, shows and deletes what the other has signed."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from ostree_programs import OURS, THEIRS, Said, run

DUMMY = {"OSTREE_DUMMY_SIGN_ENABLED": "1"}
BOTH = pytest.mark.parametrize(("one", "other"), [(OURS, THEIRS), (THEIRS, OURS)], ids=["ours", "theirs"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    assert run(THEIRS, tmp_path, "--repo=repo", "init", "--mode=archive").code == 0
    assert run(THEIRS, tmp_path, "--repo=repo", "commit", "-b", "main", "--timestamp=@1", "tree").code == 0
    return tmp_path


def gpg(home: Path, *words: str) -> str:
    done = subprocess.run(["gpg", "--homedir", home, "--batch", *words], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def gpg_home() -> Iterator[Path]:
    """A GPG folder with a secret key; its public part is in `trusted/keys.gpg`."""
    if shutil.which("gpg") is None:
        pytest.skip("gpg is not installed")
    home = Path(tempfile.mkdtemp(prefix="gpg-"))
    try:
        gpg(home, "--passphrase", "", "--quick-generate-key", "Tester <tester@example.org>", "ed25519", "sign", "never")
        (home / "trusted").mkdir()
        gpg(home, "--output", str(home / "trusted/keys.gpg"), "--export")
        yield home
    finally:
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
        shutil.rmtree(home, ignore_errors=True)


@BOTH
def test_each_verifies_signatures_of_the_other(folder: Path, one: tuple[str, ...], other: tuple[str, ...]) -> None:
    def sign(program: tuple[str, ...], *words: str) -> Said:
        return run(program, folder, "--repo=repo", "sign", "--sign-type=dummy", *words, environment=DUMMY)

    assert sign(one, "main", "key") == Said(0, "", "")
    assert sign(other, "--verify", "main", "wrong", "key") == Said(0, "dummy: Signature verified\n", "")
    assert sign(other, "--verify", "main", "wrong").err == "error: No valid signatures found\n"
    assert sign(one, "main", "second") == Said(0, "", "")
    for key in ("key", "second"):
        assert sign(other, "--verify", "main", key).code == 0


@BOTH
def test_gpg_signatures_are_shown_and_deleted(
    folder: Path, gpg_home: Path, one: tuple[str, ...], other: tuple[str, ...]
) -> None:
    environment = {"OSTREE_GPG_HOME": str(gpg_home / "trusted")}

    def call(program: tuple[str, ...], *words: str) -> Said:
        return run(program, folder, "--repo=repo", *words, environment=environment)

    fingerprint = gpg(gpg_home, "--with-colons", "--list-keys").split("fpr:::::::::")[1].split(":")[0]
    assert call(one, "gpg-sign", f"--gpg-homedir={gpg_home}", "main", fingerprint).code == 0
    shown = call(other, "show", "main").out
    assert 'Good signature from "Tester <tester@example.org>"' in shown
    assert call(one, "show", "main").out == shown
    again = call(other, "gpg-sign", f"--gpg-homedir={gpg_home}", "main", fingerprint)
    assert again.err == f"error: Commit is already signed with GPG key {fingerprint}\n"
    assert call(other, "gpg-sign", "--delete", "main", fingerprint[-16:], "FFFF") == Said(
        0, "Signatures deleted: 1\n", ""
    )
    assert "signature" not in call(one, "show", "main").out


def test_trusted_keys_are_imported_and_listed_alike(folder: Path, gpg_home: Path) -> None:
    environment = {"OSTREE_GPG_HOME": str(gpg_home / "trusted")}
    listed = []
    for program, remote in ((OURS, "ours"), (THEIRS, "theirs")):

        def call(*words: str, program: tuple[str, ...] = program) -> str:
            said = run(program, folder, "--repo=repo", "remote", *words, environment=environment)
            assert said.code == 0, said.err
            return said.out

        call("add", remote, "http://example.org/")
        for count in ("1 GPG key", "0 GPG keys"):
            said = call("gpg-import", f"--keyring={gpg_home / 'trusted/keys.gpg'}", remote)
            assert said == f'Imported {count} to remote "{remote}"\n'
        listed += [call("gpg-list-keys", name) for name in ("ours", remote)]
        listed.append(call("gpg-list-keys"))
    assert listed[0].startswith("Key: ")
    assert len(set(listed)) == 1
