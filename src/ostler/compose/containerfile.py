"""The folder's Containerfile, run by buildah on top of the image so far; each of its layers becomes one of the image.

buildah works in a storage of its own that goes away afterwards, in our user namespace (so it needs no privileges and
starts no other), with `chroot` isolation. The image so far is put there under the name `base`.
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from posixpath import dirname

from ostler.compose.cache import Cache
from ostler.compose.digests import file_digest
from ostler.definition.model import Definition
from ostler.errors import ExitCode, OstlerError
from ostler.formats.objects import Checksum, DirMeta, FileMeta
from ostler.io.files import space_errors
from ostler.io.process import CommandError, require_tool, run
from ostler.io.progress import Reporter, silent
from ostler.oci.image import ImageLayer, ImageSettings, build_image
from ostler.oci.importer import keep_in_image
from ostler.oci.layer import compress_layer
from ostler.oci.layout import Layout
from ostler.store.commit import commit_tree
from ostler.store.ingest import ingest_tar
from ostler.store.layers import apply_layer, diff_layers
from ostler.store.tree import Directory

RECIPE_VERSION = 2
BASE_NAME = "localhost/base"
RESULT_NAME = "localhost/result"
OVERLAY_XATTRS = (b"user.overlay.", b"trusted.overlay.")
INJECTED = ("etc/hostname", "etc/hosts", "etc/resolv.conf")  # left behind empty where buildah mounted its own
ACCEPT_ANYTHING = {"default": [{"type": "insecureAcceptAnything"}]}  # there is one image, and it is ours


class ContainerfileError(OstlerError):
    """A Containerfile could not be built."""

    exit_code = ExitCode.COMMAND_FAILED


def containerfile_inputs(definition: Definition, below: str) -> dict[str, str]:
    """What the layers depend on: the Containerfile, everything it may copy, and the layers `below`."""
    assert definition.containerfile is not None
    inputs = {"Containerfile": file_digest(definition.containerfile)}
    for path in definition.context:
        place = definition.folder / path
        inputs[path] = "directory" if place.is_dir() and not place.is_symlink() else file_digest(place)
    inputs["layers below"] = below
    inputs["Ostler's recipe for Containerfiles"] = str(RECIPE_VERSION)
    return inputs


def make_containerfile(
    cache: Cache,
    definition: Definition,
    layers: Sequence[Checksum],
    below: Directory,
    key: str,
    timestamp: int,
    *,
    report: Reporter = silent,
) -> Checksum:
    """Build on top of `layers`, which make the tree `below`, and record the new ones under `key`."""
    require_tool("buildah", package="buildah")
    assert definition.containerfile is not None
    with cache.work("containerfile") as work, space_errors("building the Containerfile", cache.root):
        layout = Layout.create(work / "image")
        settings = ImageSettings(title=definition.name, created=timestamp)
        blobs = [ImageLayer(compress_layer(cache.repo, layer, cache.blobs), "ostler") for layer in layers]
        build_image(blobs, settings, layout, cache.blobs, name="base")
        context = work / "context"
        copy_context(definition, context)
        buildah = _Buildah(work, report)
        buildah("pull", f"oci:{work / 'image'}:base")
        image = buildah("images", "--quiet", "--no-trunc").split()[0]
        buildah("tag", image, BASE_NAME)
        shutil.rmtree(work / "image")
        _build(buildah, definition.containerfile, context)
        buildah("push", "--disable-compression", RESULT_NAME, f"dir:{work / 'result'}")
        return _import(cache, work / "result", below, len(layers), key, timestamp)


def copy_context(definition: Definition, target: Path) -> None:
    """Copy what the Containerfile may use into `target`."""
    target.mkdir()
    for path in definition.context:
        source = definition.folder / path
        if source.is_symlink():
            (target / path).symlink_to(source.readlink())
        elif source.is_dir():
            (target / path).mkdir(parents=True, exist_ok=True)
        else:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / path)
            # Git keeps no more than the x bit, so nothing else may make a difference.
            (target / path).chmod(0o755 if os.access(source, os.X_OK) else 0o644)


class _Buildah:
    """buildah with its own storage below `work`, which a folder's removal ends."""

    def __init__(self, work: Path, report: Reporter) -> None:
        self._report = report
        self._home = work / "home"
        self._home.mkdir()
        policy = self._home / "policy.json"
        policy.write_text(json.dumps(ACCEPT_ANYTHING))
        storage = self._home / "storage.conf"
        folders = f'graphroot = "{work / "storage"}"\nrunroot = "{work / "run"}"\n'
        storage.write_text(f'[storage]\ndriver = "{_driver(work)}"\n{folders}')
        self._policy = policy
        self._environment = {
            "HOME": str(self._home),
            "XDG_RUNTIME_DIR": str(self._home),
            "CONTAINERS_STORAGE_CONF": str(storage),
            "BUILDAH_ISOLATION": "chroot",
            "_CONTAINERS_USERNS_CONFIGURED": "done",
            "_CONTAINERS_ROOTLESS_UID": "0",
            "TMPDIR": str(self._home),
        }

    def __call__(self, command: str, *arguments: str, shown: bool = False) -> str:
        policy = ["--signature-policy", str(self._policy)] if command in ("pull", "push", "build") else []
        argv = ["buildah", command, *policy, *arguments]
        return run(argv, env=self._environment, capture=not shown, report=self._report).text


def _driver(work: Path) -> str:
    """overlay if the kernel lets a user namespace mount one here, else vfs, which copies."""
    folders = [work / f"probe-{name}" for name in ("lower", "upper", "work", "merged")]
    for folder in folders:
        folder.mkdir()
    lower, upper, scratch, merged = folders
    options = f"lowerdir={lower},upperdir={upper},workdir={scratch},userxattr"
    script = f'mount -t overlay -o "{options}" overlay "{merged}" && umount "{merged}"'
    try:
        run(["unshare", "--mount", "/bin/sh", "-c", script])
    except CommandError:
        return "vfs"
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
    return "overlay"


def _build(buildah: _Buildah, file: Path, context: Path) -> None:
    # As a build context the name means this very image, whatever short names mean to the user who builds.
    options = ["--build-context", f"base=container-image://{BASE_NAME}:latest"]
    options += ["--layers", "--pull-never", "--network", "host", "--timestamp", "0", "--format", "oci"]
    try:
        buildah("build", *options, "--tag", RESULT_NAME, "--file", str(file), str(context), shown=True)
    except CommandError as error:
        lines = "\n".join(f"  {line}" for line in error.output[-15:])
        raise ContainerfileError(
            f"the Containerfile could not be built:\n{lines}",
            hint="the last step that is shown is the one that failed; with -v everything it printed is shown",
        ) from error


def _import(cache: Cache, folder: Path, below: Directory, known: int, key: str, timestamp: int) -> Checksum:
    """Store the layers of an image in a `dir:` folder from the number `known` on, each as what it really changes.

    A layer's tar also has files that were written anew with the content they had; these are left out.
    """
    manifest = json.loads((folder / "manifest.json").read_text())
    digests = [str(layer["digest"]).removeprefix("sha256:") for layer in manifest["layers"]][known:]
    with cache.repo.transaction() as transaction:
        layers: list[Directory] = []
        for digest in digests:
            with open(folder / digest, "rb") as stream:
                tree = ingest_tar(transaction, stream, filter=as_in_image)
            _drop_injected(cache, tree)
            merged = apply_layer(below, tree)
            if merged != below:
                layers.append(diff_layers(below, merged, transaction))
            below = merged
        layers = layers or [Directory(below.meta)]
        before = [commit_tree(transaction, layer, timestamp=timestamp) for layer in layers[:-1]]
        for index, commit in enumerate(before):
            transaction.set_ref(f"ostler/layer/{key}-{index}", commit)
        return cache.record(transaction, key, layers[-1], {"before": before}, timestamp)


def as_in_image(path: str, meta: FileMeta | DirMeta) -> FileMeta | DirMeta | None:
    """A filter for ingestion: nothing below the kernel's directories, and no notes of the overlay file system."""
    kept = keep_in_image(path, meta)
    if kept is None or not kept.xattrs:
        return kept
    return replace(kept, xattrs=tuple(pair for pair in kept.xattrs if not pair[0].startswith(OVERLAY_XATTRS)))


def _drop_injected(cache: Cache, tree: Directory) -> None:
    for path in INJECTED:
        found = tree.lookup(path)
        if isinstance(found, str) and cache.repo.file_size(Checksum(found)) == 0:
            tree.remove(path)
            parent = tree.lookup(dirname(path))
            if isinstance(parent, Directory) and not parent.files and not parent.dirs:
                tree.remove(dirname(path))
