"""The ssh key that a new machine folder is given."""

from pathlib import Path

from ostler.errors import OstlerError
from ostler.io.process import require_tool, run


def make_key_pair(folder: Path) -> Path:
    """Make an ed25519 key pair without a passphrase in `folder` (mode 0700); returns the public key's path."""
    tool = require_tool("ssh-keygen", package="openssh-client")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    private = folder / "id_ed25519"
    if not private.with_suffix(".pub").exists():
        run([tool, "-q", "-t", "ed25519", "-N", "", "-C", "ostler", "-f", private])
    return private.with_suffix(".pub")


def read_public_key(path: Path) -> str:
    """The text of an ssh public key file. Raises `OstlerError` if it is a private key or cannot be read."""
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise OstlerError(
            f"the ssh public key {path} cannot be read: {error}", hint="name one with --ssh-key FILE"
        ) from error
    if "PRIVATE KEY" in text:
        raise OstlerError(f"{path} is a private key; it must not go into a machine folder", hint=f"use {path}.pub")
    return text
