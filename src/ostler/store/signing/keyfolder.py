"""A folder of ed25519 keys: those that sign, those that are trusted, those that no longer are.

The files are named as libostree's in `/etc/ostree`, so that such a folder can be one: `trusted.ed25519` and
`revoked.ed25519` have public keys. `secret.ed25519` has the secret keys of who publishes; each of them signs.

Keys are rotated in two steps, since a machine believes only the keys that it has already: first a new key signs beside
the old one, and new images trust both (`rotate`); when every machine runs such an image the old key is revoked.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ostler.errors import NotFoundError
from ostler.io.files import atomic_write
from ostler.store.errors import StoreError
from ostler.store.signing.ed25519 import PublicKey, SecretKey, read_revoked_keys, read_secret_keys
from ostler.store.signing.errors import KeyFormatError

SECRET, TRUSTED, REVOKED = "secret.ed25519", "trusted.ed25519", "revoked.ed25519"
_IGNORE = ".gitignore"


class KeyFolderError(StoreError):
    """A change of keys that would do harm or nothing."""


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key and what a folder says of it."""

    key: PublicKey
    signs: bool
    trusted: bool
    revoked: bool

    def to_json(self) -> dict[str, object]:
        """For `--json`."""
        return {"key": str(self.key), "signs": self.signs, "trusted": self.trusted, "revoked": self.revoked}


@dataclass(frozen=True, slots=True)
class KeyFolder:
    """The keys of a folder: `of` reads them, the methods return a changed copy, `write` replaces the files."""

    path: Path
    secret: tuple[SecretKey, ...] = ()
    trusted: tuple[PublicKey, ...] = ()
    revoked: tuple[PublicKey, ...] = ()

    @staticmethod
    def of(path: Path) -> "KeyFolder":
        """The keys in the folder `path`, which may be missing; raises `KeyFormatError`."""
        secret, trusted, revoked = path / SECRET, path / TRUSTED, path / REVOKED
        return KeyFolder(
            path,
            read_secret_keys(secret) if secret.exists() else (),
            read_revoked_keys(trusted) if trusted.exists() else (),
            read_revoked_keys(revoked) if revoked.exists() else (),
        )

    def known(self) -> tuple[KnownKey, ...]:
        """Every key once: first those that sign, then other trusted ones, then revoked ones."""
        signing = [key.public for key in self.secret]
        every = dict.fromkeys([*signing, *self.trusted, *self.revoked])
        return tuple(KnownKey(key, key in signing, key in self.trusted, key in self.revoked) for key in every)

    def signers(self) -> tuple[SecretKey, ...]:
        """The secret keys whose signatures machines believe; empty in a folder without keys.

        Raises `KeyFolderError` if keys are trusted, but none of them can sign here: machines would refuse everything.
        """
        good = tuple(key for key in self.secret if key.public in self.trusted and key.public not in self.revoked)
        if good or not (self.secret or self.trusted):
            return good
        if not self.secret:
            raise KeyFolderError(
                f"{self.path / TRUSTED} says which signatures machines believe, but {self.path / SECRET} is missing, "
                "so nothing can be signed here",
                hint="copy the secret key here from where it was made; without it machines refuse what is published",
            )
        raise KeyFolderError(
            f"no secret key in {self.path / SECRET} is trusted by {self.path / TRUSTED}",
            hint="`ostler keys list` shows them; `ostler keys trust KEY` trusts one, `ostler keys rotate` makes one",
        )

    def make(self) -> "KeyFolder":
        """With a first signing key; raises `KeyFolderError` if there is one."""
        if self.secret:
            raise KeyFolderError(
                f"{self.path / SECRET} exists: there is a signing key already",
                hint="`ostler keys rotate` puts another beside it",
            )
        return self._with_new_key()

    def rotate(self) -> "KeyFolder":
        """With another signing key beside the present ones; raises `KeyFolderError` if there is none yet."""
        if not self.secret:
            raise KeyFolderError(f"{self.path} has no signing key to rotate", hint="make one with `ostler keys make`")
        return self._with_new_key()

    def trust(self, key: PublicKey) -> "KeyFolder":
        """With `key` trusted; raises `KeyFolderError` if it is already, or is revoked."""
        if key in self.revoked:
            raise KeyFolderError(
                f"the key {key} is revoked", hint=f"if that was wrong, remove its line from {self.path / REVOKED}"
            )
        if key in self.trusted:
            raise KeyFolderError(f"the key {key} is trusted already", hint=f"it is in {self.path / TRUSTED}")
        return KeyFolder(self.path, self.secret, (*self.trusted, key), self.revoked)

    def revoke(self, key: PublicKey, *, last_too: bool = False) -> "KeyFolder":
        """With `key` revoked: no longer trusted, and never to sign again.

        Raises `KeyFolderError` if it is revoked already, or unless `last_too` if no trusted key would be left.
        """
        if key in self.revoked and key not in self.trusted:
            raise KeyFolderError(f"the key {key} is revoked already", hint=f"it is in {self.path / REVOKED}")
        trusted = tuple(one for one in self.trusted if one != key)
        if self.trusted and not trusted and not last_too:
            raise KeyFolderError(
                f"{key} is the only key that is trusted: without it machines would refuse every new version",
                hint="`ostler keys rotate` first, publish, and revoke when every machine runs what was published",
            )
        secret = tuple(one for one in self.secret if one.public != key)
        return KeyFolder(self.path, secret, trusted, tuple(dict.fromkeys((*self.revoked, key))))

    def find(self, name: str, others: Iterable[PublicKey] = ()) -> PublicKey:
        """The key of this folder (or of `others`) whose base64 or hex form begins with `name`, or any given whole.

        Raises `NotFoundError` (none, or several).
        """
        known = list(dict.fromkeys([*(one.key for one in self.known()), *others]))
        found = [key for key in known if str(key).startswith(name) or key.hex.startswith(name.lower())]
        if name and len(found) == 1:
            return found[0]
        try:
            return PublicKey.parse(name)
        except KeyFormatError as error:
            if found:
                raise NotFoundError(f"several keys begin with `{name}`", hint="give more of the key") from error
            shown = ", ".join(map(str, known)) or "none"
            raise NotFoundError(
                f"`{name}` is neither a public key nor the beginning of one in {self.path}", hint=f"keys there: {shown}"
            ) from error

    def write(self) -> None:
        """Make the folder's files say this. In an order in which a crash leaves no key trusted that should not be."""
        before = KeyFolder.of(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        if self.secret and not (self.path / _IGNORE).exists():
            atomic_write(self.path / _IGNORE, f"# A secret must not get into version control.\n/{SECRET}\n".encode())
        if self.revoked != before.revoked:
            atomic_write(self.path / REVOKED, _text(self.revoked))
        if self.secret and self.secret != before.secret:
            lines = "".join(f"{key.text()}\n" for key in self.secret)
            atomic_write(self.path / SECRET, lines.encode(), mode=0o600)
        if self.trusted != before.trusted:
            atomic_write(self.path / TRUSTED, _text(self.trusted))
        if not self.secret:
            (self.path / SECRET).unlink(missing_ok=True)

    def _with_new_key(self) -> "KeyFolder":
        key = SecretKey.generate()
        return KeyFolder(self.path, (*self.secret, key), (*self.trusted, key.public), self.revoked)


def _text(keys: Sequence[PublicKey]) -> bytes:
    return "".join(f"{key}\n" for key in keys).encode()
