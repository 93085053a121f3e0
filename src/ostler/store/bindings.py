"""Commits say which refs, of which collection, they are meant for: do the refs of a repository agree with that?"""

from collections.abc import Sequence

from ostler.formats.objects import Checksum, Commit
from ostler.store.repo import Repo

REF_BINDING = "ostree.ref-binding"
COLLECTION_BINDING = "ostree.collection-binding"


def bound_refs(commit: Commit) -> Sequence[str] | None:
    """The refs that a commit is meant for; None if it does not say."""
    found = commit.metadata.get(REF_BINDING)
    return list(found.value) if found is not None and found.type == "as" else None


def bound_collection(commit: Commit) -> str | None:
    """The collection that a commit belongs to; None if it does not say."""
    found = commit.metadata.get(COLLECTION_BINDING)
    return str(found.value) if found is not None and found.type == "s" else None


def binding_fault(commit: Commit, ref: str | None, collection: str | None = None) -> str | None:
    """Why the commit must not be what a ref (of a collection) points at, or None if it may. In libostree's words."""
    refs = bound_refs(commit)
    if refs is None:
        return None if collection is None else "Expected commit metadata to have ref binding information, found none"
    if ref is not None and ref not in refs:
        listed = ", ".join(f"‘{name}’" for name in refs) or "no refs"
        return f"Commit has no requested ref ‘{ref}’ in ref binding metadata ({listed})"
    if collection is None:
        return None
    bound = bound_collection(commit)
    if bound is None:
        return "Expected commit metadata to have collection ID binding information, found none"
    if bound != collection:
        return (
            f"Commit has collection ID ‘{bound}’ in collection binding metadata, "
            f"while the remote it came from has collection ID ‘{collection}’"
        )
    return None


def back_reference_faults(repo: Repo, checksum: Checksum, commit: Commit) -> list[str]:
    """Refs that the commit is meant for, but that do not exist or point at another. In libostree's words."""
    collection = bound_collection(commit)
    known: dict[str, Checksum]
    if collection is None:
        known = repo.refs()
    else:
        known = {ref: c for (owner, ref), c in repo.collection_refs().items() if owner == collection}
        if repo.config.get("core", "collection-id") == collection:
            known |= {ref: c for ref, c in repo.refs().items() if ":" not in ref}
    faults = []
    for ref in bound_refs(commit) or ():
        name = f"Ref ‘{ref}’" if collection is None else f"Collection\N{EN DASH}ref ({collection}, {ref})"
        if ref not in known:
            faults.append(f"{name} in bindings for commit {checksum} does not exist")
        elif known[ref] != checksum:
            faults.append(f"{name} in bindings for commit {checksum} does not resolve to that commit")
    return faults
