"""What revisions name: refs, remotes' refs, checksums and their beginnings, `^` for a parent."""

# Plain strings and `os` below: scripts resolve a revision in nearly every call.
# ruff: noqa: PTH208

import os
from typing import TYPE_CHECKING

from ostler.errors import NotFoundError
from ostler.formats.gvariant import FormatError
from ostler.formats.objects import Checksum, parse_checksum
from ostler.formats.refs import split_refspec, validate_ref
from ostler.store import refstore

if TYPE_CHECKING:
    from ostler.store.repo import Repo


def resolve(repo: "Repo", rev: str) -> Checksum:
    """The commit that `rev` names; see `Repo.resolve`."""
    name = rev.rstrip("^")
    checksum = _resolve_name(repo, name)
    for _ in range(len(rev) - len(name)):
        parent = repo.load_commit(checksum).parent
        if parent is None:
            raise NotFoundError(f"Commit {checksum} has no parent", hint=f"so `{rev}` names nothing")
        checksum = parent
    return checksum


def resolve_collection_ref(repo: "Repo", collection: str, ref: str) -> Checksum | None:
    """What a ref of a collection points at: the repository's own, a mirrored one, or that of a remote; None if none."""
    here: Repo | None = repo
    while here is not None:
        if collection == here.collection_id and (own := refstore.read_ref(here.path, ref)):
            return own
        if mirrored := refstore.read_ref(here.path, ref, collection=collection):
            return mirrored
        for remote in here.remotes().values():
            if remote.options.get("collection-id") == collection:
                pulled = refstore.read_ref(here.path, ref, remote.name)
                if pulled:
                    return pulled
        here = here.parent
    return None


def _resolve_name(repo: "Repo", name: str) -> Checksum:
    is_hex = 0 < len(name) <= 64 and not name.strip("0123456789abcdef")
    if is_hex and len(name) == 64:
        return Checksum(name)
    try:
        remote, ref = split_refspec(name)
    except FormatError as error:
        raise NotFoundError(f"`{name}` names no commit: {error.message}", hint=error.hint) from error
    found = refstore.read_ref(repo.path, ref, remote)
    if found is None and remote is None:
        found = _of_any_remote(repo, ref)
    if found is None and remote is None and is_hex and len(name) >= 2:
        found = _resolve_prefix(repo, name)
    if found is None and repo.parent is not None:
        return _resolve_name(repo.parent, name)
    if found is None:
        raise NotFoundError(f"Refspec '{name}' not found in the repository {repo.path}", hint="list the refs it has")
    return found


def _of_any_remote(repo: "Repo", ref: str) -> Checksum | None:
    """A ref that only a remote has; also `REMOTE/REF`, as libostree allows."""
    top = repo.path / "refs" / "remotes"
    remote, slash, rest = ref.partition("/")
    if slash and (found := refstore.read_ref(repo.path, validate_ref(rest), remote)):
        return found
    try:
        remotes = sorted(os.listdir(top))
    except FileNotFoundError:
        return None
    for remote in remotes:
        found = refstore.read_path(top / remote / ref)
        if found is not None:
            return found
    return None


def _resolve_prefix(repo: "Repo", prefix: str) -> Checksum | None:
    try:
        names = os.listdir(repo.path / "objects" / prefix[:2])
    except FileNotFoundError:
        return None
    matches = [prefix[:2] + n[:62] for n in names if n.endswith(".commit") and n.startswith(prefix[2:])]
    if len(matches) > 1:
        raise NotFoundError(
            f"Refspec {prefix} not unique: {len(matches)} commits of the repository {repo.path} start with it"
        )
    return parse_checksum(matches[0]) if matches else None
