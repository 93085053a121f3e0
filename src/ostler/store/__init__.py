"""The OSTree repository: objects, refs, trees; commit, checkout, pull, static deltas, signatures, prune, fsck.

Byte-compatible with libostree, whose locks and staging it shares. The names in `__all__` are the public API, described
with examples in docs/reference/store-api.md; modules below this package may change. A name is imported with its module
when it is first asked for, so that `from ostler.store import Repo` costs no more than that class.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ostler.formats.gvariant import Variant
    from ostler.formats.objects import Checksum, Commit, DirMeta, FileMeta, ObjectType
    from ostler.store.archives import ingest_archive
    from ostler.store.checkout import checkout
    from ostler.store.checkout_options import Checkout, CheckoutOptions, OnExisting
    from ostler.store.combine import apply_modifier, overlay, subtree_at
    from ostler.store.commit import bootable_metadata, commit_tree
    from ostler.store.composefs import composefs_digest, composefs_metadata, write_composefs
    from ostler.store.copy import copy_objects
    from ostler.store.delta.generate import DeltaOptions, DeltaStats
    from ostler.store.delta.generate import generate as generate_delta
    from ostler.store.delta.index import reindex as reindex_deltas
    from ostler.store.delta.listing import delete_delta, describe_delta, list_deltas
    from ostler.store.delta.offline import apply_offline as apply_delta
    from ostler.store.diff import TreeDiff, diff
    from ostler.store.errors import ChecksumMismatchError, StoreError, UnsupportedFileError
    from ostler.store.export import export_tar
    from ostler.store.fsck import FsckOptions, FsckResult, examine, fsck
    from ostler.store.ingest import ingest_directory
    from ostler.store.ingest_tar import ingest_tar
    from ostler.store.inodes import hard_links, inode_index
    from ostler.store.inspect import Entry, cat, listing, log
    from ostler.store.layers import apply_layer, bootable_tree, diff_layers, merge_layers
    from ostler.store.modifier import Modifier
    from ostler.store.needs import Problem
    from ostler.store.prune import PruneResult, prune
    from ostler.store.pull import PullResult, pull, pull_local, remote_refs
    from ostler.store.pull_options import PullOptions, UseDeltas
    from ostler.store.remotes import Remote, add_remote, delete_remote
    from ostler.store.repair import RepairResult, repair
    from ostler.store.repo import CommitState, Repo, RepoMode
    from ostler.store.signing.ed25519 import PublicKey, SecretKey
    from ostler.store.signing.errors import SignatureError
    from ostler.store.signing.kinds import Verified, trust_in_file, trust_in_keys, trust_of_system
    from ostler.store.signing.sign import check_commit, sign_commit, sign_summary
    from ostler.store.signing.verify import Verifier, verifier_for
    from ostler.store.summary import summarise, write_summary
    from ostler.store.transaction import Transaction, TransactionStats
    from ostler.store.tree import Directory, load_commit_tree, load_tree, write_tree

__all__ = [
    "Checkout",
    "CheckoutOptions",
    "Checksum",
    "ChecksumMismatchError",
    "Commit",
    "CommitState",
    "DeltaOptions",
    "DeltaStats",
    "DirMeta",
    "Directory",
    "Entry",
    "FileMeta",
    "FsckOptions",
    "FsckResult",
    "Modifier",
    "ObjectType",
    "OnExisting",
    "Problem",
    "PruneResult",
    "PublicKey",
    "PullOptions",
    "PullResult",
    "Remote",
    "RepairResult",
    "Repo",
    "RepoMode",
    "SecretKey",
    "SignatureError",
    "StoreError",
    "Transaction",
    "TransactionStats",
    "TreeDiff",
    "UnsupportedFileError",
    "UseDeltas",
    "Variant",
    "Verified",
    "Verifier",
    "add_remote",
    "apply_delta",
    "apply_layer",
    "apply_modifier",
    "bootable_metadata",
    "bootable_tree",
    "cat",
    "check_commit",
    "checkout",
    "commit_tree",
    "composefs_digest",
    "composefs_metadata",
    "copy_objects",
    "delete_delta",
    "delete_remote",
    "describe_delta",
    "diff",
    "diff_layers",
    "examine",
    "export_tar",
    "fsck",
    "generate_delta",
    "hard_links",
    "ingest_archive",
    "ingest_directory",
    "ingest_tar",
    "inode_index",
    "list_deltas",
    "listing",
    "load_commit_tree",
    "load_tree",
    "log",
    "merge_layers",
    "overlay",
    "prune",
    "pull",
    "pull_local",
    "reindex_deltas",
    "remote_refs",
    "repair",
    "sign_commit",
    "sign_summary",
    "subtree_at",
    "summarise",
    "trust_in_file",
    "trust_in_keys",
    "trust_of_system",
    "verifier_for",
    "write_composefs",
    "write_summary",
    "write_tree",
]

_MODULES = {
    "ostler.formats.gvariant": "Variant",
    "ostler.formats.objects": "Checksum Commit DirMeta FileMeta ObjectType",
    "ostler.store.archives": "ingest_archive",
    "ostler.store.checkout": "checkout",
    "ostler.store.checkout_options": "Checkout CheckoutOptions OnExisting",
    "ostler.store.combine": "apply_modifier overlay subtree_at",
    "ostler.store.commit": "bootable_metadata commit_tree",
    "ostler.store.composefs": "composefs_digest composefs_metadata write_composefs",
    "ostler.store.copy": "copy_objects",
    "ostler.store.delta.generate": "DeltaOptions DeltaStats generate_delta",
    "ostler.store.delta.index": "reindex_deltas",
    "ostler.store.delta.listing": "delete_delta describe_delta list_deltas",
    "ostler.store.delta.offline": "apply_delta",
    "ostler.store.diff": "TreeDiff diff",
    "ostler.store.errors": "ChecksumMismatchError StoreError UnsupportedFileError",
    "ostler.store.export": "export_tar",
    "ostler.store.fsck": "FsckOptions FsckResult examine fsck",
    "ostler.store.ingest": "ingest_directory",
    "ostler.store.ingest_tar": "ingest_tar",
    "ostler.store.inodes": "hard_links inode_index",
    "ostler.store.inspect": "Entry cat listing log",
    "ostler.store.layers": "apply_layer bootable_tree diff_layers merge_layers",
    "ostler.store.modifier": "Modifier",
    "ostler.store.needs": "Problem",
    "ostler.store.prune": "PruneResult prune",
    "ostler.store.pull": "PullResult pull pull_local remote_refs",
    "ostler.store.pull_options": "PullOptions UseDeltas",
    "ostler.store.remotes": "Remote add_remote delete_remote",
    "ostler.store.repair": "RepairResult repair",
    "ostler.store.repo": "CommitState Repo RepoMode",
    "ostler.store.signing.ed25519": "PublicKey SecretKey",
    "ostler.store.signing.errors": "SignatureError",
    "ostler.store.signing.kinds": "Verified trust_in_file trust_in_keys trust_of_system",
    "ostler.store.signing.sign": "check_commit sign_commit sign_summary",
    "ostler.store.signing.verify": "Verifier verifier_for",
    "ostler.store.summary": "summarise write_summary",
    "ostler.store.transaction": "Transaction TransactionStats",
    "ostler.store.tree": "Directory load_commit_tree load_tree write_tree",
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names.split()}
_NAMES_THERE = {"apply_delta": "apply_offline", "generate_delta": "generate", "reindex_deltas": "reindex"}


class _Package(ModuleType):
    """Loads public names when they are asked for, also those that are names of modules (`pull`, `diff`)."""

    def __getattr__(self, name: str) -> object:
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value: object = getattr(import_module(_PLACES[name]), _NAMES_THERE.get(name, name))
        super().__setattr__(name, value)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, ModuleType) and name in _PLACES):  # the import of a submodule, which would hide it
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
