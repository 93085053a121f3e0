"""What the configuration of a remote demands of commits and summaries."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from signing_samples import commit_in, put

from ostler.errors import NotFoundError
from ostler.formats.gvariant import FormatError, Variant
from ostler.formats.objects import Checksum, ObjectType, encode_detached
from ostler.store.content import RepoMode
from ostler.store.remotes import add_remote
from ostler.store.repo import Repo
from ostler.store.signing.ed25519 import SecretKey
from ostler.store.signing.errors import KeyFormatError, SignatureError, UnknownSignTypeError
from ostler.store.signing.kinds import signer
from ostler.store.signing.places import Places
from ostler.store.signing.sign import sign_commit, signed_summary
from ostler.store.signing.verify import NOTHING, Verifier, verifier_for

KEY, OTHER = SecretKey.generate(), SecretKey.generate()
NO_GPG = {"gpg-verify": "false"}
BY_KEY = {**NO_GPG, "sign-verify": "ed25519", "verification-ed25519-key": str(KEY.public)}


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo.create(tmp_path / "repo", RepoMode.ARCHIVE, settings={"fsync": "false"})


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(folders=(tmp_path / "etc", tmp_path / "usr"), keyrings=tmp_path / "keyrings", dummy=True)


def verifier(repo: Repo, options: Mapping[str, str], places: Places, **given: bool) -> Verifier:
    add_remote(repo, "origin", "https://updates.example.org", options, force=True)
    return verifier_for(repo, "origin", places=places, **given)  # type: ignore[arg-type]


def check(repo: Repo, commit: Checksum, by: Verifier) -> list[str]:
    data = repo.load_bytes(commit, ObjectType.COMMIT)
    return [one.key for one in by.verify_commit(commit, data, repo.load_detached(commit))]


def test_gpg_signatures_of_commits_are_demanded_of_every_remote_that_does_not_say_otherwise(
    repo: Repo, places: Places
) -> None:
    by = verifier(repo, {}, places)
    assert by.checks_commits
    assert not by.checks_summary
    with pytest.raises(SignatureError, match="GPG verification enabled, but no signatures found") as raised:
        check(repo, commit_in(repo), by)
    assert "gpg-verify=false" in (raised.value.hint or "")


def test_nothing_is_demanded_of_folders_nor_of_remotes_that_say_so(repo: Repo, places: Places) -> None:
    commit = commit_in(repo)
    for by in (
        NOTHING,
        verifier_for(repo, None),
        verifier_for(repo, "file:///srv/repo"),
        verifier(repo, NO_GPG, places),
    ):
        assert not by.checks_commits
        assert check(repo, commit, by) == []
        assert by.verify_summary(b"summary", None) == ()


def test_a_commit_must_be_signed_by_the_configured_key(repo: Repo, places: Places) -> None:
    commit = commit_in(repo)
    by = verifier(repo, BY_KEY, places)
    with pytest.raises(SignatureError, match="Can't verify commit without detached metadata"):
        check(repo, commit, by)
    sign_commit(repo, commit, [signer("dummy", "x", places)])
    with pytest.raises(SignatureError, match="No signatures found"):
        check(repo, commit, by)
    sign_commit(repo, commit, [OTHER])
    with pytest.raises(SignatureError, match=r"Can't verify commit.*couldn't be verified with: key"):
        check(repo, commit, by)
    sign_commit(repo, commit, [KEY])
    assert check(repo, commit, by) == [KEY.public.hex]


def test_a_signature_of_another_commit_does_not_count(repo: Repo, places: Places) -> None:
    signed, other = commit_in(repo, subject="signed"), commit_in(repo, subject="other")
    sign_commit(repo, signed, [KEY])
    with pytest.raises(SignatureError):
        verifier(repo, BY_KEY, places).verify_commit(
            other, repo.load_bytes(other, ObjectType.COMMIT), repo.load_detached(signed)
        )


def test_keys_can_stand_in_a_file_and_be_revoked_by_the_system(repo: Repo, places: Places, tmp_path: Path) -> None:
    commit = commit_in(repo)
    sign_commit(repo, commit, [KEY])
    file = put(tmp_path / "keys", f"{OTHER.public}\n{KEY.public}\n")
    options = {**NO_GPG, "sign-verify": "true", "verification-ed25519-file": str(file)}
    assert check(repo, commit, verifier(repo, options, places)) == [KEY.public.hex]
    put(places.folders[0] / "revoked.ed25519.d/one", f"{KEY.public}\n")
    with pytest.raises(SignatureError):
        check(repo, commit, verifier(repo, options, places))
    with pytest.raises(SignatureError, match="revoked"):
        check(repo, commit, verifier(repo, BY_KEY, places))


def test_without_configured_keys_the_systems_are_asked(repo: Repo, places: Places) -> None:
    commit = commit_in(repo)
    sign_commit(repo, commit, [KEY])
    by = verifier(repo, {**NO_GPG, "sign-verify": "true"}, places)
    with pytest.raises(SignatureError, match="no keys loaded"):
        check(repo, commit, by)
    put(places.folders[1] / "trusted.ed25519.d/ostler.ed25519", f"{KEY.public}\n")
    assert check(repo, commit, by) == [KEY.public.hex]


def test_any_of_several_types_is_enough(repo: Repo, places: Places) -> None:
    commit = commit_in(repo)
    sign_commit(repo, commit, [OTHER, signer("dummy", "x", places)])
    options = {**BY_KEY, "sign-verify": "ed25519;dummy", "verification-dummy-key": "x"}
    assert check(repo, commit, verifier(repo, options, places)) == ["x"]
    with pytest.raises(SignatureError, match="1 other invalid signatures"):
        check(repo, commit, verifier(repo, {**options, "verification-dummy-key": "y"}, places))


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"sign-verify": "ed25519"}, KeyFormatError, "No keys found for required signapi type ed25519"),
        ({"sign-verify": "dummy"}, KeyFormatError, "No keys found for required signapi type dummy"),
        ({"sign-verify": "nosuch"}, UnknownSignTypeError, "Requested signature type is not implemented"),
        ({"sign-verify": "true", "verification-ed25519-file": "/none"}, KeyFormatError, "'/none'"),
        ({"sign-verify": "true", "verification-ed25519-key": "rubbish"}, KeyFormatError, "inline"),
        ({"sign-verify": "true", "verification-dummy-file": "/none"}, KeyFormatError, "no key files"),
        ({"gpg-verify": "perhaps"}, FormatError, "no boolean"),
    ],
)
def test_a_configuration_that_cannot_be_followed_is_an_error_at_once(
    repo: Repo, places: Places, options: dict[str, str], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        verifier(repo, {**NO_GPG, **options}, places)


def test_a_remote_that_does_not_exist_is_an_error(repo: Repo) -> None:
    with pytest.raises(NotFoundError, match="none"):
        verifier_for(repo, "none")


def test_the_caller_can_demand_more_or_less_than_the_configuration(repo: Repo, places: Places) -> None:
    assert not verifier(repo, BY_KEY, places, sign_verify=False).checks_commits
    assert not verifier(repo, {}, places, gpg_verify=False).checks_commits
    assert verifier(repo, NO_GPG, places, sign_verify=True).checks_commits
    assert verifier(repo, NO_GPG, places, gpg_verify_summary=True).checks_summary_by_gpg


def test_a_summary_must_be_signed_if_the_configuration_says_so(repo: Repo, places: Places) -> None:
    by = verifier(repo, {**BY_KEY, "sign-verify": "false", "sign-verify-summary": "ed25519"}, places)
    assert by.checks_summary
    assert not by.checks_commits
    signed = signed_summary(b"the summary", [OTHER, KEY])
    assert [one.key for one in by.verify_summary(b"the summary", signed)] == [KEY.public.hex]
    for signature, told in (
        (None, "no summary.sig found"),
        (b"rubbish", "No signatures found"),
        (encode_detached({"ostree.sign.ed25519": Variant("s", "x")}), "No signatures found"),
        (signed_summary(b"another summary", [KEY]), "couldn't be verified"),
    ):
        with pytest.raises(SignatureError, match=told):
            by.verify_summary(b"the summary", signature)


def test_a_summary_without_the_gpg_signature_that_is_demanded_is_refused(repo: Repo, places: Places) -> None:
    by = verifier(repo, {"gpg-verify-summary": "true"}, places)
    with pytest.raises(SignatureError, match=r"GPG verification enabled, but no summary\.sig found"):
        by.verify_summary(b"summary", None)
    with pytest.raises(SignatureError, match="no signatures found"):
        by.verify_summary(b"summary", b"rubbish")
