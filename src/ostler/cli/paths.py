"""Where things are kept, from the environment: the only module that reads these variables."""

import os
from pathlib import Path


def cache_directory() -> Path:
    """The builder's cache: $OSTLER_CACHE, else $XDG_CACHE_HOME/ostler, else ~/.cache/ostler."""
    explicit = os.environ.get("OSTLER_CACHE")
    if explicit:
        return Path(explicit).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ostler"


def own_key_directory() -> Path:
    """Where `ostler init` keeps the ssh key pair it makes for people who have none."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "ostler" / "ssh"


def ssh_public_key() -> Path | None:
    """The user's own ssh public key, the best kind first; then the pair that `ostler init` made; or None."""
    folder = Path.home() / ".ssh"
    for candidate in (
        *(folder / f"id_{kind}.pub" for kind in ("ed25519", "ecdsa", "rsa")),
        own_key_directory() / "id_ed25519.pub",
    ):
        if candidate.is_file():
            return candidate
    return None


def http_proxy() -> str | None:
    """The proxy for package archives, from the usual variables."""
    return os.environ.get("http_proxy") or os.environ.get("HTTP_PROXY")
