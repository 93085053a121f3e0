"""`ostree create-usb`."""

from pathlib import Path

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.options import flag, text
from ostler.cli.ostree.places import places
from ostler.cli.ostree.revisions import whole_checksum
from ostler.cli.ostree.transfers import reporter


def run(call: Call) -> None:
    """Copy refs of collections to a repository on removable media."""
    from ostler.store.pull_options import PullOptions
    from ostler.store.removable import WELL_KNOWN, copy_to_media

    mount, refs = _what(call)
    commit = call.text("commit")
    folder = call.text("destination-repo") or WELL_KNOWN[1]
    copy_to_media(
        call.repo,
        Path(mount),
        refs,
        commit=None if commit is None else whole_checksum(commit),
        folder=folder,
        options=PullOptions(disable_fsync=call.flag("disable-fsync"), places=places()),
        report=reporter(),
    )
    count, source = len(refs), call.repo.path.absolute()
    call.out(f"Copied {count}/{count} refs successfully from ‘{source}’ to ‘{folder}’ repository in ‘{mount}’.")


def _what(call: Call) -> tuple[str, list[tuple[str, str]]]:
    """(where the media is mounted, collection and name of each ref)."""
    from ostler.formats.refs import validate_ref

    words = call.arguments
    if not words:
        call.usage_error("A MOUNT-PATH must be specified")
    if len(words) < 3:
        call.usage_error("At least one COLLECTION-ID REF pair must be specified")
    if len(words) % 2 == 0:
        call.usage_error("Only complete COLLECTION-ID REF pairs may be specified")
    if call.text("commit") is not None and len(words) > 3:
        call.usage_error("The --commit option can only be used when a single COLLECTION-ID REF pair is specified")
    return words[0], [(collection, validate_ref(ref)) for collection, ref in zip(words[1::2], words[2::2], strict=True)]


VERB = Verb(
    run,
    "MOUNT-PATH COLLECTION-ID REF [COLLECTION-ID REF...]",
    (
        flag("disable-fsync", "Write without waiting for the disk"),
        text("destination-repo", "DEST", "Where on the media the repository is (default: .ostree/repo)"),
        text("commit", "COMMIT", "Copy this commit of the only ref"),
    ),
)
