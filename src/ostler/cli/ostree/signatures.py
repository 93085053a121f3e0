"""GPG signatures as `ostree` prints them, and the keys that verbs sign with."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ostler.cli.ostree.call import Call
from ostler.cli.ostree.places import places
from ostler.formats.objects import Checksum

if TYPE_CHECKING:
    from ostler.store.signing.gpg import GpgTrust
    from ostler.store.signing.gpg_status import GpgSignature
    from ostler.store.signing.kinds import Signer

GPG_METADATA_KEY = "ostree.gpgsigs"


def gpg_home(call: Call) -> Path | None:
    """GPG's folder as `--gpg-homedir` or the environment names it."""
    named = call.text("gpg-homedir") or os.environ.get("GNUPGHOME")
    return Path(named) if named else None


def signer_keys(call: Call) -> "list[Signer]":
    """The keys of `--sign` (of the type `--sign-type`), `--keys-file` and `--gpg-sign`."""
    found: list[Signer] = []
    keys, keys_file, gpg_keys = call.many("sign"), call.text("keys-file"), call.many("gpg-sign")
    if keys or keys_file is not None:
        from ostler.store.signing.kinds import signer, signers_in_file

        kind = call.text("sign-type") or "ed25519"
        found += (signer(kind, key, places()) for key in keys)
        if keys_file is not None:
            found += signers_in_file(kind, Path(keys_file), places())
    if gpg_keys:
        from ostler.store.signing.gpg import GpgSigner

        found += (GpgSigner(key, gpg_home(call)) for key in gpg_keys)
    return found


def print_gpg_signatures(call: Call, commit: Checksum, homedir: str | None, remote: str | None) -> None:
    """Print what is to be known of the GPG signatures of a commit; nothing if it has none.

    Keys are those trusted for `remote`, or else all that are trusted here, with those in the folder `homedir`.
    """
    if GPG_METADATA_KEY not in call.repo.load_detached(commit):
        return
    from ostler.store.signing.gpg_commits import gpg_signatures

    found = gpg_signatures(call.repo, commit, _trust(call, homedir, remote))
    if found:
        call.out(f"Found {_count(found)}:")
        _describe(call, found)


def print_summary_signatures(call: Call, remote: str, summary: bytes, signatures: bytes) -> None:
    """Print what is to be known of the GPG signatures of a remote's summary, if the remote must have such."""
    from ostler.formats.objects import decode_detached
    from ostler.store.signing.verify import signatures_in, verifier_for

    if verifier_for(call.repo, remote, places=places()).checks_summary_by_gpg:
        found = _trust(call, None, remote).examine(
            summary, signatures_in(decode_detached(signatures), GPG_METADATA_KEY)
        )
        call.out(f"\nGPG: Verification enabled, found {_count(found)}:")
        _describe(call, found)


def _count(found: "Sequence[GpgSignature]") -> str:
    return f"{len(found)} signature{'' if len(found) == 1 else 's'}"


def _describe(call: Call, found: "Sequence[GpgSignature]") -> None:
    import locale

    with suppress(locale.Error):
        locale.setlocale(locale.LC_TIME, "")
    for signature in found:
        call.out("\n" + signature.describe("  "), end="")


def _trust(call: Call, homedir: str | None, remote: str | None) -> "GpgTrust":
    from ostler.store.remotes import find_remote
    from ostler.store.signing.keyrings import keyring_for, keyring_with_home

    if remote is not None:
        return keyring_for(call.repo, find_remote(call.repo, remote), places())
    return keyring_with_home(call.repo, None if homedir is None else Path(homedir), places())
