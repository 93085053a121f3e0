"""`overlay/`: what is in it, what of it cannot be or would not arrive on machines, and who owns what (`[overlay]`)."""

import difflib
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from ostler.definition import schema
from ostler.definition.document import Node
from ostler.definition.errors import Findings
from ostler.definition.lists import Place
from ostler.definition.model import Ownership
from ostler.definition.patterns import compile_pattern, has_wildcard, specificity
from ostler.definition.reading import Values

# links in every image, from what would be a directory to where its files are
LINKS_INTO_VAR: Mapping[str, str] = {
    "home": "var/home",
    "mnt": "var/mnt",
    "opt": "var/opt",
    "root": "var/roothome",
    "srv": "var/srv",
    "usr/local": "var/usrlocal",
}
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_INTO_USR = "put what belongs to the image under overlay/usr"
_IN_VAR = f"{_INTO_USR}, and make what must be in /var by a line in overlay/usr/lib/tmpfiles.d"
_FORBIDDEN: Mapping[str, tuple[str, str]] = {
    "usr/etc": ("the image's defaults for /etc are made from overlay/etc", "write overlay/etc"),
    **{name: (f"/{name} is a link to /usr/{name} in the image", f"write overlay/usr/{name}") for name in _MERGED},
    **{name: (f"/{name} belongs to Ostler itself", "move it elsewhere") for name in ("ostree", "sysroot")},
    **{name: (f"/{name} is empty at each boot: nothing of this would arrive", _IN_VAR) for name in ("run", "tmp")},
    "media": ("/media is a link to /run/media, empty at each boot: nothing of this would arrive", _IN_VAR),
    **{name: (f"/{name} is the kernel's: nothing of this would arrive", _INTO_USR) for name in ("proc", "sys", "dev")},
    "boot": ("/boot is a file system of its own: nothing of this would arrive", _INTO_USR),
}
_INSTALLED_ONCE = "copied when a machine is installed, and never updated"
_DOUBTFUL: Mapping[str, tuple[str, str]] = {
    "var": (f"/var belongs to the machine: this is {_INSTALLED_ONCE}", _IN_VAR),
    **{
        name: (f"/{name} is a link to /{target}, which belongs to the machine: this is {_INSTALLED_ONCE}", _IN_VAR)
        for name, target in LINKS_INTO_VAR.items()
    },
    "etc/machine-id": ("all machines would have the same id", "remove it: each machine makes its own"),
}
PLACEHOLDERS = frozenset({".gitkeep", ".keep"})  # keep empty folders in git; not part of the overlay
_HOST_KEY = re.compile(r"etc/ssh/ssh_host_[a-z0-9]+_key\Z")
_SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


class Kind(Enum):
    """What an entry of the overlay is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of `[overlay]`, with its place."""

    node: Node
    pattern: str
    ownership: Ownership


def scan_overlay(place: Place, findings: Findings) -> dict[str, Kind]:
    """Every path in the overlay with its kind; notes what cannot be read or copied, and what would not arrive."""
    top = place.path / "overlay"
    if not top.exists() and not top.is_symlink():
        return {}
    if not top.is_dir():
        findings.error(place.show("overlay"), None, "must be a folder", "its content is copied to / of the machine")
        return {}
    found: dict[str, Kind] = {}
    _walk_overlay(place, "", found, findings)
    _note_places(place, found, findings)
    return found


def _walk_overlay(place: Place, below: str, found: dict[str, Kind], findings: Findings) -> None:
    relative = f"overlay/{below}" if below else "overlay"
    try:
        entries = sorted(os.scandir(place.path / relative), key=lambda entry: entry.name)
    except OSError as error:
        hint = f"try `chmod u+rx {place.show(relative)}`"
        findings.error(place.show(relative), None, f"cannot be read: {error.strerror}", hint)
        return
    for entry in entries:
        path = f"{below}/{entry.name}" if below else entry.name
        if entry.name in PLACEHOLDERS or not _acceptable_name(place, path, entry.name, findings):
            continue
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            found[path] = Kind.SYMLINK
        elif stat.S_ISDIR(mode):
            found[path] = Kind.DIRECTORY
            _walk_overlay(place, path, found, findings)
        elif stat.S_ISREG(mode):
            found[path] = Kind.FILE
            _note_unreadable(place, path, findings)
        else:
            what = _SPECIAL.get(stat.S_IFMT(mode), "a special file")
            hint = "an image has files, folders and symbolic links; have systemd-tmpfiles make it at boot"
            findings.error(place.show(f"overlay/{path}"), None, f"is {what}, which an image cannot have", hint)


def _acceptable_name(place: Place, path: str, name: str, findings: Findings) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        shown = os.fsencode(place.show(f"overlay/{path}")).decode("utf-8", "backslashreplace")
        findings.error(shown, None, "its name is not UTF-8", "rename it")
        return False
    if name.startswith(".wh."):
        hint = "rename it; to leave out a file of a package, remove it in a Containerfile"
        message = "names that begin with `.wh.` mean removed files in image layers"
        findings.error(place.show(f"overlay/{path}"), None, message, hint)
        return False
    return True


def _note_unreadable(place: Place, path: str, findings: Findings) -> None:
    try:
        descriptor = os.open(place.path / "overlay" / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        shown = place.show(f"overlay/{path}")
        findings.error(shown, None, f"cannot be read: {error.strerror}", f"try `chmod u+r {shown}`")
    else:
        os.close(descriptor)


def _note_places(place: Place, found: Mapping[str, Kind], findings: Findings) -> None:
    for path, (why, instead) in _FORBIDDEN.items():
        if path in found:
            findings.error(place.show(f"overlay/{path}"), None, why, instead)
    for path, (why, instead) in _DOUBTFUL.items():
        if path in found:
            findings.warn(place.show(f"overlay/{path}"), None, why, instead)
    for path in found:
        if _HOST_KEY.match(path):
            why = "a private key in the image: all machines would have it, and whoever gets the image"
            findings.warn(place.show(f"overlay/{path}"), None, why, "remove it: each machine makes its own")


def read_rules(entries: Iterable[tuple[Node, Values]], findings: Findings) -> list[Rule]:
    """The entries of `[overlay]` whose patterns make sense; the others are noted."""
    rules = []
    for node, values in entries:
        wrong = _pattern_fault(node.key)
        if wrong is not None:
            node.error(findings, f'"{node.key}" {wrong[0]}', wrong[1])
            continue
        ownership = Ownership(values.get(schema.OWNER), values.get(schema.GROUP), values.get(schema.MODE))
        rules.append(Rule(node, node.key, ownership))
    return rules


def _pattern_fault(pattern: str) -> tuple[str, str] | None:
    parts = pattern.split("/")
    cleaned = "/".join(part for part in parts if part not in ("", "."))
    if ".." in parts:
        return "climbs out of the overlay", "write a path without `..`"
    if parts[0] == "overlay" and len(parts) > 1:
        return "begins with overlay/, but paths are those on the machine", f'write "{cleaned.partition("/")[2]}"'
    if cleaned != pattern:
        return "is not a plain relative path", f'write "{cleaned}"' if cleaned else "write a path below overlay/"
    try:
        compile_pattern(pattern)
    except re.error as error:
        return f"is not a pattern: {error.msg}", 'write "etc/sudoers.d/*", for example'
    return None


def resolve_rules(rules: Sequence[Rule], found: Mapping[str, Kind], findings: Findings) -> dict[str, Ownership]:
    """What the rules say of each path that they say anything of. Notes rules without effect and contradictions."""
    resolved: dict[str, Ownership] = {}
    used: set[str] = set()
    for path, kind in found.items():
        matching = [rule for rule in rules if compile_pattern(rule.pattern).match(path)]
        used.update(rule.pattern for rule in matching)
        if not matching:
            continue
        wild = [rule for rule in matching if has_wildcard(rule.pattern)]
        for_mode = matching if kind is Kind.FILE else [rule for rule in matching if rule not in wild]
        if kind is Kind.SYMLINK:
            _note_link_modes(path, for_mode, findings)
            for_mode = []
        owner = _decide(path, [(rule, rule.ownership.owner) for rule in matching], "owner", findings)
        group = _decide(path, [(rule, rule.ownership.group) for rule in matching], "group", findings)
        mode = _decide(path, [(rule, rule.ownership.mode) for rule in for_mode], "mode", findings)
        ownership = Ownership(
            owner.ownership.owner if owner else None,
            group.ownership.group if group else None,
            mode.ownership.mode if mode else None,
        )
        if ownership != Ownership():
            resolved[path] = ownership
    for rule in rules:
        if rule.pattern not in used:
            close = difflib.get_close_matches(rule.pattern, found, n=1, cutoff=0.75)
            hint = f'did you mean "{close[0]}"?' if close else "write a path that is there, or remove the line"
            rule.node.error(findings, f'"{rule.pattern}" fits nothing in overlay/', hint)
    return resolved


def _note_link_modes(path: str, rules: Sequence[Rule], findings: Findings) -> None:
    for rule in rules:
        if rule.ownership.mode is not None:
            rule.node.error(findings, f'"{path}" is a symbolic link, which has no mode', "remove `mode`")


def _decide(path: str, choices: Iterable[tuple[Rule, object]], what: str, findings: Findings) -> Rule | None:
    """The most specific rule that gives a value (not None); two equally specific ones must give the same."""
    given = [(specificity(rule.pattern), rule, value) for rule, value in choices if value is not None]
    if not given:
        return None
    best = max(rank for rank, _rule, _value in given)
    (first, value), *others = [(rule, value) for rank, rule, value in given if rank == best]
    for rule, other in others:
        if other != value:
            message = f'"{rule.pattern}" and "{first.pattern}" give "{path}" a different {what}'
            rule.node.error(findings, message, f'write "{path}" with the {what} that is meant')
    return first
