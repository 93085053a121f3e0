"""Making commits."""

from collections.abc import Mapping

from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum, Commit
from ostler.store.transaction import Transaction
from ostler.store.tree import Directory, write_tree


def commit_tree(
    transaction: Transaction,
    directory: Directory,
    *,
    timestamp: int,
    subject: str = "",
    body: str = "",
    metadata: Mapping[str, Variant] | None = None,
    parent: Checksum | None = None,
) -> Checksum:
    """Store the tree and a commit of it; returns the commit's checksum. `timestamp` is in seconds since 1970.

    Equal arguments give the same commit, in every mode. No ref is set: see `Transaction.set_ref`.
    """
    tree, meta = write_tree(transaction, directory)
    return transaction.write_metadata(Commit(tree, meta, timestamp, subject, body, parent, dict(metadata or {})))
