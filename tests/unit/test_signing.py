"""Keys and signatures of the types ed25519 and dummy."""

from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signing_samples import commit_in

from ostler.formats.objects import Checksum
from ostler.store.content import RepoMode
from ostler.store.repo import Repo
from ostler.store.signing import curve, dummy, ed25519
from ostler.store.signing.ed25519 import PublicKey, SecretKey, Trust
from ostler.store.signing.errors import KeyFormatError, SignatureError, UnknownSignTypeError
from ostler.store.signing.kinds import signer, signers_in_file, trust_in_file, trust_in_keys, trust_of_system
from ostler.store.signing.places import Places
from ostler.store.signing.sign import check_commit, sign_commit, sign_summary
from ostler.store.summary import write_summary

# RFC 8032, 7.1, test 3.
SEED = bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
PUBLIC = bytes.fromhex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025")
SIGNED = bytes.fromhex("af82")
SIGNATURE = bytes.fromhex(
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
)
KEY = SecretKey(SEED, PublicKey(PUBLIC))
OTHER = SecretKey.generate()


@pytest.fixture(params=["library", "openssl"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "openssl":
        monkeypatch.setattr(curve, "_library", lambda: None)


@pytest.mark.usefixtures("backend")
def test_signatures_are_those_of_the_standard_by_either_means() -> None:
    assert curve.public_of(SEED) == PUBLIC
    assert curve.sign(SEED, SIGNED) == SIGNATURE
    assert curve.verify(PUBLIC, SIGNATURE, SIGNED)
    assert not curve.verify(PUBLIC, SIGNATURE, b"other")
    assert not curve.verify(b"\xff" * 32, SIGNATURE, SIGNED)
    assert not curve.verify(PUBLIC, SIGNATURE[:-1], SIGNED)


def test_without_any_means_one_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve, "_library", lambda: None)
    monkeypatch.setattr("ostler.io.process.find_tool", lambda name: None)
    with pytest.raises(curve.MissingCryptographyError) as raised:
        curve.verify(PUBLIC, SIGNATURE, SIGNED)
    assert "python3-cryptography" in (raised.value.hint or "")


def test_keys_are_written_as_they_are_read_and_secrets_are_not_shown() -> None:
    made = SecretKey.generate()
    assert SecretKey.parse(made.text()) == made
    assert PublicKey.parse(str(made.public)) == made.public
    assert made.text() not in repr(made)
    assert str(made.public) in repr(made)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "0 bytes"),
        ("not base64!", "no base64"),
        (b64encode(bytes(31)).decode(), "31 bytes"),
        (str(KEY.public), "32 bytes"),
        (b64encode(SEED + OTHER.public.raw).decode(), "public half"),
    ],
)
def test_what_is_no_secret_key_is_refused_without_being_shown(text: str, told: str) -> None:
    with pytest.raises(KeyFormatError, match="Incorrect ed25519 secret key") as raised:
        SecretKey.parse(text)
    assert told in raised.value.message
    assert not text or text not in raised.value.message


def test_one_good_signature_by_one_trusted_key_is_enough() -> None:
    signatures = [OTHER.sign(b"data"), KEY.sign(b"data")]
    assert Trust((SecretKey.generate().public, KEY.public)).check(b"data", signatures).key == PUBLIC.hex()


@pytest.mark.parametrize(
    ("trust", "signatures", "told"),
    [
        (Trust((KEY.public,)), [], "no signatures found"),
        (Trust((KEY.public,)), [OTHER.sign(b"data")], f"couldn't be verified with: key '{PUBLIC.hex()}'"),
        (Trust((KEY.public,)), [b"short"], "Invalid signature length of 5 bytes, expected 64"),
        (Trust((KEY.public,), frozenset({KEY.public})), [KEY.sign(b"data")], "all keys are revoked"),
        (Trust(tuple(SecretKey.generate().public for _ in range(4))), [KEY.sign(b"data")], "tried 4 keys"),
    ],
)
def test_anything_else_is_refused(trust: Trust, signatures: list[bytes], told: str) -> None:
    with pytest.raises(SignatureError) as raised:
        trust.check(b"data", signatures)
    assert told in raised.value.message
    assert raised.value.hint


@given(st.lists(st.binary(max_size=80), max_size=4), st.binary(max_size=40))
def test_random_signatures_are_refused_and_nothing_else_happens(signatures: list[bytes], data: bytes) -> None:
    with pytest.raises(SignatureError):
        Trust((KEY.public,)).check(data, signatures)


@given(st.text(max_size=120) | st.binary(max_size=70).map(lambda raw: b64encode(raw).decode()))
def test_random_texts_are_keys_or_raise_the_one_error(text: str) -> None:
    for parse in (SecretKey.parse, PublicKey.parse):
        try:
            parse(text)
        except KeyFormatError:
            continue


@given(st.binary(max_size=300))
def test_random_files_are_files_of_keys_or_raise_the_one_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("keys") / "file"
    path.write_bytes(data)
    for read in (ed25519.read_public_keys, ed25519.read_secret_keys, ed25519.read_revoked_keys):
        try:
            read(path)
        except KeyFormatError:
            continue


def test_lines_that_are_no_keys_are_passed_over_among_trusted_ones_but_not_among_revoked_ones(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# a remark\n\nrubbish\n{KEY.public}\n{KEY.public}\n")
    assert ed25519.read_public_keys(path) == (KEY.public,)
    with pytest.raises(KeyFormatError, match="line 3"):
        ed25519.read_revoked_keys(path)


def test_what_is_no_file_of_keys_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFormatError, match="is not a regular file"):
        ed25519.read_public_keys(tmp_path)
    (tmp_path / "empty").touch()
    with pytest.raises(KeyFormatError, match=r"no valid keys in file '.*empty'"):
        ed25519.read_public_keys(tmp_path / "empty")
    (tmp_path / "large").write_bytes(bytes(ed25519.MAX_FILE + 1))
    with pytest.raises(KeyFormatError, match="larger than"):
        ed25519.read_public_keys(tmp_path / "large")


def test_the_system_trusts_what_its_folders_name_but_for_revoked_keys(tmp_path: Path) -> None:
    etc, usr = tmp_path / "etc", tmp_path / "usr"
    (etc / "revoked.ed25519.d").mkdir(parents=True)
    (usr / "trusted.ed25519.d").mkdir(parents=True)
    (usr / "trusted.ed25519.d" / "vendor").write_text(f"{KEY.public}\n")
    (etc / "trusted.ed25519").write_text(f"{OTHER.public}\n")
    places = Places(folders=(etc, usr))
    signature = KEY.sign(b"data")
    assert trust_of_system("ed25519", places).check(b"data", [signature])
    (etc / "revoked.ed25519.d" / "ours").write_text(f"{KEY.public}\n")
    with pytest.raises(SignatureError):
        trust_of_system("ed25519", places).check(b"data", [signature])
    with pytest.raises(KeyFormatError, match="no keys loaded"):
        trust_of_system("ed25519", Places(folders=(tmp_path / "none",)))


def test_the_dummy_type_is_for_tests_only(tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match="only for ostree testing"):
        signer("dummy", "key")
    with pytest.raises(SignatureError, match="only for ostree testing"):
        trust_in_keys("dummy", ["key"]).check(b"data", [b"key"])
    tests = Places(dummy=True)
    signature = signer("dummy", "key", tests).sign(b"data")
    assert trust_in_keys("dummy", ["key"], tests).check(b"data", [signature]).message == "dummy: Signature verified"
    with pytest.raises(SignatureError, match="incorrect signatures found: 1"):
        dummy.Trust(("other",), True).check(b"data", [signature])
    with pytest.raises(KeyFormatError):
        trust_in_file("dummy", tmp_path / "file", tests)
    with pytest.raises(KeyFormatError):
        trust_of_system("dummy", tests)


def test_other_types_are_named_as_unknown() -> None:
    for use in (lambda: signer("pgp", "key"), lambda: trust_in_keys("pgp", ["key"]), lambda: trust_of_system("pgp")):
        with pytest.raises(UnknownSignTypeError, match="Requested signature type is not implemented"):
            use()


def test_a_commit_keeps_signatures_of_all_who_sign_it(tmp_path: Path) -> None:
    repo = Repo.create(tmp_path / "repo", RepoMode.ARCHIVE)
    commit = commit_in(repo)
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY.text()}\n")
    sign_commit(repo, commit, signers_in_file("ed25519", keys))
    sign_commit(repo, commit, [OTHER, signer("dummy", "key", Places(dummy=True))])
    for one in (KEY, OTHER):
        assert check_commit(repo, commit, Trust((one.public,))).key == one.public.hex
    assert check_commit(repo, commit, trust_in_keys("dummy", ["key"], Places(dummy=True)))
    assert len(repo.load_detached(commit)["ostree.sign.ed25519"].value) == 2


def test_a_commit_without_signatures_is_said_to_have_none(tmp_path: Path) -> None:
    repo = Repo.create(tmp_path / "repo", RepoMode.ARCHIVE)
    with pytest.raises(SignatureError, match="no signatures found"):
        check_commit(repo, commit_in(repo), Trust((KEY.public,)))


def test_a_summary_is_signed_beside_it(tmp_path: Path) -> None:
    repo = Repo.create(tmp_path / "repo", RepoMode.ARCHIVE)
    repo.set_ref("main", Checksum(commit_in(repo)))
    write_summary(repo)
    sign_summary(repo, [KEY])
    sign_summary(repo, [OTHER])
    assert (repo.path / "summary.sig").stat().st_size > 128
