"""`ostree show`."""

from collections.abc import Mapping
from pathlib import Path

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.options import Failure, flag, text
from ostler.cli.ostree.render import commit_text, commit_variant, variant_text
from ostler.cli.ostree.revisions import resolve
from ostler.errors import NotFoundError
from ostler.formats.gvariant import Variant, parse_type
from ostler.formats.objects import DIRMETA_TYPE, DIRTREE_TYPE, Checksum, Commit, ObjectType, encode_xattrs

XATTRS_TYPE = "a(ayay)"


def run(call: Call) -> None:
    """Print what was asked for."""
    if not call.arguments:
        call.usage_error("An object argument is required")
    rev = call.arguments[0]
    if call.text("print-metadata-key") is not None or call.text("print-detached-metadata-key") is not None:
        _metadata_key(call, resolve(call.repo, rev))
    elif call.flag("print-related"):
        for name, related in call.repo.load_commit(resolve(call.repo, rev)).related:
            call.out(f"{name} {related}")
    elif call.text("print-variant-type") is not None:
        type = call.text("print-variant-type") or ""
        parse_type(type)
        call.out(variant_text(type, Path(rev).read_bytes()))
    elif call.flag("print-sizes"):
        _sizes(call, resolve(call.repo, rev))
    elif len(rev) == 64 and not rev.strip("0123456789abcdef"):
        _object(call, Checksum(rev))
    else:
        _commit(call, resolve(call.repo, rev))


def _metadata_key(call: Call, checksum: Checksum) -> None:
    key = call.text("print-detached-metadata-key")
    metadata: Mapping[str, Variant]
    if key is None:
        key = call.text("print-metadata-key") or ""
        metadata = _load(call, checksum).metadata
    elif not call.repo.has(checksum, ObjectType.DETACHED):
        raise Failure(f"No detached metadata for commit {checksum}")
    else:
        metadata = call.repo.load_detached(checksum)
    value = metadata.get(key)
    if value is None:
        raise Failure(f"No such metadata key '{key}'")
    from ostler.formats.gvariant_text import byteswapped, format_text

    swapped = value.value if call.flag("no-byteswap") else byteswapped(value.type, value.value)
    call.out(format_text(value.type, swapped))


def _load(call: Call, checksum: Checksum) -> Commit:
    try:
        return call.repo.load_commit(checksum)
    except NotFoundError as error:
        raise Failure(f"No such metadata object {checksum}.commit") from error


def _sizes(call: Call, checksum: Checksum) -> None:
    from ostler.cli.ostree.sizes import format_size
    from ostler.store.sizes import decode_sizes

    sizes = decode_sizes(_load(call, checksum).metadata)
    if sizes is None:
        raise Failure("No metadata key ostree.sizes in commit")
    needed = [entry for entry in sizes if not _have(call, entry.checksum, entry.kind)]

    def amounts(name: str) -> str:
        return "/".join(format_size(sum(getattr(entry, name) for entry in some)) for some in (needed, sizes))

    call.out(f"Compressed size (needed/total): {amounts('stored')}")
    call.out(f"Unpacked size (needed/total): {amounts('unpacked')}")
    call.out(f"Number of objects (needed/total): {len(needed)}/{len(sizes)}")


def _have(call: Call, checksum: Checksum, kind: ObjectType | None) -> bool:
    kinds = (ObjectType.FILE, ObjectType.DIRTREE, ObjectType.DIRMETA) if kind is None else (kind,)
    return any(call.repo.has(checksum, kind) for kind in kinds)


def _object(call: Call, checksum: Checksum) -> None:
    """Whatever object has this checksum."""
    types = {ObjectType.DIRMETA: DIRMETA_TYPE, ObjectType.DIRTREE: DIRTREE_TYPE}
    if call.repo.has(checksum, ObjectType.COMMIT):
        _commit(call, checksum)
        return
    for kind, type in types.items():
        if call.repo.has(checksum, kind):
            data = call.repo.load_bytes(checksum, kind)
            call.out(f"{kind.extension} {checksum}")
            if call.flag("raw") or call.flag("no-byteswap"):
                call.out(variant_text(type, data, swap=not call.flag("no-byteswap")))
            return
    _file(call, checksum)


def _commit(call: Call, checksum: Checksum) -> None:
    try:
        data = call.repo.load_bytes(checksum, ObjectType.COMMIT)
    except NotFoundError as error:
        raise Failure(f"No such metadata object {checksum}.commit") from error
    if call.flag("no-byteswap"):
        call.out(f"commit {checksum}\n{commit_variant(data, swap=False)}")
        call.out(commit_text(checksum, Commit.decode(data)).partition("\n")[2])
    elif call.flag("raw"):
        call.out(f"commit {checksum}\n{commit_variant(data)}")
    else:
        call.out(commit_text(checksum, Commit.decode(data)))
    if call.repo.has(checksum, ObjectType.DETACHED):
        from ostler.cli.ostree.signatures import print_gpg_signatures

        print_gpg_signatures(call, checksum, call.text("gpg-homedir"), call.text("gpg-verify-remote"))


def _file(call: Call, checksum: Checksum) -> None:
    try:
        meta, size, content = call.repo.open_file_object(checksum)
    except NotFoundError as error:
        raise Failure(f"Couldn't find file object '{checksum}'") from error
    content.close()
    from ostler.formats.gvariant_text import format_text

    call.out(f"Object: {checksum}\nType: file")
    call.out(f"File Type: symlink\nTarget: {meta.target}" if meta.is_symlink else f"File Type: regular\nSize: {size}")
    call.out(f"Mode: 0{meta.mode:04o}\nUid: {meta.uid}\nGid: {meta.gid}")
    call.out(f"Extended Attributes: {{ {format_text(XATTRS_TYPE, encode_xattrs(meta.xattrs))} }}")


VERB = Verb(
    run,
    "OBJECT",
    (
        flag("print-related", "List the related commits"),
        text("print-variant-type", "TYPE", "Print the file OBJECT as a GVariant of this type"),
        text("print-metadata-key", "KEY", "Print the value of a key of the commit's metadata"),
        text("print-detached-metadata-key", "KEY", "Print the value of a key of the detached metadata"),
        flag("print-sizes", "Print what the commit's objects take, and what those take that are not here"),
        flag("raw", "Show the values as GVariant text"),
        flag("no-byteswap", "Print numbers as they are stored, not as big-endian ones", "B"),
        text("gpg-homedir", "HOMEDIR", "The GPG folder with the keyrings to verify signatures with"),
        text("gpg-verify-remote", "REMOTE", "Verify signatures with the keys of this remote"),
    ),
)
