"""`ostree summary`."""

from collections.abc import Mapping

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.metadata import parsed
from ostler.cli.ostree.options import Failure, flag, many, text
from ostler.formats.gvariant import Variant


def run(call: Call) -> None:
    """Write or print the summary."""
    if call.flag("update"):
        _update(call)
    elif call.flag("view") or call.flag("raw"):
        _print(call)
    else:
        raise Failure("No option specified; use -u to update summary")


def _update(call: Call) -> None:
    from ostler.cli.ostree.signatures import signer_keys
    from ostler.store.summary import commit_metadata_ref, write_summary

    signers = signer_keys(call)
    additional: Mapping[str, Variant] = parsed(call.many("add-metadata"))
    if call.repo.config.get("core", "collection-id"):
        commit = commit_metadata_ref(call.repo, additional=additional)
        if signers:
            from ostler.store.signing.sign import sign_commit

            sign_commit(call.repo, commit, signers)
    write_summary(call.repo, additional=additional, always=True)
    if signers:
        from ostler.store.signing.sign import sign_summary

        sign_summary(call.repo, signers)


def _print(call: Call) -> None:
    from ostler.cli.ostree.dump import print_summary

    try:
        data = (call.repo.path / "summary").read_bytes()
    except FileNotFoundError as error:
        raise Failure("openat(summary): No such file or directory") from error
    print_summary(call, data, raw=call.flag("raw"))


VERB = Verb(
    run,
    "",
    (
        flag("update", "Write the summary anew", "u"),
        flag("view", "Print the summary", "v"),
        flag("raw", "Print the summary as GVariant text"),
        many("gpg-sign", "KEY-ID", "Sign the summary with this GPG key"),
        text("gpg-homedir", "HOMEDIR", "The GPG folder with the keys"),
        many("sign", "KEY-ID", "Sign the summary with this key"),
        text("sign-type", "NAME", "The type of the key (default: ed25519)"),
        many("add-metadata", "KEY=VALUE", "Add this to the metadata; VALUE is GVariant text", "m"),
    ),
)
