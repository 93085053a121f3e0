"""Changing what is stored on its way from a folder, tar or tree into a commit: owners, modes, attributes, labels.

A `Modifier` is a filter for `ingest_directory`, `ingest_tar` and `apply_modifier`, with the rules of `ostree commit`.
"""

import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ostler.formats.gvariant import FormatError
from ostler.formats.objects import DirMeta, FileMeta, Xattrs

Meta: TypeAlias = FileMeta | DirMeta
Filter: TypeAlias = Callable[[str, Meta], Meta | None]
"""Given a path without leading "/" ("" is the root) and what it is: what to store instead, or None to leave it out."""

Labels: TypeAlias = Callable[[str, int], str | None]
"""Given an absolute path and `st_mode`: the SELinux label, or None."""

_SELINUX = b"security.selinux"
_WRITE_BITS = 0o222
_RUN_BITS = 0o111


@dataclass(frozen=True, slots=True)
class ModeChange:
    """Bits to add to the mode of a file or directory, or (`override`) all its bits below the type."""

    bits: int
    override: bool = False


def canonical_filter(filter: Filter | None) -> Filter:
    """`filter`, then as a `bare-user-only` repository holds it: root's, without attributes, set-id and sticky bits."""

    def canonical(path: str, found: Meta) -> Meta | None:
        meta = found if filter is None else filter(path, found)
        if isinstance(meta, DirMeta):
            return DirMeta(0, 0, meta.mode & 0o40755)
        if meta is None or not (stat.S_ISREG(meta.mode) or meta.is_symlink):
            return meta
        return FileMeta(0, 0, meta.mode if meta.is_symlink else meta.mode & 0o100755, (), meta.target)

    return canonical


class Modifier:
    """The rules; call it with a path ("usr/bin/x", "" for the root) and what is there. None means: leave it out.

    In this order: owner; executables made read-only; `statoverride` (by absolute path) ; what `skip` names is left out,
    a directory with all that is in it; canonical permissions (root's, no set-id, sticky or group-writable bits, no
    extended attributes); `labels` replace the attribute `security.selinux`.
    """

    def __init__(
        self,
        *,
        owner_uid: int | None = None,
        owner_gid: int | None = None,
        no_xattrs: bool = False,
        canonical_permissions: bool = False,
        read_only_executables: bool = False,
        statoverride: Mapping[str, ModeChange] | None = None,
        skip: Iterable[str] = (),
        labels: Labels | None = None,
    ) -> None:
        self._uid = owner_uid
        self._gid = owner_gid
        self._no_xattrs = no_xattrs or canonical_permissions
        self._canonical = canonical_permissions
        self._read_only = read_only_executables
        self._changes = dict(statoverride or {})
        self._skip = frozenset(skip)
        self.labels = labels
        self._met: set[str] = set()
        self._skipped: set[str] = set()

    @property
    def attributes(self) -> bool:
        """Whether extended attributes of files are of use: `ingest_directory(attributes=…)`."""
        return not self._no_xattrs

    @property
    def unmatched_statoverride(self) -> list[str]:
        """The paths whose bits were to be added that did not come."""
        return sorted(path for path, change in self._changes.items() if not change.override and path not in self._met)

    @property
    def unmatched_skips(self) -> list[str]:
        """The paths to leave out that did not come."""
        return sorted(self._skip - self._skipped)

    def __call__(self, path: str, found: Meta) -> Meta | None:
        """What to store instead of what was found at the path."""
        absolute = "/" + path
        mode = found.mode
        if self._read_only and stat.S_ISREG(mode) and mode & _RUN_BITS:
            mode &= ~_WRITE_BITS
        change = self._changes.get(absolute)
        if change is not None and (change.override or absolute not in self._met):
            mode = stat.S_IFMT(mode) | change.bits if change.override else mode | change.bits
            self._met.add(absolute)
        if absolute in self._skip:
            self._skipped.add(absolute)
            return None
        uid = found.uid if self._uid is None else self._uid
        gid = found.gid if self._gid is None else self._gid
        xattrs: Xattrs = () if self._no_xattrs else found.xattrs
        if self._canonical:
            uid = gid = 0
            if not stat.S_ISLNK(mode):
                mode &= stat.S_IFMT(mode) | 0o755
        if self.labels is not None:
            xattrs = with_label(xattrs, self.labels(absolute, found.mode))
        if isinstance(found, DirMeta):
            return DirMeta(uid, gid, mode, xattrs)
        return FileMeta(uid, gid, mode, xattrs, found.target)


def with_label(xattrs: Xattrs, label: str | None) -> Xattrs:
    """The attributes with that SELinux label in place of theirs; unchanged for None."""
    if label is None:
        return xattrs
    others = [(name, value) for name, value in xattrs if name != _SELINUX]
    return tuple(sorted([*others, (_SELINUX, label.encode() + b"\0")]))


def parse_statoverride(text: str) -> dict[str, ModeChange]:
    """The lines of a statoverride file: "2048 /path" adds bits (decimal, or 0x…), "=420 /path" sets them.

    Empty lines and those that start with "#" are passed over. Raises `FormatError`.
    """
    changes = {}
    for line in _lines(text):
        number, space, path = line.partition(" ")
        if not space:
            raise FormatError(
                "Malformed statoverride file (no space found)", hint=f"{line[:80]!r} is not like `2048 /usr/bin/su`"
            )
        override = number.startswith("=")
        try:
            bits = int(number.removeprefix("="), 16 if "0x" in number.lower() else 10)
        except ValueError as error:
            raise FormatError(f"{number[:80]!r} in a statoverride file is no number") from error
        if not 0 <= bits <= 0o7777:
            raise FormatError(f"{number[:80]!r} in a statoverride file is not a file's mode (decimal numbers)")
        changes[path] = ModeChange(bits, override)
    return changes


def parse_skip_list(text: str) -> frozenset[str]:
    """The paths in a skip list, one a line; empty lines and those that start with "#" are passed over."""
    return frozenset(_lines(text))


def _lines(text: str) -> Iterable[str]:
    return (line for line in text.split("\n") if line and not line.startswith("#"))
