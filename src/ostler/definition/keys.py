"""`keys/USER`: the ssh public keys by which a user may log in (sshd(8), AUTHORIZED_KEYS FILE FORMAT)."""

import base64
import binascii
import re

from ostler.definition.errors import Findings, nearest
from ostler.definition.lists import Place, read_text
from ostler.definition.names import Complaint, check_user_name

KEY_TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
EXAMPLE = "ssh-ed25519 AAAA… you@example"
_PRIVATE = re.compile(r"-----BEGIN .*PRIVATE KEY-----|PuTTY-User-Key-File-")
_OPTION = r'[A-Za-z0-9-]+(?:="(?:[^"\\]|\\.)*")?'
_OPTIONS = re.compile(rf"{_OPTION}(?:,{_OPTION})*[ \t]+", re.ASCII)


def read_keys(place: Place, findings: Findings) -> dict[str, tuple[str, ...]]:
    """Key lines by user, without comments and blank lines; users without any are left out."""
    folder = place.path / "keys"
    if not folder.exists():
        return {}
    if not folder.is_dir():
        findings.error(place.show("keys"), None, "must be a folder, but is a file", "put your key in keys/root")
        return {}
    keys: dict[str, tuple[str, ...]] = {}
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        findings.error(place.show("keys"), None, f"cannot be read: {error.strerror}")
        return {}
    for name in names:
        if name.startswith(".") or name.endswith("~"):
            continue
        lines = _read_user(place, name, findings)
        if lines:
            keys[name] = lines
    return keys


def _read_user(place: Place, name: str, findings: Findings) -> tuple[str, ...]:
    relative = f"keys/{name}"
    complaint = check_user_name(name)
    if complaint is not None:
        hint = "the file is named for the user who logs in: keys/root"
        findings.error(place.show(relative), None, complaint.message, hint)
        if (place.path / relative).is_dir():
            return ()
    text = read_text(place, relative, findings)
    seen: dict[str, int] = {}
    for number, raw in enumerate((text or "").split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if _PRIVATE.search(line):
            hint = (
                "remove it here and from version control, make a new pair, and put the .pub file here: "
                "who has read this file can log in"
            )
            findings.error(place.show(relative), number, "THIS IS A PRIVATE KEY, which must never be here", hint)
            return ()
        wrong = check_key_line(line)
        if wrong is not None:
            findings.error(place.show(relative), number, wrong.message, wrong.hint)
            if line.startswith("---- BEGIN"):
                return ()
        elif line in seen:
            findings.error(place.show(relative), number, "this key is here twice", f"line {seen[line]} has it already")
        seen.setdefault(line, number)
    return tuple(seen)


def check_key_line(line: str) -> Complaint | None:
    """What is wrong with one line, which may begin with options; None if sshd would take it."""
    if line.startswith("---- BEGIN SSH2"):
        return Complaint("a public key in another form than OpenSSH's", "convert it with `ssh-keygen -i -f FILE`")
    words = line.split(None, 2)
    if words[0] not in KEY_TYPES:
        options = _OPTIONS.match(line)
        rest = line[options.end() :].split(None, 2) if options else []
        if rest and (rest[0] in KEY_TYPES or rest[0].startswith(("ssh-", "ecdsa-", "sk-"))):
            words = rest
    kind = words[0]
    if kind == "ssh-dss":
        return Complaint("DSA keys are no longer accepted by OpenSSH", "make one with `ssh-keygen -t ed25519`")
    if kind not in KEY_TYPES:
        close = nearest(kind, KEY_TYPES)
        hint = f"did you mean `{close}`?" if close else f"a line has a type, the key and a comment: {EXAMPLE}"
        return Complaint(f"`{kind[:40]}` is not a type of ssh public key", hint)
    if len(words) < 2:
        return Complaint(f"the key is missing after `{kind}`", f"a line has a type, the key and a comment: {EXAMPLE}")
    return _check_blob(kind, words[1])


def _check_blob(kind: str, encoded: str) -> Complaint | None:
    """The key itself is base64 of length-prefixed strings, the first of which repeats the type (RFC 4253, 6.6)."""
    hint = "copy the whole line of the .pub file again"
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return Complaint("the key is damaged: it is not base64", hint)
    strings = []
    at = 0
    while at + 4 <= len(blob):
        end = at + 4 + int.from_bytes(blob[at : at + 4], "big")
        strings.append(blob[at + 4 : end])
        at = end
    if at != len(blob) or len(strings) < 2:
        return Complaint("the key is damaged: it is cut off or has something added", hint)
    if strings[0] != kind.encode():
        return Complaint(f"the line says `{kind}`, but the key is `{strings[0].decode('ascii', 'replace')[:40]}`", hint)
    return None
