"""`ostree sign`: signatures of the types that libostree calls "signapi"."""

from pathlib import Path

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.options import Failure, flag, text
from ostler.cli.ostree.places import places
from ostler.cli.ostree.revisions import resolve
from ostler.formats.objects import Checksum

SIGN_TYPE = text("sign-type", "NAME", "The type of the signatures: ed25519 (default) or dummy", "s")
KEYS_FILE = text("keys-file", "NAME", "Read keys from this file too, one a line")
KEYS_DIR = text("keys-dir", "NAME", "Where trusted and revoked keys are, in place of the system's folders")


def sign_type(call: Call) -> str:
    """The value of `--sign-type`."""
    return call.text("sign-type") or "ed25519"


def run(call: Call) -> None:
    """Sign a commit, or verify that it is signed."""
    verify = call.flag("verify")
    if not call.arguments:
        call.usage_error("Need a COMMIT to sign or verify")
    rev, *keys = call.arguments
    if not verify and not keys and call.text("keys-file") is None:
        call.usage_error("Need at least one KEY-ID to sign with")
    commit = resolve(call.repo, rev)
    if verify:
        _verify(call, commit, keys)
    else:
        _sign(call, commit, keys)


def _sign(call: Call, commit: Checksum, keys: list[str]) -> None:
    from ostler.store.signing.kinds import signer, signers_in_file
    from ostler.store.signing.sign import sign_commit

    where, keys_file = places(), call.text("keys-file")
    signers = [signer(sign_type(call), key, where) for key in keys]
    if keys_file is not None:
        signers += signers_in_file(sign_type(call), Path(keys_file), where)
    sign_commit(call.repo, commit, signers)


def _verify(call: Call, commit: Checksum, keys: list[str]) -> None:
    from ostler.store.signing.errors import KeyFormatError, SignatureError
    from ostler.store.signing.kinds import check_kind, trust_in_file, trust_in_keys, trust_of_system
    from ostler.store.signing.sign import check_commit

    kind, keys_file = check_kind(sign_type(call)), call.text("keys-file")
    where = places(call.text("keys-dir"))
    for key in keys:  # one at a time: a key that is none makes the others no worse
        try:
            call.out(check_commit(call.repo, commit, trust_in_keys(kind, [key], where)).message)
            return
        except (KeyFormatError, SignatureError):
            continue
    if keys and keys_file is None:
        raise Failure("No valid signatures found")
    trust = trust_of_system(kind, where) if keys_file is None else trust_in_file(kind, Path(keys_file), where)
    call.out(check_commit(call.repo, commit, trust).message)


VERB = Verb(
    run,
    "COMMIT KEY-ID...",
    (
        flag("delete", "Delete signatures by the keys", "d"),
        flag("verify", "Verify signatures instead of making them"),
        SIGN_TYPE,
        KEYS_FILE,
        KEYS_DIR,
    ),
)
