"""GPG signatures, by the programs of GnuPG: `gpgv` (or `gpg`) checks them, `gpg` makes them.

Keyrings are bytes here; each run of a program has a home folder of its own, which is gone afterwards.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ostler.errors import NotFoundError
from ostler.formats.openpgp import is_detached_signature
from ostler.store.signing.errors import SignatureError
from ostler.store.signing.gpg_listing import GpgKey, parse_keys
from ostler.store.signing.gpg_status import GpgSignature, parse_status
from ostler.store.signing.kinds import Verified

if TYPE_CHECKING:
    from ostler.io.process import Result

NAME = "gpg"
METADATA_KEY = "ostree.gpgsigs"
_KEYRING = "keyring.gpg"


@contextmanager
def scratch_home(keyring: bytes | None = None) -> Iterator[Path]:
    """A home folder for GnuPG that is removed in the end, with that keyring (None: none) as `keyring.gpg`."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="ostler-gpg-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        if keyring is not None:
            (home / _KEYRING).write_bytes(keyring)
        yield home


def run_gpg(
    home: Path, *words: str | Path, own_keyring: bool = True, input: bytes | None = None, check: bool = True
) -> "Result":
    """Run `gpg` with a home folder, using its `keyring.gpg` only, or (not `own_keyring`) what is usual there.

    Raises `MissingToolError` and, with `check`, `CommandError`.
    """
    from ostler.io.process import require_tool, run

    tool = require_tool("gpg", package="gnupg")
    common: list[str | Path] = ["--batch", "--no-tty", "--homedir", home]
    if own_keyring:
        common += ["--no-options", "--no-autostart", "--no-auto-check-trustdb", "--trust-model", "always"]
        common += ["--no-default-keyring", "--keyring", home / _KEYRING]
    return run([tool, *common, *words], input=input, check=check)


@dataclass(frozen=True, slots=True)
class GpgTrust:
    """Trust in every key of a keyring (public keys in binary form) that has not expired and is not revoked."""

    keyring: bytes

    kind = NAME
    metadata_key = METADATA_KEY

    def examine(self, data: bytes, signatures: Sequence[bytes]) -> tuple[GpgSignature, ...]:
        """What is to be known of each signature, good or not; bytes that are none are passed over.

        Raises `SignatureError` if they all are, and `MissingToolError`.
        """
        from ostler.io.process import MissingToolError, find_tool, run

        gpgv, gpg = find_tool("gpgv"), find_tool("gpg")
        if gpgv is None and gpg is None:
            raise MissingToolError(
                "GPG signatures need the program `gpgv` or `gpg`; neither is installed",
                hint="install one of them: `apt-get install gpgv`",
            )
        # A message that is signed as a whole would be a good signature of itself, whatever lies beside it.
        blob = b"".join(one for one in signatures if is_detached_signature(one))
        with scratch_home(self.keyring) as home:
            signature, signed = home / "signature", home / "signed"
            signature.write_bytes(blob)
            signed.write_bytes(data)
            if gpgv is not None:
                argv: list[str | Path] = [
                    gpgv,
                    "--homedir",
                    home,
                    "--keyring",
                    home / _KEYRING,
                    "--status-fd",
                    "1",
                    signature,
                    signed,
                ]
                said = run(argv, check=False).text
            else:
                words = ("--status-fd", "1", "--verify", signature, signed)
                said = run_gpg(home, *words, check=False).text
            found = parse_status(said)
            if not found:
                raise SignatureError(
                    "GPG: Unable to complete signature verification: what should be signatures are none",
                    hint="sign the commit anew",
                )
            keys = parse_keys(run_gpg(home, *LISTING, check=False).text) if gpg is not None else ()
        return tuple(signature_.with_key(keys) for signature_ in found)

    def check(self, data: bytes, signatures: Sequence[bytes]) -> tuple[Verified, ...]:
        """The good ones among the signatures; raises `SignatureError`, which describes the bad ones, if none is."""
        if not signatures:
            raise SignatureError("No GPG signatures found")
        found = self.examine(data, signatures)
        good = tuple(Verified(NAME, one.fingerprint, one.describe("GPG: ").rstrip("\n")) for one in found if one.valid)
        if not good:
            said = "".join(one.describe() for one in reversed(found))
            raise SignatureError(said.rstrip("\n"), hint="trust the publisher's key, or ask for one that still holds")
        return good

    def keys(self, ids: Sequence[str] = ()) -> tuple[GpgKey, ...]:
        """The keys, or those named by key id, fingerprint or user; raises `NotFoundError` for one that is not there."""
        with scratch_home(self.keyring) as home:
            if not ids:
                return parse_keys(run_gpg(home, *LISTING).text)
            return tuple(_named(home, name) for name in ids)


_COLONS = ("--with-colons", "--fixed-list-mode", "--with-fingerprint", "--with-fingerprint")
LISTING = (*_COLONS, "--list-keys")
"""Arguments by which gpg lists keys so that `parse_keys` understands it."""


def _named(home: Path, name: str) -> GpgKey:
    found = parse_keys(run_gpg(home, *LISTING, "--", name, check=False).text)
    if not found:
        raise NotFoundError(
            f'GPG: Unable to find key "{name}"', hint="give a fingerprint of 40 digits or a key id of 16"
        )
    return found[0]


def usual_home() -> Path:
    """The home folder of GnuPG of the user who runs this."""
    import pwd

    return Path(pwd.getpwuid(os.getuid()).pw_dir) / ".gnupg"


@dataclass(frozen=True, slots=True)
class GpgSigner:
    """A secret GPG key in the home folder `home` (None: the usual one), named by key id, fingerprint or user."""

    key_id: str
    home: Path | None = None

    kind = NAME
    metadata_key = METADATA_KEY

    def sign(self, data: bytes) -> bytes:
        """A binary detached signature. Raises `NotFoundError`, `MissingToolError`, `SignatureError`."""
        from ostler.io.process import CommandError

        key = self.key()
        with scratch_home() as scratch:
            signed, output = scratch / "signed", scratch / "signature"
            signed.write_bytes(data)
            words = ("--local-user", key.fingerprint, "--no-armor", "--detach-sign", "--output", output, signed)
            try:
                run_gpg(self.home or usual_home(), *words, own_keyring=False)
            except CommandError as error:
                raise SignatureError(
                    f"Failure signing commit file: gpg cannot sign with the key {self.key_id}\n{error.message}",
                    hint="if the key has a passphrase, let gpg-agent know it first (`gpg --sign` anything)",
                ) from error
            return output.read_bytes()

    def key(self) -> GpgKey:
        """The key itself; raises `NotFoundError` if there is none, or `SignatureError` if several have that name."""
        words = (*_COLONS, "--list-secret-keys", "--", self.key_id)
        found = parse_keys(run_gpg(self.home or usual_home(), *words, own_keyring=False, check=False).text)
        if not found:
            raise NotFoundError(
                f"No gpg key found with ID {self.key_id} (homedir: {self.home or '<default>'})",
                hint="`gpg --list-secret-keys` shows the keys that can sign",
            )
        if len(found) > 1:
            raise SignatureError(
                f"gpg key id {self.key_id} ambiguous (homedir: {self.home or '<default>'}). Try the fingerprint instead"
            )
        return found[0]
