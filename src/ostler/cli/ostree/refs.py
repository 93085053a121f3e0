"""`ostree refs`."""

from collections.abc import Mapping

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.options import Failure, flag, text
from ostler.cli.ostree.revisions import refspec, resolve
from ostler.formats.refs import BadRefError, join_refspec, split_refspec


def run(call: Call) -> None:
    """List refs, or make or delete some."""
    prefixes = call.arguments
    if call.text("create") is not None:
        if len(prefixes) > 1:
            raise Failure("You must specify only 1 existing ref when creating a new ref")
        if not prefixes and not call.flag("delete"):
            raise Failure("You must specify a revision when creating a new ref")
    if not prefixes and call.flag("delete"):
        raise Failure("At least one PREFIX is required when deleting refs")
    wanted: list[str | None] = [*prefixes] or [None]
    for prefix in wanted:
        if call.flag("collections"):
            _collections(call, prefix)
        elif call.flag("delete"):
            _delete(call, prefix or "")
        elif call.text("create") is not None:
            _create(call, prefix or "")
        else:
            _list(call, prefix)


def _list(call: Call, prefix: str | None) -> None:
    if call.flag("alias"):
        for ref, target in sorted(_below(call.repo.aliases(), prefix).items()):
            call.out(f"{ref} -> {target}")
        return
    for ref in sorted(_below(call.repo.refs(), prefix)):
        call.out(ref if prefix is None or call.flag("list") else _shortened(ref, prefix))


def _prefix(prefix: str) -> tuple[str | None, str]:
    """(remote, ref or beginning of refs) of a prefix; `REMOTE:` and `REMOTE:.` stand for all of a remote."""
    whole, colon, rest = prefix.rpartition(":")
    if colon and rest in ("", "."):
        return split_refspec(f"{whole}:x")[0], ""
    try:
        return split_refspec(prefix)
    except BadRefError as error:
        raise Failure(f"Listing refs: Invalid refspec {prefix}") from error


def _below(refs: Mapping[str, str], prefix: str | None) -> dict[str, str]:
    """The refs at and below a prefix of whole parts."""
    if prefix is None:
        return dict(refs)
    remote, top = _prefix(prefix)
    start = join_refspec(remote, top)
    below = start if not top else start + "/"
    return {ref: value for ref, value in refs.items() if ref == start or ref.startswith(below)}


def _shortened(ref: str, prefix: str) -> str:
    remote, top = _prefix(prefix)
    start = join_refspec(remote, top)
    return ref if not top or ref == start else join_refspec(remote, ref[len(start) + 1 :])


def _create(call: Call, source: str) -> None:
    new = call.text("create") or ""
    remote, ref = refspec(new)
    replaces_alias = call.flag("alias") and new in call.repo.aliases()
    if new in call.repo.refs() and not call.flag("force") and not replaces_alias:
        raise Failure(f"--create specified but ref {new} already exists")
    if not call.flag("alias"):
        call.repo.set_ref(ref, resolve(call.repo, source), remote=remote)
        return
    if remote is not None:
        raise Failure(f"Cannot create alias to remote ref: {remote}")
    if source not in call.repo.refs():
        raise Failure(f"Cannot create alias to non-existent ref: {source}")
    call.repo.set_alias(ref, source)


def _delete(call: Call, prefix: str) -> None:
    aliases = call.repo.aliases()
    doomed = _below(aliases if call.flag("alias") else call.repo.refs(), prefix)
    for name in sorted(doomed):
        remote, ref = split_refspec(name)
        for alias, target in aliases.items():
            if target == ref:
                raise Failure(f"Ref '{ref}' has an active alias: '{alias}'")
        call.repo.set_ref(ref, None, remote=remote)


def _collections(call: Call, prefix: str | None) -> None:
    new = call.text("create")
    if new is not None:
        collection, _, ref = new.partition(":")
        if (collection, ref) in call.repo.collection_refs(heads=True) and not call.flag("force"):
            raise Failure(f"--create specified but ref {new} already exists")
        checksum = resolve(call.repo, prefix or "")
        call.repo.set_ref(ref, checksum, collection=collection)
        return
    for collection, ref in sorted(call.repo.collection_refs(heads=True, remotes=True)):
        if prefix is not None and collection != prefix:
            continue
        if call.flag("delete"):
            call.repo.set_ref(ref, None, collection=collection)
        else:
            call.out(f"({collection}, {ref})")


VERB = Verb(
    run,
    "[PREFIX]",
    (
        flag("delete", "Delete the refs at and below PREFIX"),
        flag("list", "Show whole names, with PREFIX"),
        flag("alias", "List aliases; with --create, make one", "A"),
        text("create", "NEWREF", "Make a ref for a commit that another revision names"),
        flag("collections", "Work on refs of collections, with their collection ids", "c"),
        flag("force", "Let --create replace a ref that exists"),
    ),
)
