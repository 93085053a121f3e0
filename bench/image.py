"""How long a layer takes on its way out of the store into a compressed blob, against `tar | zstd` and `skopeo copy`.

Run as root: `python bench/image.py [--tar FILE | --size MB]`. Without `--tar` the layer is made of this machine's
/usr. All three read the same files and write zstd; ours hashes both streams too, as skopeo does and the pipe does not.
"""

import argparse
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ostler.formats.objects import Checksum, DirMeta, FileMeta
from ostler.oci.descriptor import CONFIG, LAYER, MANIFEST, canonical_json, digest_of
from ostler.oci.importer import import_layout
from ostler.oci.layer import compress_layer
from ostler.oci.layout import Layout
from ostler.oci.tarball import write_tar
from ostler.store.checkout import Checkout, checkout
from ostler.store.commit import commit_tree
from ostler.store.content import RepoMode
from ostler.store.ingest import ingest_directory, ingest_tar
from ostler.store.repo import Repo
from ostler.store.tree import load_commit_tree


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def best(work: Callable[[], object], prepare: Callable[[], object], runs: int) -> float:
    found = []
    for _ in range(runs):
        prepare()
        found.append(timed(work))
    return min(found)


def fill(repo: Repo, tar: Path | None, size: int) -> Checksum:
    left = size

    def up_to_size(path: str, meta: FileMeta | DirMeta) -> FileMeta | DirMeta | None:
        nonlocal left
        if isinstance(meta, FileMeta):
            status = (Path("/usr") / path).lstat()
            left -= status.st_size
        return meta if left > 0 else None

    with repo.transaction() as transaction:
        if tar is not None:
            with tar.open("rb") as file:
                tree = ingest_tar(transaction, file, filter=without_devices)
        else:
            tree = ingest_directory(transaction, Path("/usr"), filter=up_to_size)
        return commit_tree(transaction, tree, timestamp=0)


def without_devices(path: str, meta: FileMeta | DirMeta) -> FileMeta | DirMeta | None:
    return None if path.startswith("dev/") else meta


def plain_image(repo: Repo, commit: Checksum, folder: Path) -> Layout:
    """The layer as an uncompressed image, which is what skopeo can compress."""
    with (folder / "layer.tar").open("wb") as out:
        write_tar(repo, load_commit_tree(repo, commit), out)
    data = (folder / "layer.tar").read_bytes()
    layout = Layout.create(folder / "plain")
    layer = layout.add_document(LAYER, data)
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [digest_of(data)]}}
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": layout.add_document(CONFIG, canonical_json(config)).to_json(),
        "layers": [layer.to_json()],
    }
    layout.set_image("x", layout.add_document(MANIFEST, canonical_json(body)))
    return layout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tar", type=Path, help="make the layer of this tar file")
    parser.add_argument("--size", type=int, default=480, help="megabytes of /usr otherwise")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-image-") as name:
        folder = Path(name)
        repo = Repo.create(folder / "repo", RepoMode.BARE_USER, settings={"fsync": "false"})
        commit = fill(repo, options.tar, options.size * 1_000_000)
        layout = plain_image(repo, commit, folder)
        raw = (folder / "layer.tar").stat().st_size
        checkout(repo, load_commit_tree(repo, commit), folder / "tree", how=Checkout.COPY)
        blobs, copy, piped = folder / "blobs", folder / "copy", folder / "piped.zst"

        def remove(path: Path) -> Callable[[], None]:
            return lambda: shutil.rmtree(path, ignore_errors=True)

        def shell(command: str) -> Callable[[], object]:
            return lambda: subprocess.run(["sh", "-c", command], check=True, capture_output=True)

        pipe = f"tar -C {folder}/tree --xattrs --sort=name -cf - . | zstd -q -f -T0 -7 --long=25 -o {piped}"
        recompress = f"skopeo copy --dest-compress-format zstd oci:{layout.path}:x oci:{copy}:x"
        import_repo = folder / "imported"
        rows = [
            (
                "ostler: store to zstd blob",
                best(lambda: compress_layer(repo, commit, blobs), remove(blobs), options.runs),
            ),
            ("tar | zstd -T0 -7 --long=25", best(shell(pipe), lambda: None, options.runs)),
            ("skopeo copy to zstd", best(shell(recompress), remove(copy), options.runs)),
        ]

        def bring_in() -> None:
            host = Repo.create(import_repo, RepoMode.BARE, settings={"fsync": "false"})
            import_layout(host, Layout.open(copy), "x", reference="oci:bench")

        rows.append(("ostler: zstd image to bare store", best(bring_in, remove(import_repo), options.runs)))
        ours = rows[0][1]
        made = next((blobs / "sha256").iterdir()).stat().st_size
        print(f"layer of {raw / 1e6:.0f} MB, blob {made / 1e6:.1f} MB (tar | zstd {piped.stat().st_size / 1e6:.1f} MB)")
        for label, seconds in rows:
            print(f"{label:34} {seconds:7.2f} s {raw / 1e6 / seconds:7.0f} MB/s   {seconds / ours:5.2f}x")


if __name__ == "__main__":
    main()
