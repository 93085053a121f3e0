"""`ostree checkout`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.lists import read_lines
from ostler.cli.ostree.options import FSYNC, Failure, flag, text
from ostler.cli.ostree.revisions import resolve
from ostler.errors import NotFoundError, OstlerError
from ostler.formats.objects import Checksum

if TYPE_CHECKING:
    from ostler.store.checkout_options import CheckoutOptions, Labeller, OnExisting

_EXCLUSIVE = (
    ("union", "union-add"),
    ("union", "union-identical"),
    ("union-add", "union-identical"),
)

_WITHOUT_CACHE = (
    "disable-cache",
    "whiteouts",
    "process-passthrough-whiteouts",
    "require-hardlinks",
    "union-add",
    "force-copy",
    "force-copy-zerosized",
    "bareuseronly-dirs",
)
_POLICY = ("skip-list", "selinux-policy")


def run(call: Call) -> None:
    """Check out one tree, or as many as a list says."""
    if not call.arguments:
        call.usage_error("COMMIT must be specified")
    _check(call)
    if not (call.flag("from-stdin") or call.text("from-file") is not None):
        rev = call.arguments[0]
        destination = call.arguments[1] if len(call.arguments) > 1 else rev
        _checkout(call, resolve(call.repo, rev), call.text("subpath"), Path(destination))
        return
    for rev, subpath in _listed(call):
        checksum = resolve(call.repo, rev)
        try:
            _checkout(call, checksum, subpath, Path(call.arguments[0]))
        except OstlerError as error:
            raise Failure(f"Processing tree {checksum}: {error.message}") from error


def _check(call: Call) -> None:
    """Refuse options that exclude each other."""
    for one, other in _EXCLUSIVE:
        if call.flag(one) and call.flag(other):
            raise Failure(f"Cannot specify both --{one} and --{other}")
    if call.flag("require-hardlinks") and (call.flag("force-copy") or call.text("selinux-policy") is not None):
        raise Failure("Cannot specify both --require-hardlinks and --force-copy")
    if call.text("selinux-prefix") is not None and call.text("selinux-policy") is None:
        raise Failure("Cannot specify --selinux-prefix without --selinux-policy")
    if call.flag("union-identical") and not call.flag("require-hardlinks"):
        raise Failure("--union-identical requires --require-hardlinks")


def _listed(call: Call) -> Iterator[tuple[str, str]]:
    """(revision, path) of each line of the input; every one of them ends in NUL."""
    listed = call.text("from-file")
    data = sys.stdin.buffer.read() if call.flag("from-stdin") or listed is None else Path(listed).read_bytes()
    words = iter(data.decode(errors="surrogateescape").split("\0"))
    for rev in words:
        if not rev:
            return
        yield rev, next(words, "")


def _checkout(call: Call, checksum: Checksum, subpath: str | None, destination: Path) -> None:
    from ostler.store.checkout import checkout, stored_tree
    from ostler.store.checkout_options import Checkout

    try:
        checkout(
            call.repo,
            stored_tree(call.repo, checksum),
            destination,
            how=Checkout.USER if call.flag("user-mode") else Checkout.HARDLINK,
            on_existing=_on_existing(call),
            options=_options(call, subpath),
        )
    except NotFoundError as error:
        if call.flag("allow-noent") and subpath is not None and "object" not in error.message:
            return
        raise


def _on_existing(call: Call) -> "OnExisting":
    from ostler.store.checkout_options import OnExisting

    if call.flag("union"):
        return OnExisting.REPLACE
    if call.flag("union-add"):
        return OnExisting.KEEP
    return OnExisting.IDENTICAL if call.flag("union-identical") else OnExisting.FAIL


def _options(call: Call, subpath: str | None) -> "CheckoutOptions":
    from ostler.store.checkout_options import CheckoutOptions

    skip = call.text("skip-list")
    return CheckoutOptions(
        subpath=subpath or "/",
        skip=frozenset(() if skip is None else read_lines(skip)),
        force_copy=call.flag("force-copy"),
        require_hardlinks=call.flag("require-hardlinks"),
        whiteouts=call.flag("whiteouts"),
        passthrough_whiteouts=call.flag("process-passthrough-whiteouts"),
        bareuseronly_dirs=call.flag("bareuseronly-dirs"),
        labels=_labels(call),
        label_prefix=call.text("selinux-prefix"),
        uncompressed_cache=not any(map(call.flag, _WITHOUT_CACHE)) and not any(map(call.text, _POLICY)),
        new_folder=True,
    )


def _labels(call: Call) -> "Labeller | None":
    root = call.text("selinux-policy")
    if root is None:
        return None
    from ostler.store.selinux import load_policy

    return load_policy(Path(root)).label


VERB = Verb(
    run,
    "COMMIT [DESTINATION]",
    (
        flag("user-mode", "Set neither owners nor extended attributes", "U"),
        flag("disable-cache", "Make no use of the repository's cache of uncompressed files"),
        text("subpath", "PATH", "Check out what lies at PATH in the commit"),
        flag("union", "Merge into folders that exist, replacing files"),
        flag("union-add", "Merge into folders that exist, keeping their files"),
        flag("union-identical", "Merge into folders that exist; files that exist must be the same"),
        flag("whiteouts", "Let .wh.NAME files remove NAME, as layers of containers do"),
        flag("process-passthrough-whiteouts", "Make overlayfs whiteouts of .ostree-wh.NAME files"),
        flag("allow-noent", "Do nothing if the path does not exist in the commit"),
        flag("from-stdin", "Check out what standard input lists"),
        text("from-file", "FILE", "Check out what a file lists"),
        *FSYNC,
        flag("require-hardlinks", "Fail where a file cannot be hard-linked, rather than copy it", "H"),
        flag("force-copy-zerosized", "Make empty files anew", "z", hidden=True),
        flag("force-copy", "Never make hard links", "C"),
        flag("bareuseronly-dirs", "Leave out mode bits of folders outside of 0775", "M"),
        text("skip-list", "FILE", "Leave out the paths that FILE lists"),
        text("selinux-policy", "PATH", "Label files by the policy in the root file system PATH; implies --force-copy"),
        text("selinux-prefix", "PREFIX", "Put PREFIX before all paths for the labels"),
    ),
)
