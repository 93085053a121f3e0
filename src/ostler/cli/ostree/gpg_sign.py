"""`ostree gpg-sign`."""

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.options import flag, text
from ostler.cli.ostree.places import places
from ostler.cli.ostree.revisions import resolve


def run(call: Call) -> None:
    """Add GPG signatures to a commit, or delete those by some keys."""
    if not call.arguments:
        call.usage_error("Need a COMMIT to sign")
    rev, *keys = call.arguments
    if not keys:
        call.usage_error("Need at least one GPG KEY-ID to sign with")
    commit = resolve(call.repo, rev)
    if call.flag("delete"):
        from ostler.store.signing.gpg_commits import delete_gpg_signatures

        call.out(f"Signatures deleted: {delete_gpg_signatures(call.repo, commit, keys, places())}")
        return
    from ostler.cli.ostree.signatures import gpg_home
    from ostler.store.signing.gpg_commits import sign_commit_by_gpg

    for key in keys:
        sign_commit_by_gpg(call.repo, commit, key, gpg_home(call), places())


VERB = Verb(
    run,
    "COMMIT KEY-ID...",
    (
        flag("delete", "Delete signatures by the GPG keys", "d"),
        text("gpg-homedir", "HOMEDIR", "The folder of GPG that the keys are in"),
    ),
)
