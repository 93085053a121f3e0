"""Signatures that the programs of libostree and OpenSSL have made, or are to believe.

Debian's builds of libostree leave ed25519 out: those tests need the program `ostree-ed25519` of
scripts/setup-judge-ed25519.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.judges import judge

from ostler.errors import NotFoundError
from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum, ObjectType
from ostler.store.content import RepoMode
from ostler.store.pull import pull
from ostler.store.remotes import add_remote
from ostler.store.repo import Repo
from ostler.store.signing.ed25519 import PublicKey, SecretKey, Trust
from ostler.store.signing.errors import KeyFormatError, SignatureError
from ostler.store.signing.gpg import GpgSigner, GpgTrust
from ostler.store.signing.gpg_commits import (
    AlreadySignedError,
    delete_gpg_signatures,
    gpg_signatures,
    sign_commit_by_gpg,
)
from ostler.store.signing.keyfolder import KeyFolder
from ostler.store.signing.keyrings import import_keys, keyring_for, list_keys
from ostler.store.signing.kinds import trust_in_keys, trust_of_system
from ostler.store.signing.places import Places
from ostler.store.signing.sign import check_commit, sign_commit, sign_summary
from ostler.store.signing.verify import verifier_for
from ostler.store.summary import write_summary

OSTREE = shutil.which("ostree")
WITH_ED25519 = judge("ostree-ed25519")
needs_ostree = pytest.mark.skipif(OSTREE is None or shutil.which("gpg") is None, reason="needs ostree and gpg")
needs_ed25519 = pytest.mark.skipif(WITH_ED25519 is None, reason="needs scripts/setup-judge-ed25519")


def run(*words: str | Path, env: dict[str, str] | None = None, check: bool = True, input: bytes | None = None) -> str:
    surroundings = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC", **(env or {})}
    done = subprocess.run(words, env=surroundings, capture_output=True, check=False, input=input)
    assert not check or done.returncode == 0, done.stderr.decode()
    return (done.stdout + done.stderr).decode()


@pytest.fixture(autouse=True)
def universal_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@dataclass(frozen=True)
class Published:
    """A repository that libostree made, with one commit."""

    repo: Repo
    commit: Checksum

    def ostree(self, *words: str | Path, program: str | None = OSTREE, check: bool = True, **env: str) -> str:
        assert program is not None
        said = run(program, f"--repo={self.repo.path}", *words, env=env, check=check)
        return said.replace("\u2007", " ")  # GLib's blank before days of one digit


@pytest.fixture
def published(tmp_path: Path) -> Published:
    tree, path = tmp_path / "tree", tmp_path / "repo"
    tree.mkdir()
    (tree / "file").write_text("content\n")
    run("ostree", f"--repo={path}", "init", "--mode=archive")
    commit = run("ostree", f"--repo={path}", "commit", "-b", "main", "-s", "subject", f"--tree=dir={tree}").strip()
    return Published(Repo.open(path), Checksum(commit))


# --- GPG


@dataclass(frozen=True)
class GpgHome:
    """A GPG home with the secret keys of `Good` and `Other`; `trusted` has a keyring of both public keys."""

    home: Path
    trusted: Path

    def gpg(self, *words: str | Path) -> str:
        return run("gpg", "--batch", "--homedir", self.home, *words)

    def fingerprint(self, name: str) -> str:
        listed = self.gpg("--with-colons", "--list-keys", name).splitlines()
        return next(line.split(":")[9] for line in listed if line.startswith("fpr"))

    def exported(self, *names: str) -> bytes:
        return subprocess.run(
            ["gpg", "--batch", "--homedir", self.home, "--export", *names], capture_output=True, check=True
        ).stdout


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GpgHome]:
    home, trusted = tmp_path_factory.mktemp("gpg"), tmp_path_factory.mktemp("trusted")
    home.chmod(0o700)
    found = GpgHome(home, trusted)
    for name in ("Good Key <good@example.org>", "Other Key <other@example.org>", "Late Key <late@example.org>"):
        found.gpg("--passphrase", "", "--quick-generate-key", name, "ed25519", "sign", "never")
    (trusted / "both.gpg").write_bytes(found.exported("Good", "Other"))
    yield found
    run("gpgconf", "--homedir", home, "--kill", "gpg-agent", check=False)


@needs_ostree
def test_gpg_signatures_by_ostler_are_good_for_ostree_and_described_alike(published: Published, keys: GpgHome) -> None:
    places = Places(keyrings=keys.trusted)
    for name in ("Good", "Other"):
        sign_commit_by_gpg(published.repo, published.commit, keys.fingerprint(name), keys.home, places)
    with pytest.raises(AlreadySignedError):
        sign_commit_by_gpg(published.repo, published.commit, "good@example.org", keys.home, places)
    found = gpg_signatures(published.repo, published.commit, keyring_for(published.repo, None, places))
    assert [one.valid for one in found] == [True, True]
    shown = published.ostree("show", "main", OSTREE_GPG_HOME=str(keys.trusted))
    assert shown.count("Good signature from") == 2
    for one in found:
        assert one.describe("  ") in shown


@needs_ostree
def test_gpg_signatures_by_ostree_are_checked_and_deleted_by_ostler(published: Published, keys: GpgHome) -> None:
    for name in ("Good", "Other"):
        published.ostree("gpg-sign", f"--gpg-homedir={keys.home}", "main", keys.fingerprint(name))
    places = Places(keyrings=keys.trusted)
    assert delete_gpg_signatures(published.repo, published.commit, ["other@example.org", "no@example.org"], places) == 1
    assert "Found 1 signature" in published.ostree("show", "main")
    unknown = gpg_signatures(
        published.repo, published.commit, keyring_for(published.repo, None, Places(keyrings=Path("/none")))
    )
    assert unknown[0].key_missing
    for one in unknown:
        assert one.describe("  ") in published.ostree("show", "main", OSTREE_GPG_HOME="/none")
    assert delete_gpg_signatures(published.repo, published.commit, [keys.fingerprint("Good")], places) == 1
    assert "Found" not in published.ostree("show", "main")


@needs_ostree
def test_a_signature_of_something_else_is_bad_for_both(published: Published, keys: GpgHome) -> None:
    signature = GpgSigner("good@example.org", keys.home).sign(b"something else")
    with published.repo.transaction() as transaction:
        transaction.write_detached(published.commit, {"ostree.gpgsigs": Variant("aay", [signature])})
    places = Places(keyrings=keys.trusted)
    (found,) = gpg_signatures(published.repo, published.commit, keyring_for(published.repo, None, places))
    assert not found.valid
    assert found.describe("  ") in published.ostree("show", "main", OSTREE_GPG_HOME=str(keys.trusted))


@needs_ostree
def test_keys_imported_by_either_are_listed_alike_by_both(published: Published, keys: GpgHome, tmp_path: Path) -> None:
    repo = published.repo
    for name in ("ours", "theirs", "none"):
        published.ostree("remote", "add", name, "https://updates.example.org")
    repo.reload_config()
    assert import_keys(repo, "ours", [keys.exported("Good", "Other")], [keys.fingerprint("Good")[-16:]]) == 1
    armored = keys.gpg("--armor", "--export", "Good") + keys.gpg("--armor", "--export", "Other")
    assert import_keys(repo, "ours", [armored.encode()]) == 1
    assert import_keys(repo, "ours", None, home=keys.home) == 1
    (tmp_path / "keys.asc").write_text(keys.gpg("--armor", "--export"))
    published.ostree("remote", "gpg-import", "--keyring", tmp_path / "keys.asc", "theirs")
    for name in ("ours", "theirs"):
        listed = "".join(key.describe() for key in list_keys(repo, name))
        assert listed.count("Key: ") == 3
        assert listed == published.ostree("remote", "gpg-list-keys", name)
    assert list_keys(repo, "none") == ()
    listed = "".join(key.describe() for key in list_keys(repo, None, Places(keyrings=keys.trusted)))
    assert listed == published.ostree("remote", "gpg-list-keys", OSTREE_GPG_HOME=str(keys.trusted))
    with pytest.raises(NotFoundError, match="Unable to find key"):
        import_keys(repo, "ours", [armored.encode()], ["0000000000000001"])
    with pytest.raises(KeyFormatError):
        import_keys(repo, "ours", [b"no keys"])


@needs_ostree
def test_a_pull_takes_only_what_the_keys_of_the_remote_have_signed(
    published: Published, keys: GpgHome, tmp_path: Path
) -> None:
    client = Repo.create(tmp_path / "client", RepoMode.BARE_USER)
    add_remote(client, "origin", f"file://{published.repo.path}")
    with pytest.raises(SignatureError, match="no signatures found"):
        pull(client, "origin", ["main"])
    published.ostree("gpg-sign", f"--gpg-homedir={keys.home}", "main", keys.fingerprint("Good"))
    import_keys(client, "origin", [keys.exported("Other")])
    with pytest.raises(SignatureError, match="public key not found"):
        pull(client, "origin", ["main"])
    assert not client.has(published.commit, ObjectType.COMMIT)
    import_keys(client, "origin", [keys.exported("Good")])
    assert pull(client, "origin", ["main"]).refs["main"] == published.commit
    (tmp_path / "good.asc").write_text(keys.gpg("--armor", "--export", "Good"))
    by_path = {"gpgkeypath": f"{tmp_path / 'none.asc'},{tmp_path / 'good.asc'}"}
    add_remote(client, "paths", f"file://{published.repo.path}", by_path)
    with pytest.raises(KeyFormatError, match=r"none\.asc.*No such file or directory"):
        pull(client, "paths", ["main"])


@needs_ostree
def test_a_key_that_is_revoked_or_has_expired_signs_no_more(
    published: Published, keys: GpgHome, tmp_path: Path
) -> None:
    late = keys.fingerprint("Late")
    sign_commit_by_gpg(published.repo, published.commit, late, keys.home)
    published.ostree("remote", "add", "origin", "https://updates.example.org")
    published.repo.reload_config()
    assert import_keys(published.repo, "origin", [keys.exported("Late")]) == 1
    keys.gpg("--quick-set-expire", late, "seconds=1")
    time.sleep(2.1)

    def checked_by_both() -> str:
        assert import_keys(published.repo, "origin", [keys.exported("Late")]) == 0  # no new key, but news of it
        listed = "".join(key.describe() for key in list_keys(published.repo, "origin"))
        assert listed == published.ostree("remote", "gpg-list-keys", "origin")
        assert "Expired: " in listed or "(revoked)" in listed
        (tmp_path / "ring.gpg").write_bytes(keys.exported("Late"))
        trust = keyring_for(published.repo, None, Places(keyrings=tmp_path))
        (found,) = gpg_signatures(published.repo, published.commit, trust)
        assert found.describe("  ") in published.ostree("show", "main", OSTREE_GPG_HOME=str(tmp_path))
        with pytest.raises(SignatureError) as raised:
            check_commit(published.repo, published.commit, trust)  # type: ignore[arg-type]
        return raised.value.message

    assert "Key expired" in checked_by_both()
    revocation = (keys.home / "openpgp-revocs.d" / f"{late}.rev").read_text().replace(":-----BEGIN", "-----BEGIN")
    (tmp_path / "revocation").write_text(revocation)
    keys.gpg("--quick-set-expire", late, "seconds=0")
    keys.gpg("--import", tmp_path / "revocation")
    assert "Key revoked" in checked_by_both()


@needs_ostree
def test_a_summary_signed_by_gpg_is_accepted_by_ostree(published: Published, keys: GpgHome, tmp_path: Path) -> None:
    write_summary(published.repo)
    sign_summary(published.repo, [GpgSigner("good@example.org", keys.home)])
    client = tmp_path / "client"
    run("ostree", f"--repo={client}", "init", "--mode=bare-user")
    options = ("--set=gpg-verify=false", "--set=gpg-verify-summary=true")
    (tmp_path / "good.asc").write_bytes(keys.exported("Good"))
    run("ostree", f"--repo={client}", "remote", "add", *options, f"--gpg-import={tmp_path / 'good.asc'}", "origin",
        f"file://{published.repo.path}")  # fmt: skip
    run("ostree", f"--repo={client}", "pull", "origin", "main")
    data, signature = ((published.repo.path / name).read_bytes() for name in ("summary", "summary.sig"))
    by = verifier_for(Repo.open(client), "origin")
    assert [one.kind for one in by.verify_summary(data, signature)] == ["gpg"]
    with pytest.raises(SignatureError, match="BAD signature"):
        by.verify_summary(data + b"x", signature)


@needs_ostree
def test_a_key_that_cannot_sign_is_named(keys: GpgHome) -> None:
    with pytest.raises(NotFoundError, match="No gpg key found with ID nobody"):
        GpgSigner("nobody", keys.home).sign(b"data")
    with pytest.raises(SignatureError, match="ambiguous"):
        GpgSigner("example.org", keys.home).sign(b"data")


@needs_ostree
def test_a_message_signed_as_a_whole_is_no_signature(keys: GpgHome) -> None:
    message = subprocess.run(
        ["gpg", "--batch", "--homedir", keys.home, "-u", "good@example.org", "--compress-algo", "none", "--sign"],
        capture_output=True,
        check=True,
        input=b"message",
    ).stdout
    for data in (b"message", b"other"):
        with pytest.raises(SignatureError):
            GpgTrust(keys.exported("Good")).check(data, [message])


@needs_ostree
@settings(max_examples=25, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=3))
def test_random_bytes_are_no_gpg_signatures(keys: GpgHome, signatures: list[bytes]) -> None:
    with pytest.raises(SignatureError):
        GpgTrust(keys.exported("Good")).check(b"data", signatures)


# --- dummy


@needs_ostree
def test_dummy_signatures_go_both_ways(published: Published) -> None:
    places = Places(dummy=True)
    published.ostree("sign", "--sign-type=dummy", "main", "text", OSTREE_DUMMY_SIGN_ENABLED="1")
    assert check_commit(published.repo, published.commit, trust_in_keys("dummy", ["text"], places))


# --- ed25519


def test_signatures_are_those_of_openssl(tmp_path: Path) -> None:
    pem, data, signature = tmp_path / "key.pem", tmp_path / "data", tmp_path / "signature"
    run("openssl", "genpkey", "-algorithm", "ed25519", "-out", pem)
    raw = subprocess.run(["openssl", "pkey", "-in", pem, "-outform", "DER"], capture_output=True, check=True).stdout
    shown = subprocess.run(
        ["openssl", "pkey", "-in", pem, "-pubout", "-outform", "DER"], capture_output=True, check=True
    )
    key = SecretKey(raw[-32:], PublicKey(shown.stdout[-32:]))
    assert SecretKey.parse(key.text()) == key
    data.write_bytes(b"signed")
    run("openssl", "pkeyutl", "-sign", "-rawin", "-inkey", pem, "-in", data, "-out", signature)
    assert Trust((key.public,)).check(b"signed", [signature.read_bytes()])
    signature.write_bytes(key.sign(b"signed"))
    run("openssl", "pkeyutl", "-verify", "-rawin", "-inkey", pem, "-in", data, "-sigfile", signature)


@needs_ed25519
@needs_ostree
def test_a_folder_of_keys_is_one_for_ostree_too(published: Published, tmp_path: Path) -> None:
    def verify() -> str:
        words = ("sign", "--verify", f"--keys-dir={tmp_path / 'keys'}", "main")
        return published.ostree(*words, program=WITH_ED25519, check=False)

    first = KeyFolder(tmp_path / "keys").make()
    first.write()
    sign_commit(published.repo, published.commit, first.signers())
    trust = trust_of_system("ed25519", Places(folders=(tmp_path / "keys",)))
    assert verify().strip() == check_commit(published.repo, published.commit, trust).message
    both = first.rotate()
    both.write()
    published.ostree("sign", f"--keys-file={tmp_path / 'keys/secret.ed25519'}", "main", program=WITH_ED25519)
    for key in both.trusted:
        assert check_commit(published.repo, published.commit, Trust((key,)))
        published.ostree("sign", "--verify", "main", str(key), program=WITH_ED25519)
    both.revoke(first.trusted[0]).write()
    trust = trust_of_system("ed25519", Places(folders=(tmp_path / "keys",)))
    assert verify().strip() == check_commit(published.repo, published.commit, trust).message
    assert both.trusted[1].hex in verify()


@needs_ed25519
@needs_ostree
def test_failures_are_told_in_ostrees_words(published: Published) -> None:
    key, other = SecretKey.generate(), SecretKey.generate()
    sign_commit(published.repo, published.commit, [key])
    path = published.repo.path.parent / "keys"
    for count in (1, 3, 4):
        path.write_text("".join(f"{SecretKey.generate().public}\n" for _ in range(count)))
        theirs = published.ostree("sign", "--verify", f"--keys-file={path}", "main", program=WITH_ED25519, check=False)
        with pytest.raises(SignatureError) as raised:
            trust = Trust(tuple(PublicKey.parse(line) for line in reversed(path.read_text().splitlines())))
            check_commit(published.repo, published.commit, trust)
        assert theirs == f"error: {raised.value.message}\n"
    assert "No valid signatures" in published.ostree(
        "sign", "--verify", "main", str(other.public), program=WITH_ED25519, check=False
    )


@needs_ed25519
@needs_ostree
@pytest.mark.parametrize("place", ["key", "file"])
def test_signed_commits_and_summaries_are_pulled_by_both(published: Published, tmp_path: Path, place: str) -> None:
    key, other = SecretKey.generate(), SecretKey.generate()
    sign_commit(published.repo, published.commit, [key])
    write_summary(published.repo)
    sign_summary(published.repo, [key])
    url = f"file://{published.repo.path}"

    def options(one: SecretKey) -> dict[str, str]:
        file = tmp_path / "keys"
        file.write_text(f"{one.public}\n")
        value = str(file) if place == "file" else str(one.public)
        demands = {"gpg-verify": "false", "sign-verify": "ed25519", "sign-verify-summary": "ed25519"}
        return {**demands, f"verification-ed25519-{place}": value}

    for one in (key, other):
        client = Repo.create(tmp_path / f"client-{one.public.hex}", RepoMode.BARE_USER)
        add_remote(client, "origin", url, options(one))
        words = (f"--repo={client.path}", "pull", "origin", "main")
        assert WITH_ED25519 is not None
        theirs = subprocess.run([WITH_ED25519, *words], capture_output=True, check=False)
        shutil.rmtree(client.path / "refs/remotes/origin", ignore_errors=True)
        if one is key:
            assert theirs.returncode == 0, theirs.stderr.decode()
            assert pull(client, "origin", ["main"]).refs["main"] == published.commit
            continue
        assert theirs.returncode == 1
        with pytest.raises(SignatureError, match="couldn't be verified with: key"):
            pull(client, "origin", ["main"])
