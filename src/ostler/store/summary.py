"""The summary of a repository: which refs it has, in one file, so that clients need not guess names.

Format `(a(s(taya{sv}))a{sv})`: per ref, ascending, the size of the commit object (in bytes, little-endian, unlike the
other numbers), its checksum and metadata; then metadata of the whole. See libostree's `ostree-repo.c`.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from ostler.formats import gvariant
from ostler.formats.gvariant import FormatError, Variant
from ostler.formats.objects import Checksum
from ostler.io.files import atomic_write
from ostler.store.repo import Repo

SUMMARY_TYPE = "(a(s(taya{sv}))a{sv})"
MAX_SUMMARY = 128 * 1024 * 1024
LAST_MODIFIED = "ostree.summary.last-modified"


@dataclass(frozen=True, slots=True)
class SummaryEntry:
    """One ref in a summary; `size` is that of the commit object in bytes."""

    commit: Checksum
    size: int
    metadata: Mapping[str, Variant] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Summary:
    """The refs of a repository, and metadata of the repository as a whole."""

    refs: Mapping[str, SummaryEntry]
    metadata: Mapping[str, Variant] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The bytes of the file `summary`."""
        entries = [
            (name, (entry.size, bytes.fromhex(entry.commit), entry.metadata))
            for name, entry in sorted(self.refs.items(), key=lambda item: item[0].encode())
        ]
        return gvariant.encode(SUMMARY_TYPE, (entries, self.metadata))

    @staticmethod
    def decode(data: bytes) -> "Summary":
        """Parse a file `summary`; raises `FormatError`."""
        entries, metadata = gvariant.decode(SUMMARY_TYPE, data)
        refs = {}
        for name, (size, raw, extra) in entries:
            if len(raw) != 32:
                raise FormatError(f"the summary has a checksum of {len(raw)} bytes for {name!r}")
            refs[name] = SummaryEntry(Checksum(raw.hex()), size, extra)
        return Summary(refs, metadata)


def summarise(repo: Repo, *, timestamp: int) -> Summary:
    """What the summary of the repository should be. `timestamp` is the time of writing in seconds since 1970."""
    entries = {}
    for ref, checksum in repo.refs().items():
        if ":" in ref:  # refs of remotes are nobody else's business
            continue
        commit = repo.load_commit(checksum)
        metadata = {"ostree.commit.timestamp": Variant("t", _swap(commit.timestamp))}
        version = commit.metadata.get("version")
        if version is not None and version.type == "s":
            metadata["ostree.commit.version"] = version
        entries[ref] = SummaryEntry(checksum, len(commit.encode()), metadata)
    whole = {
        "ostree.summary.mode": Variant("s", str(repo.mode)),
        LAST_MODIFIED: Variant("t", _swap(timestamp)),
        "ostree.summary.tombstone-commits": Variant("b", repo.config.get_bool("core", "tombstone-commits", False)),
    }
    if repo.config.get_bool("core", "indexed-deltas", False):
        whole["ostree.summary.indexed-deltas"] = Variant("b", True)
    return Summary(entries, whole)


def write_summary(repo: Repo, *, timestamp: int | None = None) -> bool:
    """Bring the file `summary` up to date; return whether it had to change.

    `timestamp` is the time to note in it, in seconds since 1970 (None: now). A signature of the old one is removed.
    """
    path = repo.path / "summary"
    summary = summarise(repo, timestamp=int(time.time()) if timestamp is None else timestamp)
    try:
        if _same(Summary.decode(path.read_bytes()), summary):
            return False
    except (OSError, FormatError):
        pass  # none yet, or one that nobody can read
    atomic_write(path, summary.encode(), mode=0o644)
    (repo.path / "summary.sig").unlink(missing_ok=True)
    return True


def _same(old: Summary, new: Summary) -> bool:
    """Whether the two say the same, whenever they were written."""
    old_metadata = {key: value for key, value in old.metadata.items() if key != LAST_MODIFIED}
    new_metadata = {key: value for key, value in new.metadata.items() if key != LAST_MODIFIED}
    return old.refs == new.refs and old_metadata == new_metadata


def _swap(number: int) -> int:
    return int.from_bytes(number.to_bytes(8, "big"), "little")
