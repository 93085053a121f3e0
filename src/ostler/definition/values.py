"""Reading single values of `ostler.toml`: a reader checks one kind, notes what is wrong, and returns the typed value.

A reader returns None only after it has noted an error.
"""

import re
from collections.abc import Callable
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from ostler.definition.document import Node, kind_of
from ostler.definition.errors import Findings, nearest
from ostler.definition.model import Base, MiB, Mirror
from ostler.definition.names import Complaint, check_machine_name, check_package_name, check_user_name
from ostler.errors import OstlerError
from ostler.formats.refs import validate_ref

SUITES = {"trixie": "13"}  # suites a base can be composed from, with their version numbers
FILESYSTEMS = ("ext4",)
OTHER_SUITES = ("bookworm", "bullseye", "forky", "sid", "stable", "testing", "unstable", "oldstable")
IMAGE_SCHEMES = ("docker", "oci", "oci-archive", "containers-storage", "registry", "docker-archive", "dir", "image")
REGISTRY_SCHEMES = ("docker", "oci", "oci-archive", "registry", "ostree-image-signed", "ostree-unverified-registry")
VERSION = r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,63}"
COMPONENT = r"[A-Za-z0-9][A-Za-z0-9+._/-]*"
SIZE = r"(?P<number>[0-9]+(\.[0-9]+)?) ?(?P<unit>[KMGT])(?P<form>i?B)?"
MODE = r"0?[0-7]{3,4}"
MAX_DISK_BYTES = 2**50
RESERVED_ARGUMENTS = {
    "ostree": "Ostler sets it, for each version another",
    "root": "Ostler sets it to the root file system of each disk, by its UUID",
    "BOOT_IMAGE": "the boot loader sets it",
    "initrd": "the boot loader loads the initramfs by itself",
}
_SERVER = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+(:[0-9]+)?|[A-Za-z0-9.-]+:[0-9]+", re.ASCII)
_POWERS = {"K": 1, "M": 2, "G": 3, "T": 4}


def text(node: Node, findings: Findings) -> str | None:
    """Text that is not empty and has no control characters."""
    value = node.value
    if not isinstance(value, str):
        hint = f'write it in double quotes: {node.key} = "{value}"' if type(value) in (int, float) else None
        node.error(findings, f"`{node.key}` must be text, but is {kind_of(value)}", hint)
        return None
    if not value or value != value.strip():
        wrong = "is empty" if not value.strip() else "begins or ends with a blank"
        node.error(
            findings, f"`{node.key}` {wrong}", "write a value, or remove the line" if not value.strip() else None
        )
        return None
    if not value.isprintable():
        node.error(findings, f"`{node.key}` has a line break or another control character in it")
        return None
    return value


def text_list(node: Node, findings: Findings, *, example: str) -> list[Node] | None:
    """The elements of a list of text, as nodes."""
    if not isinstance(node.value, list):
        hint = f"write {node.key} = [{example}]"
        if isinstance(node.value, str):
            hint = f'write {node.key} = ["{node.value}"]'
        node.error(findings, f"`{node.key}` must be a list, but is {kind_of(node.value)}", hint)
        return None
    members = [member for member in node.members() if text(member, findings) is not None]
    return members if len(members) == len(node.value) else None


def checked_text(check: Callable[[str], Complaint | None]) -> Callable[[Node, Findings], str | None]:
    """A reader of text that `check` has no complaint about."""

    def read(node: Node, findings: Findings) -> str | None:
        value = text(node, findings)
        complaint = check(value) if value is not None else None
        if complaint is None:
            return value
        node.error(findings, complaint.message, complaint.hint)
        return None

    return read


machine_name = checked_text(check_machine_name)
package_name = checked_text(check_package_name)


def base(node: Node, findings: Findings) -> Base | None:
    """`debian:SUITE`."""
    value = text(node, findings)
    if value is None:
        return None
    kind, colon, rest = value.partition(":")
    usual = f'write base = "debian:{next(iter(SUITES))}"'
    if kind in IMAGE_SCHEMES and colon:
        node.error(findings, f'"{value}" is an image, and images are not supported as a base yet', usual)
    elif kind == "debian" and rest in SUITES:
        return Base("debian", rest)
    elif kind != "debian" or not colon:
        meant = nearest(value if colon else kind, [f"debian:{suite}" for suite in SUITES] + list(SUITES))
        hint = usual if meant else f"{usual}; other distributions are not supported yet"
        node.error(findings, f'"{value}" is not a base that Ostler knows', hint)
    elif rest in OTHER_SUITES:
        node.error(findings, f'Debian\'s suite "{rest}" is not supported as a base', usual)
    else:
        by_number = [suite for suite, number in SUITES.items() if number == rest]
        meant = by_number[0] if by_number else nearest(rest, SUITES)
        hint = f'did you mean "debian:{meant}"?' if meant else usual
        node.error(findings, f'Debian has no suite "{rest}" that Ostler knows', hint)
    return None


def version(node: Node, findings: Findings) -> str | None:
    """What people call this version of the machine."""
    value = text(node, findings)
    if value is None or re.fullmatch(VERSION, value, re.ASCII):
        return value
    hint = "it has letters, digits and `._+~-`, begins with a letter or digit, and has at most 64 characters"
    node.error(findings, f'"{value}" cannot be a version', hint)
    return None


def mirrors(node: Node, findings: Findings) -> tuple[Mirror, ...] | None:
    """One address or source line, or a list of them. A suite that is not said is filled in later (here "")."""
    if isinstance(node.value, str):
        one = _mirror(node, findings)
        return None if one is None else (one,)
    if not isinstance(node.value, list):
        node.error(findings, f"`mirror` must be text or a list of texts, but is {kind_of(node.value)}")
        return None
    found = [_mirror(member, findings) for member in node.members()]
    kept = tuple(mirror for mirror in found if mirror is not None)
    return kept if len(kept) == len(found) else None


def _mirror(node: Node, findings: Findings) -> Mirror | None:
    value = text(node, findings)
    if value is None:
        return None
    example = '"deb URL SUITE main"'
    words = value.split()
    if words[0] == "deb-src":
        node.error(findings, "source packages are not used", f"remove it, or write {example}")
        return None
    if words[0] == "deb":
        words = words[1:]
        if words and words[0].startswith("["):
            hint = "archives are verified with the keys that apt trusts on the builder; remove the brackets"
            node.error(findings, "options of an apt source line are not supported", hint)
            return None
        if len(words) < 3:
            node.error(findings, f'"{value}" lacks an address, a suite or a component', f"write {example}")
            return None
    elif len(words) > 1:
        node.error(findings, f'"{value}" is neither an address nor an apt source line', f"write {example}")
        return None
    uri = _url(node, words[0], findings, schemes=("http", "https", "file"))
    if uri is None:
        return None
    bad = next((word for word in words[1:] if not re.fullmatch(COMPONENT, word, re.ASCII)), None)
    if bad is not None:
        node.error(findings, f'"{bad}" is not the name of a suite or a component', f"write {example}")
        return None
    return (
        Mirror(words[0].rstrip("/"), words[1], tuple(words[2:])) if len(words) > 1 else Mirror(words[0].rstrip("/"), "")
    )


def kernel_arguments(node: Node, findings: Findings) -> tuple[str, ...] | None:
    """Arguments for the kernel's command line, one an element."""
    members = text_list(node, findings, example='"console=ttyS0"')
    if members is None:
        return None
    seen: dict[str, Node] = {}
    for member in members:
        argument = str(member.value)
        complaint = _check_kernel_argument(argument)
        if complaint is None and argument in seen:
            complaint = Complaint(
                f'the kernel argument "{argument}" is given twice', f"line {seen[argument].line} has it"
            )
        if complaint:
            member.error(findings, complaint.message, complaint.hint)
        seen.setdefault(argument, member)
    return tuple(seen)


def _check_kernel_argument(argument: str) -> Complaint | None:
    words = argument.split()
    if len(words) > 1:
        shown = ", ".join(f'"{word}"' for word in words)
        return Complaint(f'"{argument}" is {len(words)} kernel arguments', f"write each on its own: [{shown}]")
    if not argument.isascii():
        return Complaint(f'the kernel argument "{argument}" has characters beyond ASCII')
    if any(quote in argument for quote in "\"'\\"):
        return Complaint(f"the kernel argument `{argument}` has a quote or a backslash in it", "write it without")
    name = argument.partition("=")[0]
    if name in RESERVED_ARGUMENTS and "=" in argument:
        return Complaint(f"`{name}=` cannot be set here: {RESERVED_ARGUMENTS[name]}", "remove it")
    return None


def disk_size(node: Node, findings: Findings) -> int | Literal["auto"] | None:
    """`auto`, or a size in bytes, rounded down to whole MiB."""
    example = 'write size = "auto" or a size such as "8GiB"'
    if isinstance(node.value, int) and not isinstance(node.value, bool):
        node.error(findings, f"the size {node.value} has no unit", f'write it as text: size = "{node.value}GiB"')
        return None
    value = text(node, findings)
    if value is None or value == "auto":
        return "auto" if value else None
    match = re.fullmatch(SIZE, value, re.ASCII)
    if match is None:
        node.error(findings, f'"{value}" is not a size', f"{example} (units: K, M, G, T; GiB is 1024³, GB is 1000³)")
        return None
    unit = (1000 if match["form"] == "B" else 1024) ** _POWERS[match["unit"]]
    whole, _, part = match["number"].partition(".")
    size: int = (int(whole) * unit + (int(part) * unit // 10 ** len(part) if part else 0)) // MiB * MiB
    if not MiB <= size <= MAX_DISK_BYTES:
        limit = "smaller than 1 MiB" if size < MiB else "larger than 1024 TiB"
        node.error(findings, f'the size "{value}" is {limit}', example)
        return None
    return size


def filesystem(node: Node, findings: Findings) -> str | None:
    """The file system of the root."""
    value = text(node, findings)
    if value is None or value in FILESYSTEMS:
        return value
    meant = "ext4 is the one that is supported so far"
    node.error(findings, f'the root file system "{value}" is not supported', f'write filesystem = "ext4"; {meant}')
    return None


def ref(node: Node, findings: Findings) -> str | None:
    """The name of a ref in a repository."""
    value = text(node, findings)
    if value is None:
        return None
    if ":" in value:
        after = value.rpartition(":")[2]
        node.error(findings, f'"{value}" names a remote', f'write the ref alone: ref = "{after}"')
        return None
    try:
        return validate_ref(value)
    except OstlerError as error:
        node.error(findings, f'"{value}" cannot be a ref', error.hint)
        return None


def keep(node: Node, findings: Findings) -> int | None:
    """How many deployments stay on a machine."""
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int):
        node.error(findings, f"`keep` must be a whole number, but is {kind_of(value)}", "write keep = 2")
        return None
    if value < 2:
        node.error(findings, f"keep = {value} would leave nothing to go back to", "write 2 or more")
        return None
    return value


def update_source(node: Node, findings: Findings) -> str | None:
    """The address or folder of the repository that machines update from."""
    value = text(node, findings)
    if value is None:
        return None
    scheme = _scheme(value)
    if scheme in REGISTRY_SCHEMES:
        hint = "write the http(s) address of a folder made by `ostler publish`"
        node.error(findings, "updates from a registry are not supported yet", hint)
        return None
    if scheme is None:
        return _folder_text(node, value, findings)
    return _url(node, value, findings, schemes=("http", "https", "file"))


def publish_place(node: Node, findings: Findings) -> str | None:
    """The folder, or the place behind SSH or in a bucket, to publish into."""
    value = text(node, findings)
    if value is None:
        return None
    scheme = _scheme(value)
    if scheme in ("http", "https"):
        hint = 'write the folder that the web server serves: to = "/srv/www/web"; its address belongs in [update] from'
        node.error(findings, f'"{value}" is an address, and one cannot publish over HTTP', hint)
        return None
    if scheme is None:
        return _folder_text(node, value, findings)
    if _url(node, value, findings, schemes=("file", "ssh", "s3")) is None:
        return None
    if scheme == "ssh" and urlsplit(value).path in ("", "/"):
        node.error(findings, f'"{value}" names no folder on that machine', 'write to = "ssh://USER@HOST/srv/www/web"')
        return None
    return value


def endpoint(node: Node, findings: Findings) -> str | None:
    """The address of an S3-compatible server."""
    value = text(node, findings)
    return None if value is None else _url(node, value, findings, schemes=("https", "http"))


def _folder_text(node: Node, value: str, findings: Findings) -> str | None:
    if value.startswith("~"):
        node.error(findings, f'"{value}": `~` is not expanded here', "write the whole path")
        return None
    first = value.partition("/")[0]
    if "@" in first or (":" in first and not _SERVER.fullmatch(first)):
        node.error(findings, f'"{value}" is neither an address nor a folder', 'write "https://…" or a folder\'s path')
        return None
    if _SERVER.fullmatch(first):
        hint = f'write "https://{value}" for an address, "./{value}" for a folder'
        node.error(findings, f'"{value}" could be a server or a folder', hint)
        return None
    return value


def _scheme(value: str) -> str | None:
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):(?![0-9]+(/|$))", value)
    return match[1].lower() if match else None


def _url(node: Node, value: str, findings: Findings, *, schemes: tuple[str, ...]) -> str | None:
    """The address, if it is one of a kind in `schemes` that says where things are and nothing else."""
    wanted = f"write an address that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}"
    scheme = _scheme(value)
    if scheme not in schemes:
        said = f"{scheme}: addresses are not supported here" if scheme else f'"{value}" is not an address'
        node.error(findings, said, wanted)
        return None
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError as error:
        node.error(findings, f'"{value}" is not an address: {error}', wanted)
        return None
    wrong = _address_fault(parts, value)
    if wrong:
        node.error(findings, f'"{value}" {wrong}', wanted)
        return None
    if parts.password is not None:
        hint = "take it out of the address; ostler.toml and machines would carry it in the clear"
        findings.warn(node.document.shown, node.line, f"`{node.key}` has a password in it", hint)
    return value


def _address_fault(parts: SplitResult, value: str) -> str | None:
    if any(character.isspace() for character in value):
        return "has a blank in it"
    if parts.query or parts.fragment or value.endswith(("?", "#")):
        return "has a query or fragment (`?…`, `#…`), which a repository's address cannot have"
    if parts.scheme == "file":
        return (
            None if parts.netloc == "" and parts.path.startswith("/") else "is not file:///PATH with an absolute path"
        )
    return None if parts.hostname else "has no server in it"


def file_mode(node: Node, findings: Findings) -> int | None:
    """Permission bits, as octal text."""
    value = node.value
    if isinstance(value, int) and not isinstance(value, bool):
        node.error(findings, f"the mode {value} is a decimal number", 'write it as text in octal: mode = "0640"')
        return None
    written = text(node, findings)
    if written is None:
        return None
    if not re.fullmatch(MODE, written, re.ASCII):
        node.error(findings, f'"{written}" is not a mode', 'write three or four octal digits: mode = "0640"')
        return None
    return int(written, 8)


def owner(node: Node, findings: Findings) -> str | int | None:
    """A user's or group's name in the image, or its number."""
    value = node.value
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value < 2**32 - 1:
            return value
        node.error(findings, f"{value} cannot be the number of a user or group", "numbers go from 0 to 4294967294")
        return None
    name = text(node, findings)
    if name is None:
        return None
    if name.isascii() and name.isdigit():
        node.error(findings, f'"{name}" is text', f"write a number without quotes: {node.key} = {int(name)}")
        return None
    complaint = check_user_name(name)
    if complaint:
        hint = "a user and a group are two keys: { owner = …, group = … }" if ":" in name else complaint.hint
        node.error(findings, complaint.message, hint)
        return None
    return name
