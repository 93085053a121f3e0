"""What a repository holds of container images: their commits, documents and layers, found through refs and metadata."""

from collections.abc import Sequence

from ostler.errors import NotFoundError
from ostler.formats.objects import Checksum, ObjectType
from ostler.oci import escape
from ostler.oci.descriptor import MANIFEST, Descriptor, Digest, OciFormatError, parse_digest, parse_json_object
from ostler.oci.layout import Manifest, parse_manifest
from ostler.oci.metadata import CONFIG_KEY, DIFF_ID_KEY, MANIFEST_DIGEST_KEY, MANIFEST_KEY, text_of
from ostler.store.repo import Repo


def images(repo: Repo) -> dict[str, Checksum]:
    """The imported images: reference → merge commit."""
    found = {}
    for ref, commit in repo.refs(escape.IMAGE_PREFIX).items():
        reference = escape.image_of_ref(ref)
        if reference is not None:
            found[reference] = commit
    return found


def image_documents(repo: Repo, commit: Checksum) -> tuple[Manifest, bytes] | None:
    """The manifest and config that a merge commit carries, in canonical form; None if it is no image's commit.

    The descriptor of the manifest has the digest of the original bytes, which may differ from the canonical ones.
    """
    metadata = repo.load_commit(commit).metadata
    manifest_text, config_text = text_of(metadata, MANIFEST_KEY), text_of(metadata, CONFIG_KEY)
    digest = text_of(metadata, MANIFEST_DIGEST_KEY)
    if manifest_text is None or config_text is None or digest is None:
        return None
    data = manifest_text.encode()
    original = Descriptor(MANIFEST, parse_digest(digest), len(data))
    return parse_manifest(original, data), config_text.encode()


def commits_by_diff_id(repo: Repo) -> dict[Digest, Checksum]:
    """The layer commits by the diff_id they were verified to have: a layer compressed anew is still the same layer."""
    found: dict[Digest, Checksum] = {}
    for ref in repo.refs(escape.BLOB_PREFIX):
        commit = complete_commit(repo, ref)
        diff_id = None if commit is None else diff_id_of(repo, commit)
        if commit is not None and diff_id is not None:
            found[diff_id] = commit
    return found


def diff_id_of(repo: Repo, commit: Checksum) -> Digest | None:
    """The diff_id that the layer of a layer commit was verified to have; None if the commit does not record one."""
    text = text_of(repo.load_commit(commit).metadata, DIFF_ID_KEY)
    return None if text is None else parse_digest(text)


def complete_commit(repo: Repo, ref: str) -> Checksum | None:
    """The commit that `ref` names, unless there is none, or it is missing, or parts of it are known to be missing."""
    try:
        commit = repo.resolve(ref)
    except NotFoundError:
        return None
    return commit if repo.has(commit, ObjectType.COMMIT) and not repo.is_partial(commit) else None


def remove_unused_layers(repo: Repo, also: Sequence[Checksum] = ()) -> int:
    """Drop the refs of layers that no imported image and none of the commits `also` is made of; returns their number.

    `also` names merge commits that are kept without an image ref, as deployments do. Pruning then frees the objects.
    """
    bases = repo.refs(escape.BASE_IMAGE_PREFIX).values()
    needed: set[str] = set()
    for commit in {*images(repo).values(), *bases, *also}:
        documents = image_documents(repo, commit)
        if documents is not None:
            needed |= {escape.blob_ref(layer.digest) for layer in documents[0].layers}
    unused = [ref for ref in repo.refs(escape.BLOB_PREFIX) if ref not in needed]
    if unused:
        with repo.transaction() as transaction:
            for ref in unused:
                transaction.set_ref(ref, None)
    return len(unused)


def layers_with_diff_ids(manifest: Manifest, config_bytes: bytes) -> list[tuple[Descriptor, Digest]]:
    """The layers of an image, lowest first, each with the digest it must have uncompressed."""
    rootfs = parse_json_object(config_bytes, "the image config").get("rootfs")
    listed = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(listed, list):
        raise OciFormatError("the image config lists no diff_ids")
    if len(listed) != len(manifest.layers):
        raise OciFormatError(
            f"the manifest {manifest.descriptor.digest} has {len(manifest.layers)} layers, its config {len(listed)}"
        )
    return list(zip(manifest.layers, map(parse_digest, listed), strict=True))


def commit_of_image(repo: Repo, ref: str, digest: Digest) -> Checksum | None:
    """The commit that the image ref `ref` names, if it was made of the manifest with this digest."""
    commit = complete_commit(repo, ref)
    if commit is None:
        return None
    stored = repo.load_commit(commit).metadata
    return commit if text_of(stored, MANIFEST_DIGEST_KEY) == digest else None
