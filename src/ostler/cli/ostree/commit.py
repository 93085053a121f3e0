"""`ostree commit`."""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.commit_trees import build
from ostler.cli.ostree.metadata import parsed, strings
from ostler.cli.ostree.options import FSYNC, Failure, flag, many, number, text
from ostler.cli.ostree.revisions import refspec, resolve_if_exists
from ostler.formats.gvariant import FormatError, Variant
from ostler.formats.objects import Checksum, parse_checksum
from ostler.store.refstore import read_ref

if TYPE_CHECKING:
    from ostler.store.repo import Repo
    from ostler.store.transaction import Transaction, TransactionStats
    from ostler.store.tree import Directory

REF_BINDING = "ostree.ref-binding"
COLLECTION_BINDING = "ostree.collection-binding"


class _Unchanged(Exception):  # noqa: N818 - leaves the transaction without a commit
    """The tree is the parent's."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the commit will be, the tree excepted."""

    branch: str | None
    parent: Checksum | None
    metadata: dict[str, Variant]
    detached: dict[str, Variant]
    subject: str
    body: str
    timestamp: int


def run(call: Call) -> None:
    """Commit trees, and print the commit's checksum."""
    _check(call)
    plan = _plan(call)
    repo = call.repo
    if not call.fsync:
        repo.fsync = False
    stats = None
    try:
        with repo.transaction() as transaction:
            if call.flag("generate-sizes"):
                transaction.record_sizes()
            directory = build(call, transaction)
            checksum = _commit(call, transaction, directory, plan)
            stats = transaction.stats
    except _Unchanged:
        checksum = plan.parent or Checksum("")
    if call.flag("table-output"):
        _print_table(call, checksum, stats)
    else:
        call.out(checksum)


def _check(call: Call) -> None:
    if call.text("branch") is None and not call.flag("orphan"):
        raise Failure("A branch must be specified with --branch, or use --orphan")
    for option in ("owner-uid", "owner-gid"):
        if call.flag("canonical-permissions") and (call.number(option) or 0) > 0:
            raise Failure(f"Cannot specify both --canonical-permissions and non-zero --{option}")
    if call.text("selinux-policy") is not None and call.flag("selinux-policy-from-base"):
        raise Failure("Cannot specify both --selinux-policy and --selinux-policy-from-base")


def _plan(call: Call) -> _Plan:
    branch = call.text("branch")
    parent = _parent(call, branch)
    metadata = strings(call.many("add-metadata-string")) | parsed(call.many("add-metadata"))
    if call.many("keep-metadata"):
        metadata |= _kept_metadata(call.repo, parent, call.many("keep-metadata"))
    subject, body = _message(call, branch)
    detached = strings(call.many("add-detached-metadata-string"))
    return _Plan(branch, parent, metadata, detached, subject, body, _timestamp(call))


def _parent(call: Call, branch: str | None) -> Checksum | None:
    if branch is not None:
        _check_branch(call.repo, branch)
    given = call.text("parent")
    if given is None:
        return None if branch is None or call.flag("orphan") else resolve_if_exists(call.repo, branch)
    if given == "none":
        return None
    try:
        return parse_checksum(given)
    except FormatError as error:
        raise Failure(f"Invalid rev {given}") from error


def _check_branch(repo: "Repo", branch: str) -> None:
    """Before anything is stored: can the ref be written in the end?"""
    remote, ref = refspec(branch)
    above = ref.split("/")[:-1]
    for count in range(1, len(above) + 1):
        if read_ref(repo.path, "/".join(above[:count]), remote) is not None:
            raise Failure(f"openat(refs/heads/{ref}): Not a directory")


def _kept_metadata(repo: "Repo", parent: Checksum | None, keys: Iterable[str]) -> dict[str, Variant]:
    if parent is None:
        raise Failure("Either --branch or --parent must be specified when using --keep-metadata")
    old = repo.load_commit(parent).metadata
    for key in keys:
        if key not in old:
            raise Failure(f"Missing metadata key '{key}' from commit '{parent}'")
    return {key: old[key] for key in keys}


def _message(call: Call, branch: str | None) -> tuple[str, str]:
    """(subject, body)"""
    subject, body = call.text("subject") or "", call.text("body") or ""
    if call.flag("editor"):
        from ostler.cli.ostree.editor import edited_message

        return edited_message(branch, subject, body)
    file = call.text("body-file")
    return subject, body if file is None else Path(file).read_text()


def _timestamp(call: Call) -> int:
    written = call.text("timestamp")
    if written is None:
        epoch = os.environ.get("SOURCE_DATE_EPOCH")
        return int(time.time()) if epoch is None else _epoch(epoch)
    from ostler.cli.ostree.dates import parse_date

    try:
        return parse_date(written) % 2**64  # before 1970: as libostree stores it
    except ValueError as error:
        raise Failure(f"Could not parse '{written}'") from error


def _epoch(written: str) -> int:
    try:
        seconds = int(written)
    except ValueError as error:
        raise Failure("Failed to convert SOURCE_DATE_EPOCH") from error
    if abs(seconds) >= 2**63:
        raise Failure("Parsing SOURCE_DATE_EPOCH: Numerical result out of range")
    return seconds


def _commit(call: Call, transaction: "Transaction", directory: "Directory", plan: _Plan) -> Checksum:
    from ostler.store.commit import commit_tree

    repo = call.repo
    if call.flag("skip-if-unchanged") and plan.parent is not None:
        _stop_if_unchanged(repo, transaction, directory, plan.parent)
    metadata = dict(plan.metadata)
    if not call.flag("no-bindings"):
        metadata[REF_BINDING] = Variant("as", sorted([*call.many("bind-ref"), *([plan.branch] if plan.branch else [])]))
        if repo.collection_id is not None:
            metadata.setdefault(COLLECTION_BINDING, Variant("s", repo.collection_id))
    if call.flag("bootable"):
        from ostler.store.commit import bootable_metadata

        metadata |= bootable_metadata(directory)
    checksum = commit_tree(
        transaction,
        directory,
        timestamp=plan.timestamp,
        subject=plan.subject,
        body=plan.body,
        metadata=metadata,
        parent=plan.parent,
        generate_sizes=call.flag("generate-sizes"),
    )
    if plan.detached:
        transaction.write_detached(checksum, plan.detached)
    _sign(call, transaction, checksum)
    if plan.branch is not None:
        remote, ref = refspec(plan.branch)
        transaction.set_ref(ref, checksum, remote)
    return checksum


def _stop_if_unchanged(repo: "Repo", transaction: "Transaction", directory: "Directory", parent: Checksum) -> None:
    from ostler.store.tree import write_tree

    commit = repo.load_commit(parent)
    if write_tree(transaction, directory) == (commit.root_tree, commit.root_meta):
        raise _Unchanged


def _sign(call: Call, transaction: "Transaction", checksum: Checksum) -> None:
    if call.many("sign") or call.many("gpg-sign"):
        from ostler.cli.ostree.signatures import signer_keys
        from ostler.store.signing.sign import sign_staged

        sign_staged(transaction, checksum, signer_keys(call))


def _print_table(call: Call, checksum: Checksum, stats: "TransactionStats | None") -> None:
    rows: tuple[tuple[str, Callable[[TransactionStats], int]], ...] = (
        ("Metadata Total", lambda stats: stats.metadata_total),
        ("Metadata Written", lambda stats: stats.metadata_objects),
        ("Content Total", lambda stats: stats.content_total),
        ("Content Written", lambda stats: stats.file_objects),
        ("Content Cache Hits", lambda stats: stats.cache_hits),
        ("Content Bytes Written", lambda stats: stats.content_bytes),
    )
    call.out(f"Commit: {checksum}")
    for name, count in rows:
        call.out(f"{name}: {0 if stats is None else count(stats)}")


VERB = Verb(
    run,
    "[PATH]",
    (
        text("parent", "COMMIT", 'The parent\'s checksum, or "none"'),
        text("subject", "SUBJECT", "The subject, one line", "s"),
        text("body", "BODY", "The description", "m"),
        text("body-file", "FILE", "Read the description from FILE", "F"),
        flag("editor", "Write subject and description in an editor", "e"),
        text("branch", "BRANCH", "The ref to point at the commit, and whose commit is the parent", "b"),
        flag("orphan", "Point no ref at the commit"),
        flag("no-bindings", "Do not note in the commit which refs it is for"),
        many("bind-ref", "BRANCH", "Note in the commit that it is for this ref too"),
        text("base", "REV", "Begin with this commit's tree, as it is"),
        many("tree", "dir=PATH or tar=TARFILE or ref=COMMIT", "Lay a tree over those before"),
        many("add-metadata-string", "KEY=VALUE", "Add a string to the metadata"),
        many("add-metadata", "KEY=VALUE", "Add to the metadata; VALUE is GVariant text"),
        many("keep-metadata", "KEY", "Take this from the parent's metadata"),
        many("add-detached-metadata-string", "KEY=VALUE", "Add a string to the detached metadata"),
        number("owner-uid", "UID", "Let this user own all files"),
        number("owner-gid", "GID", "Let this group own all files"),
        flag("canonical-permissions", "Store owners and modes as bare-user-only repositories have them"),
        flag("bootable", "Note in the metadata that the tree has a kernel, and its release"),
        flag("mode-ro-executables", "Make executable files read-only"),
        flag("no-xattrs", "Store no extended attributes"),
        text("selinux-policy", "PATH", "Label files by the policy in the root file system PATH"),
        flag("selinux-policy-from-base", "Label files by the policy in the first tree", "P"),
        flag("link-checkout-speedup", "Do not read files that are hard links to the repository's"),
        flag("devino-canonical", "And trust that they are as they were checked out", "I"),
        flag("tar-autocreate-parents", "Make the folders that archives leave out"),
        text("tar-pathname-filter", "REGEX,REPLACEMENT", "Change the paths of archives"),
        flag("skip-if-unchanged", "Do nothing if the tree is the parent's"),
        text("statoverride", "PATH", "A file with modes for single paths"),
        text("skip-list", "PATH", "A file with paths to leave out"),
        flag("consume", "Remove the files of folders as they are stored"),
        flag("table-output", "Print what was written, a KEY: VALUE a line"),
        many("gpg-sign", "KEY-ID", "Sign the commit with this GPG key"),
        text("gpg-homedir", "HOMEDIR", "The GPG folder with the keys"),
        many("sign", "KEY_ID", "Sign the commit with this key"),
        text("sign-type", "NAME", "The type of the key (default: ed25519)"),
        flag("generate-sizes", "Note the sizes of the objects in the metadata"),
        *FSYNC,
        text("timestamp", "TIMESTAMP", "The time of the commit"),
    ),
)
