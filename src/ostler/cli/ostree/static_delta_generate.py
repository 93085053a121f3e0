"""`ostree static-delta generate`."""

from pathlib import Path
from typing import TYPE_CHECKING

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.options import Failure, flag, many, text
from ostler.cli.ostree.revisions import resolve
from ostler.cli.ostree.sign import KEYS_FILE
from ostler.cli.ostree.sizes import format_size

if TYPE_CHECKING:
    from ostler.formats.delta import Endianness
    from ostler.formats.objects import Checksum
    from ostler.store.delta.generate import DeltaOptions, DeltaStats

MEGABYTES = {"min-fallback-size": 4, "max-bsdiff-size": 128, "max-chunk-size": 32}
"""The options that are sizes, and what they are without being given."""


def run(call: Call) -> None:
    """Make a delta to a commit, from its parent if nothing else is said."""
    from ostler.store.delta.generate import generate

    to_rev = call.text("to") or next(iter(call.arguments), None)
    if to_rev is None:
        raise Failure("TO revision must be specified")
    from_rev = call.text("from")
    if call.flag("empty"):
        if from_rev is not None:
            raise Failure("Cannot specify both --empty and --from=REV")
    elif from_rev is None:
        from_rev = f"{to_rev}^"
    from_ = None if from_rev is None else resolve(call.repo, from_rev)
    to = resolve(call.repo, to_rev)
    if call.flag("if-not-exists") and _exists(call, from_, to):
        return
    options = _options(call)
    call.out(f"Generating static delta:\n  From: {from_ or 'empty'}\n  To:   {to}")
    _print_statistics(call, generate(call.repo, to, from_=from_, options=options))


def _exists(call: Call, from_: "Checksum | None", to: "Checksum") -> bool:
    from ostler.store.delta.listing import delta_exists

    found = delta_exists(call.repo, from_, to)
    if found:
        call.out(f"Delta {to if from_ is None else f'{from_}-{to}'} already exists.")
    return found


def _options(call: Call) -> "DeltaOptions":
    from ostler.cli.ostree.signatures import signer_keys
    from ostler.store.delta.generate import DeltaOptions

    filename = call.text("filename")
    return DeltaOptions(
        min_fallback=_megabytes(call, "min-fallback-size"),
        max_bsdiff=_megabytes(call, "max-bsdiff-size"),
        max_chunk=_megabytes(call, "max-chunk-size"),
        bsdiff=not call.flag("disable-bsdiff"),
        inline=call.flag("inline"),
        endianness=_endianness(call),
        filename=None if filename is None else Path(filename),
        signers=tuple(signer_keys(call)),
    )


def _megabytes(call: Call, option: str) -> int:
    """A size as strtoull reads it: the digits that it begins with."""
    written = call.text(option)
    if written is None:
        return MEGABYTES[option]
    digits = written.lstrip().removeprefix("+")
    return int(digits[: len(digits) - len(digits.lstrip("0123456789"))] or "0")


def _endianness(call: Call) -> "Endianness":
    from ostler.formats.delta import Endianness

    written = call.text("set-endianness") or "l"
    if written not in ("l", "B"):
        raise Failure(f"Invalid endianness '{written}'")
    if call.flag("swap-endianness"):
        written = "B" if written == "l" else "l"
    return Endianness(written)


def _print_statistics(call: Call, stats: "DeltaStats") -> None:
    call.err(f"modified: {stats.modified}")
    call.err(f"new reachable: metadata={stats.metadata} content regular={stats.regular} symlink={stats.symlinks}")
    for fallback in stats.fallbacks:
        call.err(f"fallback for {fallback.checksum} ({format_size(fallback.usize)})")
    for number, part in enumerate(stats.parts, 1):
        call.err(f"part {number} n:{len(part)} compressed:{part.size} uncompressed:{part.usize}")
    call.err(f"uncompressed={stats.uncompressed} compressed={stats.compressed} loose={stats.loose}")
    call.err(f"rollsum={stats.copied} objects, {stats.copied_bytes} bytes")
    call.err(f"bsdiff={stats.patched} objects")


VERB = Verb(
    run,
    "[TO]",
    (
        text("from", "REV", "The commit that the delta starts from (default: the parent)"),
        flag("empty", "Start from nothing"),
        flag("inline", "Put the parts into the delta's first file"),
        text("to", "REV", "The commit that the delta leads to"),
        flag("disable-bsdiff", "Make no binary patches"),
        flag("if-not-exists", "Do nothing if there is such a delta", "n"),
        text("set-endianness", "ENDIAN", "Byte order of numbers: l or B"),
        flag("swap-endianness", "Use the other byte order"),
        text("min-fallback-size", "MB", "Leave objects from this size on out of the delta, to be fetched alone"),
        text("max-bsdiff-size", "MB", "Make no binary patches of larger files"),
        text("max-chunk-size", "MB", "How large a part may be"),
        text("filename", "PATH", "Write the delta to PATH, and not into the repository"),
        many("sign", "KEY_ID", "Sign the delta with this key"),
        text("sign-type", "NAME", "The type of the signatures: ed25519 (default) or dummy"),
        KEYS_FILE,
    ),
)
