"""Keys as `gpg --with-colons` lists them, and as libostree prints them (see `doc/DETAILS` of GnuPG)."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

_ESCAPED = re.compile(r"\\x([0-9a-fA-F]{2})")
_USER = re.compile(r"^(?P<name>[^<(]*?)\s*(?:\((?P<comment>.*)\)\s*)?(?:<(?P<email>[^<>]*)>)?\s*$")
_ZBASE32 = "ybndrfg8ejkmcpqxot1uwisza345h769"


@dataclass(frozen=True, slots=True)
class GpgSubkey:
    """A key or subkey; times are seconds since 1970 (`expires` 0: never)."""

    fingerprint: str
    created: int
    expires: int
    revoked: bool
    expired: bool
    invalid: bool


@dataclass(frozen=True, slots=True)
class GpgUser:
    """A user id of a key; `uid` is the whole of it."""

    uid: str
    revoked: bool = False
    invalid: bool = False

    @property
    def name(self) -> str:
        """The name without comment and address."""
        match = _USER.match(self.uid)
        return match["name"] if match else self.uid

    @property
    def email(self) -> str:
        """The address, or the empty string."""
        match = _USER.match(self.uid)
        found = (match["email"] or "") if match else ""
        return found or (self.uid if _is_address(self.uid) else "")

    def directory_urls(self) -> tuple[str, str] | None:
        """Where a Web Key Directory would have the key (advanced, direct); None for users without an address."""
        if not _is_address(self.email):
            return None
        from hashlib import sha1

        local, domain = self.email.split("@")
        hashed = zbase32(sha1(_lower(local).encode(), usedforsecurity=False).digest())
        name = quote(local, safe="")
        direct = f"https://{domain}/.well-known/openpgpkey/hu/{hashed}?l={name}"
        return f"https://openpgpkey.{domain}/.well-known/openpgpkey/{_lower(domain)}/hu/{hashed}?l={name}", direct


@dataclass(frozen=True, slots=True)
class GpgKey:
    """A key with its subkeys (the key itself first) and users."""

    subkeys: tuple[GpgSubkey, ...]
    users: tuple[GpgUser, ...] = field(default=())

    @property
    def fingerprint(self) -> str:
        """That of the primary key."""
        return self.subkeys[0].fingerprint

    def describe(self) -> str:
        """The lines that `ostree remote gpg-list-keys` prints."""
        primary, *others = self.subkeys
        return "".join([*_subkey_lines("", "Key", primary), *self._user_lines(), *_others_lines(others)])

    def _user_lines(self) -> Iterator[str]:
        for user in self.users:
            yield f"  UID: {user.uid}{_flags(user)}\n"
            advanced, direct = user.directory_urls() or ("", "")
            yield f"  Advanced update URL: {advanced}\n  Direct update URL: {direct}\n"


def parse_keys(text: str) -> tuple[GpgKey, ...]:
    """The keys of a listing with `--with-colons --fixed-list-mode` and `--with-fingerprint` twice."""
    found: list[GpgKey] = []
    subkeys: list[GpgSubkey] = []
    users: list[GpgUser] = []
    record: list[str] = []

    def finish() -> None:
        if subkeys:
            found.append(GpgKey(tuple(subkeys), tuple(users)))
        subkeys.clear()
        users.clear()

    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) < 10:
            continue
        if fields[0] in ("pub", "sec"):
            finish()
        if fields[0] in ("pub", "sec", "sub", "ssb"):
            record = fields
        elif fields[0] == "fpr" and record:
            subkeys.append(_subkey(fields[9], record))
            record = []
        elif fields[0] == "uid":
            uid = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), fields[9])
            users.append(GpgUser(uid, fields[1] == "r", fields[1] == "i"))
    finish()
    return tuple(found)


def local_time(timestamp: int) -> str:
    """A time as libostree prints it here: local, in the locale's form."""
    return time.strftime("%c", time.localtime(timestamp))


def zbase32(data: bytes) -> str:
    """The base 32 of Web Key Directories."""
    bits = len(data) * 8
    padded = int.from_bytes(data, "big") << (-bits % 5)
    count = -(-bits // 5)
    return "".join(_ZBASE32[padded >> 5 * (count - 1 - index) & 31] for index in range(count))


def _subkey(fingerprint: str, fields: list[str]) -> GpgSubkey:
    return GpgSubkey(
        fingerprint, _number(fields[5]), _number(fields[6]), fields[1] == "r", fields[1] == "e", fields[1] == "i"
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def _is_address(text: str) -> bool:
    return text.count("@") == 1 and not text.startswith("@") and not text.endswith("@") and " " not in text


def _lower(text: str) -> str:
    """Lower case of ASCII letters only."""
    return "".join(char.lower() if char.isascii() else char for char in text)


def _flags(of: GpgSubkey | GpgUser) -> str:
    return (" (revoked)" if of.revoked else "") + (" (invalid)" if of.invalid else "")


def _subkey_lines(indent: str, what: str, subkey: GpgSubkey) -> Iterator[str]:
    yield f"{indent}{what}: {subkey.fingerprint}{_flags(subkey)}\n"
    yield f"{indent}  Created: {local_time(subkey.created)}\n"
    if subkey.expires:
        yield f"{indent}  {'Expired' if subkey.expired else 'Expires'}: {local_time(subkey.expires)}\n"


def _others_lines(subkeys: list[GpgSubkey]) -> Iterator[str]:
    for subkey in subkeys:
        yield from _subkey_lines("  ", "Subkey", subkey)
