"""`signing/`: the keys by which versions of the machine are signed, and those that machines believe."""

import stat

from ostler.definition.errors import Findings
from ostler.definition.lists import Place, read_text
from ostler.definition.model import Signing
from ostler.store.signing.ed25519 import PublicKey, SecretKey
from ostler.store.signing.errors import KeyFormatError
from ostler.store.signing.keyfolder import REVOKED, SECRET, TRUSTED

FOLDER = "signing"
_OTHERS = "someone else than you can read it, and sign versions that every machine installs"


def read_signing(place: Place, findings: Findings) -> Signing:
    """The public keys of the folder; what is wrong with its files is noted."""
    if not (place.path / FOLDER).exists():
        return Signing()
    trusted, revoked = (_read(place, f"{FOLDER}/{name}", findings) for name in (TRUSTED, REVOKED))
    for key in sorted(set(trusted) & set(revoked)):
        findings.error(
            place.show(f"{FOLDER}/{TRUSTED}"), trusted[key], "this key is revoked too", f"{REVOKED} says so; remove one"
        )
    _check_secret(place, findings)
    return Signing(tuple(trusted), tuple(revoked))


def _read(place: Place, relative: str, findings: Findings) -> dict[str, int]:
    """Each key and its line."""
    found: dict[str, int] = {}
    for number, raw in enumerate((read_text(place, relative, findings) or "").split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        try:
            found.setdefault(str(PublicKey.parse(line)), number)
        except KeyFormatError as error:
            if _is_secret(line):
                hint = "revoke its public half: who has read this file can sign versions that every machine installs"
                findings.error(place.show(relative), number, "THIS IS A SECRET KEY, which must never be here", hint)
            else:
                findings.error(place.show(relative), number, error.message, "`ostler keys list` shows keys as they are")
    return found


def _is_secret(line: str) -> bool:
    try:
        SecretKey.parse(line)
    except KeyFormatError:
        return False
    return True


def _check_secret(place: Place, findings: Findings) -> None:
    path = place.path / FOLDER / SECRET
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:  # none here, which is fine: only publishing needs it
        return
    if mode & 0o077:
        shown = place.show(f"{FOLDER}/{SECRET}")
        findings.warn(shown, None, f"has mode {mode:04o}: {_OTHERS}", f"`chmod 600 {shown}`")
