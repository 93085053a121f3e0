"""Folders of keys: making, rotating and revoking them, by hand and by `ostler keys`."""

import json
import stat
from pathlib import Path

import pytest
from definition_folder import loaded, make, only_problem
from signing_samples import put

from ostler.cli.main import main
from ostler.compose.files import machine_files
from ostler.definition.errors import DefinitionError
from ostler.definition.load import load
from ostler.definition.signing import FOLDER
from ostler.errors import ExitCode, NotFoundError
from ostler.formats.objects import Checksum, FileMeta
from ostler.host.config import follow_source, read_update_config
from ostler.store.commit import commit_tree
from ostler.store.content import RepoMode
from ostler.store.repo import Repo
from ostler.store.signing.ed25519 import SecretKey, Trust
from ostler.store.signing.errors import KeyFormatError
from ostler.store.signing.keyfolder import SECRET, TRUSTED, KeyFolder, KeyFolderError
from ostler.store.signing.places import Places
from ostler.store.signing.sign import check_commit
from ostler.store.signing.verify import verifier_for
from ostler.store.tree import Directory
from ostler.sysroot.install import REMOTE, REVOKED_UPDATE_KEYS, UPDATE_KEYS
from ostler.workflow.signing import check_version, sign_version, signers_of, summary_signer

OTHER = SecretKey.generate()


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    made = KeyFolder(tmp_path / "signing").make()
    made.write()
    return made


def test_a_secret_key_is_for_its_owners_eyes_and_not_for_version_control(folder: KeyFolder) -> None:
    assert stat.S_IMODE((folder.path / SECRET).stat().st_mode) == 0o600
    assert stat.S_IMODE((folder.path / TRUSTED).stat().st_mode) == 0o644
    assert f"/{SECRET}" in (folder.path / ".gitignore").read_text()
    assert KeyFolder.of(folder.path) == folder


def test_a_key_is_rotated_by_one_that_signs_beside_it_until_the_old_one_is_revoked(folder: KeyFolder) -> None:
    (old,) = folder.secret
    both = folder.rotate()
    assert both.signers() == both.secret
    assert len(both.trusted) == 2
    after = both.revoke(old.public)
    assert old not in after.secret
    assert (after.trusted, after.revoked) == (both.trusted[1:], (old.public,))
    after.write()
    assert KeyFolder.of(folder.path) == after
    assert old.text() not in (folder.path / SECRET).read_text()
    with pytest.raises(KeyFolderError, match="is revoked"):
        after.trust(old.public)
    with pytest.raises(KeyFolderError, match="revoked already"):
        after.revoke(old.public)


def test_what_would_do_harm_is_refused(folder: KeyFolder, tmp_path: Path) -> None:
    (only,) = folder.trusted
    with pytest.raises(KeyFolderError, match="only key that is trusted"):
        folder.revoke(only)
    assert folder.revoke(only, last_too=True).trusted == ()
    with pytest.raises(KeyFolderError, match="a signing key already"):
        folder.make()
    with pytest.raises(KeyFolderError, match="trusted already"):
        folder.trust(only)
    with pytest.raises(KeyFolderError, match="no signing key to rotate"):
        KeyFolder.of(tmp_path / "none").rotate()


def test_only_keys_that_machines_believe_sign(folder: KeyFolder) -> None:
    assert KeyFolder(folder.path).signers() == ()
    with pytest.raises(KeyFolderError, match="is missing, so nothing can be signed"):
        KeyFolder(folder.path, trusted=folder.trusted).signers()
    with pytest.raises(KeyFolderError, match="no secret key"):
        KeyFolder(folder.path, secret=folder.secret, trusted=(OTHER.public,)).signers()


def test_a_key_is_found_by_its_beginning(folder: KeyFolder) -> None:
    (only,) = folder.trusted
    assert folder.find(str(only)[:8]) == only
    assert folder.find(only.hex[:12].upper()) == only
    assert folder.find(str(OTHER.public)) == OTHER.public
    with pytest.raises(NotFoundError, match="neither a public key nor the beginning"):
        folder.find("none")
    with pytest.raises(NotFoundError, match="several"):
        folder.trust(OTHER.public).find("")


def test_a_damaged_file_is_named_with_the_line(folder: KeyFolder) -> None:
    put(folder.path / SECRET, "rubbish\n")
    with pytest.raises(KeyFormatError, match=rf"{SECRET}: line 1"):
        KeyFolder.of(folder.path)


# --- the machine folder


def test_the_public_keys_of_a_machine_folder_are_part_of_its_definition(tmp_path: Path, folder: KeyFolder) -> None:
    files = {f"{FOLDER}/{path.name}": path.read_bytes() for path in folder.path.iterdir()}
    made = make(tmp_path / "machines", files)
    (made / FOLDER / SECRET).chmod(0o600)
    definition = load(made)
    assert definition.signing.trusted == tuple(map(str, folder.trusted))
    assert not definition.warnings
    assert signers_of(definition) == folder.secret
    (made / FOLDER / SECRET).chmod(0o644)
    assert [str(warning) for warning in load(made).warnings if "0644" in str(warning)]


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("\nrubbish\n", 2, "no base64"),
        (f"{OTHER.text()}\n", 1, "THIS IS A SECRET KEY"),
    ],
)
def test_what_is_wrong_with_the_keys_of_a_machine_folder_is_told(
    tmp_path: Path, text: str, line: int, told: str
) -> None:
    problem = only_problem(tmp_path, {f"{FOLDER}/{TRUSTED}": text})
    assert (problem.file, problem.line) == (f"web/{FOLDER}/{TRUSTED}", line)
    assert told in problem.message
    assert OTHER.text() not in str(problem)


def test_a_key_cannot_be_trusted_and_revoked(tmp_path: Path) -> None:
    made = make(
        tmp_path, {f"{FOLDER}/trusted.ed25519": str(OTHER.public), f"{FOLDER}/revoked.ed25519": str(OTHER.public)}
    )
    with pytest.raises(DefinitionError, match="revoked too"):
        load(made)


def test_secret_keys_never_reach_a_containerfile(tmp_path: Path) -> None:
    made = make(tmp_path, {"Containerfile": "FROM base\n", f"{FOLDER}/{SECRET}": OTHER.text(), "other": "x"})
    assert load(made).context == ("Containerfile", "other")


def test_the_image_carries_public_keys_only(tmp_path: Path) -> None:
    files = {f"{FOLDER}/{SECRET}": OTHER.text(), f"{FOLDER}/{TRUSTED}": f"# mine\n{OTHER.public}\n"}
    written = machine_files(loaded(tmp_path, files), "1.0")
    assert written[UPDATE_KEYS] == f"{OTHER.public}\n"
    assert REVOKED_UPDATE_KEYS not in written
    assert not any(OTHER.text() in text for text in written.values())
    assert UPDATE_KEYS not in machine_files(loaded(tmp_path / "other"), "1.0")


# --- publishing


def version_with(repo: Repo, keys: str | None) -> Checksum:
    tree = Directory()
    with repo.transaction() as transaction:
        if keys is not None:
            file = transaction.write_file(FileMeta(0, 0, 0o100644), keys.encode())
            here = tree
            *folders, name = UPDATE_KEYS.split("/")
            for part in folders:
                below = Directory()
                here.set_dir(part, below)
                here = below
            here.set_file(name, file)
        return commit_tree(transaction, tree, timestamp=0)


def test_a_version_is_signed_once_by_each_key(tmp_path: Path, folder: KeyFolder) -> None:
    repo = Repo.create(tmp_path / "repo", RepoMode.BARE_USER, settings={"fsync": "false"})
    commit = version_with(repo, f"{folder.trusted[0]}\n")
    both = folder.rotate()
    check_version(repo, commit, folder.signers())
    for signers in (folder.signers(), both.signers(), both.signers()):
        sign_version(repo, commit, signers)
    assert len(repo.load_detached(commit)["ostree.sign.ed25519"].value) == 2
    for key in both.trusted:
        assert check_commit(repo, commit, Trust((key,)))
    sign = summary_signer(both.signers())
    assert sign is not None
    assert sign(b"summary") == sign(b"summary")
    assert summary_signer(()) is None


def test_a_version_that_leads_machines_astray_is_not_published(tmp_path: Path, folder: KeyFolder) -> None:
    repo = Repo.create(tmp_path / "repo", RepoMode.BARE_USER, settings={"fsync": "false"})
    with_others, without = version_with(repo, f"{OTHER.public}\n"), version_with(repo, None)
    for commit, signers, told in (
        (with_others, folder.signers(), "other keys"),
        (without, folder.signers(), "would check no signatures"),
        (with_others, (), "no keys to sign with"),
    ):
        with pytest.raises(KeyFolderError, match=told):
            check_version(repo, commit, signers)
    check_version(repo, without, ())


# --- a machine


@pytest.mark.parametrize("source", ["https://new.example.org", None])
def test_a_machine_whose_image_has_keys_demands_signatures_from_then_on(tmp_path: Path, source: str | None) -> None:
    root, repo = tmp_path / "root", Repo.create(tmp_path / "repo", RepoMode.BARE_USER)
    repo.add_remote(REMOTE, "https://old.example.org", {"gpg-verify": "false", "proxy": "http://p"})
    put(root / "usr/lib/ostler/update.conf", f"[update]\n{f'from={source}' if source else 'keep=2'}\n")
    assert follow_source(repo, read_update_config(root)) is (source is not None)
    assert "sign-verify" not in repo.remotes()[REMOTE].options
    put(root / UPDATE_KEYS, f"{OTHER.public}\n")
    assert follow_source(repo, read_update_config(root))
    assert not follow_source(repo, read_update_config(root))
    remote = repo.remotes()[REMOTE]
    assert remote.url == (source or "https://old.example.org")
    assert remote.options == {"gpg-verify": "false", "proxy": "http://p", "sign-verify": "true"}
    assert verifier_for(repo, REMOTE, places=Places.of_system(root)).checks_commits
    (root / UPDATE_KEYS).unlink()
    assert not follow_source(repo, read_update_config(root))
    assert repo.remotes()[REMOTE].options["sign-verify"] == "true"


def test_a_person_at_the_machine_can_do_without_signatures(tmp_path: Path) -> None:
    root, repo = tmp_path / "root", Repo.create(tmp_path / "repo", RepoMode.BARE_USER)
    repo.add_remote(REMOTE, "https://old.example.org", {"gpg-verify": "false", "sign-verify": "false"})
    put(root / UPDATE_KEYS, f"{OTHER.public}\n")
    assert not follow_source(repo, read_update_config(root))


# --- the command


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["keys", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_keys_are_made_listed_rotated_and_revoked_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = str(make(tmp_path))
    assert run(capsys, "list", "-C", made)[1] == ""
    code, out, _ = run(capsys, "make", "-C", made, "--dry-run")
    assert (code, (tmp_path / "web" / FOLDER).exists()) == (ExitCode.OK, False)
    assert "would be made" in out
    first = json.loads(run(capsys, "make", "-C", made, "--json")[1])["made"][0]
    assert (first["signs"], first["trusted"]) == (True, True)
    run(capsys, "rotate", "-C", made)
    assert run(capsys, "export", "-C", made)[1].splitlines()[0] == first["key"]
    code, out, _ = run(capsys, "revoke", first["key"][:10], "-C", made, "--dry-run")
    assert out == f"would be revoked: {first['key']}\n"
    run(capsys, "revoke", first["key"][:10], "-C", made)
    run(capsys, "trust", str(OTHER.public), "-C", made)
    states = [line.split()[1] for line in run(capsys, "list", "-C", made)[1].splitlines()]
    assert states == ["signs", "trusted", "revoked"]
    assert len(json.loads(run(capsys, "list", "-C", made, "--json")[1])["keys"]) == 3
    assert load(Path(made)).signing.revoked == (first["key"],)


def test_errors_of_the_command_are_one_message_with_a_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "make", "-C", str(tmp_path / "none"))
    assert code == ExitCode.NOT_FOUND
    assert "hint: " in err
    made = str(make(tmp_path))
    assert run(capsys, "export", "-C", made)[0] == ExitCode.NOT_FOUND
    assert run(capsys, "rotate", "-C", made)[0] == ExitCode.FAILURE
    assert run(capsys, "trust", "rubbish", "-C", made)[0] == ExitCode.FAILURE
    assert not (tmp_path / "web" / FOLDER).exists()


def test_a_machines_own_keys_are_libostrees(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places(folders=(tmp_path / "etc", tmp_path / "usr"))
    monkeypatch.setattr("ostler.store.signing.places.USUAL", places)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    put(tmp_path / "usr/trusted.ed25519.d/ostler.ed25519", f"{OTHER.public}\n")
    mine = SecretKey.generate().public
    assert run(capsys, "trust", str(mine), "--host")[0] == ExitCode.OK
    assert run(capsys, "revoke", str(OTHER.public)[:9], "--host")[0] == ExitCode.OK
    assert (tmp_path / "etc/trusted.ed25519").read_text() == f"{mine}\n"
    assert (tmp_path / "etc/revoked.ed25519").read_text() == f"{OTHER.public}\n"
    assert "trusted by the image, but revoked" in run(capsys, "list", "--host")[1]
    assert json.loads(run(capsys, "list", "--host", "--json")[1])["image"] == [str(OTHER.public)]
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "needs root" in run(capsys, "trust", str(SecretKey.generate().public), "--host")[2]
