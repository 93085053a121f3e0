"""The trees that `ostree commit` lays over each other."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ostler.cli.ostree.call import Call
from ostler.cli.ostree.options import Failure
from ostler.cli.ostree.revisions import resolve

if TYPE_CHECKING:
    from ostler.store.modifier import Labels, Modifier
    from ostler.store.transaction import Transaction
    from ostler.store.tree import Directory

_MODIFYING = (
    "no-xattrs",
    "canonical-permissions",
    "mode-ro-executables",
    "selinux-policy-from-base",
    "devino-canonical",
    "consume",
    "generate-sizes",
)
_MODIFYING_TEXTS = ("statoverride", "skip-list", "selinux-policy")


def build(call: Call, transaction: "Transaction") -> "Directory":
    """Store the files of all trees, and return the tree that they make together; raises `OstlerError`."""
    from ostler.store.combine import overlay
    from ostler.store.tree import load_commit_tree

    trees = [_split(tree) for tree in call.many("tree") or [f"dir={call.arguments[0] if call.arguments else '.'}"]]
    rev = call.text("base")
    base = None if rev is None else load_commit_tree(call.repo, resolve(call.repo, rev))
    modifier = _modifier(call, base, trees[0])
    loader = _Loader(call, transaction, modifier)
    combined = base
    for kind, where in trees:
        if kind == "tar":
            combined = loader.archive(where, combined)
            continue
        loaded = loader.folder(where) if kind == "dir" else loader.ref(where)
        if combined is None:
            combined = loaded
        else:
            overlay(combined, loaded)
    assert combined is not None
    if modifier is not None:
        _check_matched(call, modifier)
    return combined


def _split(tree: str) -> tuple[str, str]:
    """(dir, tar or ref; which one)"""
    kind, equals, where = tree.partition("=")
    if not equals:
        raise Failure(f"Missing type in tree specification '{tree}'")
    if kind not in ("dir", "tar", "ref"):
        raise Failure(f"Invalid tree type specification '{kind}'")
    return kind, where


class _Loader:
    """Loads trees of each kind."""

    def __init__(self, call: Call, transaction: "Transaction", modifier: "Modifier | None") -> None:
        self._call = call
        self._transaction = transaction
        self._modifier = modifier

    def folder(self, where: str) -> "Directory":
        """A folder on disk."""
        from ostler.store.ingest import ingest_directory
        from ostler.store.inodes import hard_links

        call, trusted = self._call, self._call.flag("devino-canonical")
        links = hard_links(call.repo, trusted=trusted) if trusted or call.flag("link-checkout-speedup") else None
        return ingest_directory(
            self._transaction,
            Path(where),
            filter=self._modifier,
            attributes=self._modifier is None or self._modifier.attributes,
            links=links,
            consume=call.flag("consume"),
        )

    def archive(self, where: str, onto: "Directory | None") -> "Directory":
        """A tar archive, laid over `onto`."""
        if where == "-":
            return self._archive(sys.stdin.buffer, onto)
        with open(where, "rb") as file:
            return self._archive(file, onto)

    def _archive(self, source: BinaryIO, onto: "Directory | None") -> "Directory":
        from ostler.store.archives import ingest_archive

        return ingest_archive(
            self._transaction,
            source,
            filter=self._modifier,
            autocreate_parents=self._call.flag("tar-autocreate-parents"),
            pathname=_pathname(self._call.text("tar-pathname-filter")),
            onto=onto,
        )

    def ref(self, rev: str) -> "Directory":
        """The tree of a commit."""
        from ostler.store.combine import apply_modifier
        from ostler.store.tree import load_commit_tree

        tree = load_commit_tree(self._call.repo, resolve(self._call.repo, rev))
        return tree if self._modifier is None else apply_modifier(self._transaction, tree, self._modifier)


def _pathname(rule: str | None) -> Callable[[str], str] | None:
    """What `--tar-pathname-filter` makes of paths."""
    if rule is None:
        return None
    import re

    pattern, comma, replacement = rule.partition(",")
    if not comma:
        raise Failure("Missing ',' in --tar-pathname-filter")
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise Failure(f"--tar-pathname-filter: {error}") from error
    template = replacement.replace("\\0", "\\g<0>")
    return lambda path: compiled.sub(template, path)


def _modifier(call: Call, base: "Directory | None", first: tuple[str, str]) -> "Modifier | None":
    """The rules that options make; None if there are none."""
    owners = [call.number(option) for option in ("owner-uid", "owner-gid")]
    given = any(map(call.flag, _MODIFYING)) or any(call.text(option) is not None for option in _MODIFYING_TEXTS)
    canonical = call.flag("canonical-permissions") or call.repo.mode == "bare-user-only"
    if not given and not canonical and owners == [None, None]:
        return None
    from ostler.store.modifier import Modifier, parse_skip_list, parse_statoverride

    overrides, skips = call.text("statoverride"), call.text("skip-list")
    uid, gid = (None if owner is None or owner < 0 else owner for owner in owners)
    return Modifier(
        owner_uid=uid,
        owner_gid=gid,
        no_xattrs=call.flag("no-xattrs"),
        canonical_permissions=canonical,
        read_only_executables=call.flag("mode-ro-executables"),
        statoverride=None if overrides is None else parse_statoverride(Path(overrides).read_text()),
        skip=() if skips is None else parse_skip_list(Path(skips).read_text()),
        labels=_labels(call, base, first),
    )


def _labels(call: Call, base: "Directory | None", first: tuple[str, str]) -> "Labels | None":
    root = call.text("selinux-policy")
    if root is None and not call.flag("selinux-policy-from-base"):
        return None
    from ostler.store.selinux import load_policy, load_policy_of_tree
    from ostler.store.tree import load_commit_tree

    if root is not None:
        return load_policy(Path(root)).label
    kind, where = first
    if base is not None:
        return load_policy_of_tree(call.repo, base).label
    if kind == "tar":
        raise Failure("Cannot use --selinux-policy-from-base with tar")
    if kind == "dir":
        return load_policy(Path(where)).label
    return load_policy_of_tree(call.repo, load_commit_tree(call.repo, resolve(call.repo, where))).label


def _check_matched(call: Call, modifier: "Modifier") -> None:
    """Refuse rules for paths that did not come."""
    for name, paths in (("statoverride", modifier.unmatched_statoverride), ("skip-list", modifier.unmatched_skips)):
        for path in paths:
            call.err(f"Unmatched {name} path: {path}")
        if paths:
            raise Failure(f"Unmatched {name} paths")
