"""The GPG keyrings that libostree has for remotes: which keys are trusted for one, importing and listing them.

A remote's own keyring is `REMOTE.trustedkeys.gpg` in the repository, for the system's repository also beside its
remotes in `/etc/ostree/remotes.d`; `gpgkeypath` names more files or folders. Where a remote has no keyring of its
own, those of the system count too.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ostler.formats.gvariant import FormatError
from ostler.formats.keyfile import unescape
from ostler.formats.openpgp import public_keys, unarmored
from ostler.formats.refs import validate_remote
from ostler.io.files import atomic_write
from ostler.store.remotes import find_remote
from ostler.store.signing.errors import KeyFormatError
from ostler.store.signing.gpg import GpgTrust, run_gpg, scratch_home, usual_home
from ostler.store.signing.gpg_listing import GpgKey
from ostler.store.signing.places import USUAL, Places

if TYPE_CHECKING:
    from ostler.store.repo import Remote, Repo

MAX_KEYRING = 16 * 1024 * 1024
"""The largest file of GPG keys in bytes."""

_SUFFIX = ".trustedkeys.gpg"
_NEW_KEY = 1


def keyring_for(repo: "Repo", remote: "Remote | None", places: Places = USUAL) -> GpgTrust:
    """The keys that are trusted for a remote; None: those of all remotes of the repository, and the system's.

    Raises `KeyFormatError` for files that are named and cannot be used.
    """
    if remote is None:
        rings = [*_keyrings_in(repo.path), *_keyrings_in(places.keyrings)]
        return GpgTrust(b"".join(_read_keyring(path) for path in rings))
    own = _own_keyring(repo, remote.name)
    parts = [_read_keyring(own)] if own is not None else []
    parts += [key for path in _key_paths(remote) for key in _read_key_path(places.resolve(path), path)]
    if own is None:
        parts += [_read_keyring(path) for path in _keyrings_in(places.keyrings)]
    return GpgTrust(b"".join(parts))


def keyring_with_home(repo: "Repo", home: Path | None, places: Places = USUAL) -> GpgTrust:
    """The keys of all remotes and of the system, and those in the keyrings (`*.gpg`) of a folder besides."""
    known = keyring_for(repo, None, places)
    if home is None:
        return known
    return GpgTrust(known.keyring + b"".join(_read_keyring(path) for path in _keyrings_in(home)))


def list_keys(repo: "Repo", remote: str | None, places: Places = USUAL) -> tuple[GpgKey, ...]:
    """The keys that are trusted for a remote in particular, or (None) those of the system, for remotes without."""
    if remote is None:
        return _keys(b"".join(_read_keyring(path) for path in _keyrings_in(places.keyrings)))
    known = find_remote(repo, remote)
    own = _own_keyring(repo, remote)
    parts = [_read_keyring(own)] if own is not None else []
    parts += [key for path in _key_paths(known) for key in _read_key_path(places.resolve(path), path)]
    return _keys(b"".join(parts))


def import_keys(
    repo: "Repo",
    remote: str,
    sources: Sequence[bytes] | None,
    key_ids: Sequence[str] = (),
    home: Path | None = None,
) -> int:
    """Add keys to a remote's own keyring, and return how many of them it did not have.

    `sources` are contents of key files, armored or not; None: the keys of the GPG home folder `home` (None: the usual
    one). With `key_ids` only those keys of them. Keys that are there already are brought up to date (expiry,
    revocation). Raises `NotFoundError` (no such remote, no such key), `KeyFormatError`, `MissingToolError`.
    """
    find_remote(repo, remote)
    data = _exported(home, key_ids) if sources is None else _selected(sources, key_ids)
    path = repo.path / (validate_remote(remote) + _SUFFIX)
    with scratch_home(path.read_bytes() if path.exists() else b"") as target:
        said = run_gpg(target, "--status-fd", "1", "--import", input=data, check=False).text
        imported = [line.split() for line in said.splitlines() if line.startswith("[GNUPG:] IMPORT_OK ")]
        if not imported:
            raise KeyFormatError(
                f"no GPG key could be imported for the remote {remote}",
                hint="give files that `gpg --export` has written, armored or not",
            )
        atomic_write(path, (target / "keyring.gpg").read_bytes(), durable=repo.fsync)
    return sum(bool(int(words[2]) & _NEW_KEY) for words in imported)


def _selected(sources: Sequence[bytes], key_ids: Sequence[str]) -> bytes:
    if any(len(source) > MAX_KEYRING for source in sources):
        raise KeyFormatError(f"what should be GPG keys is larger than {MAX_KEYRING >> 20} MiB")
    try:
        # Packets of different files can stand in a row; armored blocks cannot.
        data = b"".join(unarmored(source) for source in sources)
    except FormatError as error:
        raise KeyFormatError(f"GPG: Unable to import keys: {error.message}", hint="export them anew") from error
    if not key_ids:
        return data
    with scratch_home(b"") as source_home:
        run_gpg(source_home, "--import", input=data, check=False)
        keys = GpgTrust((source_home / "keyring.gpg").read_bytes()).keys(key_ids)
        return run_gpg(source_home, "--export", *(key.fingerprint for key in keys)).stdout


def _exported(home: Path | None, key_ids: Sequence[str]) -> bytes:
    data = run_gpg(home or usual_home(), "--export", own_keyring=False).stdout
    return _selected([data], key_ids) if key_ids else data


def _keys(keyring: bytes) -> tuple[GpgKey, ...]:
    return GpgTrust(keyring).keys() if keyring else ()


def _own_keyring(repo: "Repo", remote: str) -> Path | None:
    """The file of the remote's keyring, if it has one."""
    name = validate_remote(remote) + _SUFFIX
    for folder in (repo.path, repo.remotes_folder):
        if folder is not None and (folder / name).is_file():
            return folder / name
    return None if repo.parent is None else _own_keyring(repo.parent, remote)


def _keyrings_in(folder: Path) -> list[Path]:
    """The keyrings of a folder, but not GnuPG's other files of that suffix."""
    if not folder.is_dir():
        return []
    others = ("trustdb.gpg", "secring.gpg")
    return sorted(p for p in folder.iterdir() if p.suffix == ".gpg" and p.name not in others and p.is_file())


def _key_paths(remote: "Remote") -> list[str]:
    value = remote.options.get("gpgkeypath", "")
    if ";" in value and "," in value:
        raise KeyFormatError(
            f"gpgkeypath={value}: key value list contains more than one separator", hint="separate paths by commas"
        )
    parts = [unescape(part) for part in value.replace(";", ",").split(",")]
    return parts[:-1] if not parts[-1] else parts


def _read_key_path(path: Path, named: str) -> Iterator[bytes]:
    """The keys of a file, or of each file of a folder that is one of keys."""
    if not named or not path.exists():
        raise KeyFormatError(
            f"the gpgkeypath ({named}) cannot be opened: No such file or directory", hint="correct it or put keys there"
        )
    if not path.is_dir():
        yield _read_keyring(path)
        return
    for file in sorted(path.iterdir()):
        if file.is_file() and not file.is_symlink():
            try:
                yield _read_keyring(file)
            except KeyFormatError:
                continue  # a folder may hold other things


def _read_keyring(path: Path) -> bytes:
    """The public keys of a file, in binary form."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_KEYRING:
                raise KeyFormatError(f"the keyring {path} is larger than {MAX_KEYRING >> 20} MiB")
            return public_keys(unarmored(file.read()))
    except FormatError as error:
        raise KeyFormatError(
            f"the keyring {path} is no file of GPG keys: {error.message}", hint="write it with `gpg --export`"
        ) from error
    except OSError as error:
        raise KeyFormatError(f"the keyring {path} cannot be read: {error.strerror}") from error
