"""Checkouts of Ostler beside those of `ostree checkout`, with every option: the same trees, or an error from both."""

import hashlib
import os
import random
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from store_samples import make_tree

from ostler.errors import OstlerError
from ostler.store.checkout import Checkout, CheckoutOptions, OnExisting, checkout, stored_tree
from ostler.store.repo import Repo

pytestmark = pytest.mark.skipif(shutil.which("ostree") is None or os.geteuid() != 0, reason="needs ostree and root")

MODES = ("bare", "bare-user", "bare-user-only", "archive")
FLAGS = {
    "--union": OnExisting.REPLACE,
    "--union-add": OnExisting.KEEP,
    "--union-identical": OnExisting.IDENTICAL,
}
# Those with which `ostree checkout` leaves the cache of unpacked files alone.
UNCACHED = {
    "--disable-cache", "--whiteouts", "-H", "--union-add", "-C", "-z", "-M", "--union-identical", "--skip-list",
    "--process-passthrough-whiteouts",
}  # fmt: skip


class Seen(NamedTuple):
    mode: int
    uid: int
    gid: int
    content: str
    xattrs: tuple[tuple[str, bytes], ...]
    linked: bool
    rdev: int


def ostree(*words: str | Path, fails: bool = False) -> str:
    done = subprocess.run(["ostree", *map(str, words)], capture_output=True, text=True, check=False)
    assert fails or done.returncode == 0, f"ostree {words}: {done.stdout}{done.stderr}"
    return done.stdout.strip() if done.returncode == 0 else f"error {done.stderr}"


def seen(folder: Path) -> dict[str, Seen]:
    """The folder, if there is one, and all that lies in it; without times, which are those of the moment in copies."""
    found = {}
    for path in [folder, *folder.rglob("*")] if folder.exists() else ():
        status = path.lstat()
        content = ""
        if stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)  # noqa: PTH115
        names = sorted(os.listxattr(path, follow_symlinks=False))
        found[str(path.relative_to(folder))] = Seen(
            status.st_mode,
            status.st_uid,
            status.st_gid,
            content,
            tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names),
            not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1,
            status.st_rdev,
        )
    return found


def make_repo(path: Path, mode: str) -> Path:
    ostree("init", f"--repo={path}", f"--mode={mode}")
    ostree("config", f"--repo={path}", "set", "core.fsync", "false")
    return path


def commit(repo: Path, ref: str, tree: Path, mode: str) -> None:
    canonical = ["--canonical-permissions", "--no-xattrs"] if mode == "bare-user-only" else []
    ostree("commit", f"--repo={repo}", f"--branch={ref}", *canonical, f"--tree=dir={tree}")


def ours(path: Path, ref: str, dest: Path, flags: tuple[str, ...], listed: frozenset[str] = frozenset()) -> None:
    repo = Repo.open(path)
    options = CheckoutOptions(
        force_copy="-C" in flags,
        require_hardlinks="-H" in flags,
        whiteouts="--whiteouts" in flags,
        passthrough_whiteouts="--process-passthrough-whiteouts" in flags,
        bareuseronly_dirs="-M" in flags,
        skip=listed,
        uncompressed_cache=not UNCACHED & set(flags) and not listed,
        new_folder=True,
    )
    for flag in flags:
        if flag.startswith("--subpath="):
            options = replace(options, subpath=flag.partition("=")[2])
    existing = next((FLAGS[flag] for flag in flags if flag in FLAGS), OnExisting.FAIL)
    how = Checkout.USER if "-U" in flags else Checkout.HARDLINK
    checkout(repo, stored_tree(repo, ref), dest, how=how, on_existing=existing, options=options)


def compare(repo: Path, ref: str, work: Path, flags: tuple[str, ...], base: Path | None = None) -> bool:
    """Check out with both into copies of `base`; whether that went well."""
    mine, reference = work / "mine", work / "reference"
    for folder in (mine, reference):
        shutil.rmtree(folder, ignore_errors=True)
        if base is not None:
            subprocess.run(["cp", "-a", base, folder], check=True)
    words = [flag for flag in flags if not flag.startswith("--skip-list=")]
    listed = [flag.partition("=")[2].split(",") for flag in flags if flag.startswith("--skip-list=")]
    if listed:
        (work / "list").write_text("".join(line + "\n" for line in listed[0]))
        words.append(f"--skip-list={work / 'list'}")
    shutil.rmtree(repo / "uncompressed-objects-cache", ignore_errors=True)
    answer = ostree("checkout", f"--repo={repo}", *words, ref, reference, fails=True)
    theirs = seen(reference)
    shutil.rmtree(repo / "uncompressed-objects-cache", ignore_errors=True)
    try:
        ours(repo, ref, mine, tuple(words), frozenset(listed[0]) if listed else frozenset())
    except OstlerError as error:
        assert answer.startswith("error"), f"{flags}: only Ostler fails: {error.message}"
        return False
    assert not answer.startswith("error"), f"{flags}: only ostree fails: {answer}"
    assert seen(mine) == theirs, flags
    return True


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = make_tree(tmp_path_factory.mktemp("source"))
    (tree / "usr/shared").mkdir(mode=0o777)
    (tree / "usr/shared").chmod(0o2777)
    (tree / "usr/.ostree-wh.gone").write_bytes(b"")
    (tree / "usr/sticky").write_bytes(b"sticky")
    (tree / "usr/sticky").chmod(0o1664)
    return tree


@pytest.fixture(scope="module", params=MODES)
def repo(request: pytest.FixtureRequest, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    mode: str = request.param
    path = make_repo(tmp_path_factory.mktemp("repos") / mode, mode)
    tree = source
    if mode == "bare-user-only":
        tree = path.parent / "plain"
        subprocess.run(["cp", "-a", source, tree], check=True)
        subprocess.run(["chmod", "-R", "u+rw,g-s,u-s,o-w,-t", tree], check=True)
    commit(path, "main", tree, mode)
    return path


@pytest.mark.parametrize(
    "flags",
    [
        (), ("-U",), ("-C",), ("-U", "-C"), ("-H",), ("-U", "-H"), ("-M",), ("-U", "-M"), ("-z",),
        ("-U", "--disable-cache"), ("--process-passthrough-whiteouts",), ("-U", "--process-passthrough-whiteouts"),
        ("--subpath=/usr",), ("-U", "--subpath=/usr/bin"), ("-U", "--subpath=/usr/big"), ("-C", "--subpath=/bin"),
        ("--subpath=/none",), ("--subpath=/bin/tool",), ("-U", "--skip-list=/usr/big,/usr/bin,/usr/empty/"),
        ("-C", "--skip-list=/usr/bin/tool,/bin"), ("--skip-list=/",), ("-U", "--subpath=/usr", "--skip-list=/big"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_new_folder_is_the_same(repo: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    compare(repo, "main", tmp_path, flags)


def test_the_cache_of_one_serves_the_other(source: Path, tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo", "archive")
    commit(repo, "main", source, "archive")
    ours(repo, "main", tmp_path / "mine", ("-U",))
    ostree("checkout", f"--repo={repo}", "-U", "main", tmp_path / "reference")
    ours(repo, "main", tmp_path / "again", ("-U",))
    for name in ("usr/big", "usr/bin/tool"):
        assert (tmp_path / "mine" / name).samefile(tmp_path / "reference" / name)
        assert (tmp_path / "mine" / name).samefile(tmp_path / "again" / name)
    assert seen(tmp_path / "mine") == seen(tmp_path / "reference")


def test_files_that_exist_are_never_a_new_folder(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    assert not compare(repo, "main", tmp_path, (), base=tmp_path / "base")
    (tmp_path / "file").write_bytes(b"")
    assert not compare(repo, "main", tmp_path, ("--union",), base=tmp_path / "file")


# --- random trees upon random trees

NAMES = ("a", "b", "-c", "d.e", ".wh.a", ".wh.b", ".wh.-c", ".wh..wh..opq", ".ostree-wh.b")


def random_tree(root: Path, draw: random.Random, depth: int = 0, *, owners: bool) -> None:
    root.mkdir()
    for name in draw.sample(NAMES, draw.randrange(1, 5)):
        path = root / name
        kind = draw.random()
        if kind < 0.35 and depth < 3 and not name.startswith(".wh"):
            random_tree(path, draw, depth + 1, owners=owners)
        elif kind < 0.5:
            path.symlink_to(draw.choice(("nowhere", "no/where")))
        else:
            path.write_bytes(draw.choice((b"", b"one", b"two", b"three" * 1000)))
            path.chmod(draw.choice((0o644, 0o755, 0o600)))
            if owners and draw.random() < 0.3:
                os.chown(path, 3, 4)
    root.chmod(draw.choice((0o755, 0o700, 0o775)))


def random_flags(draw: random.Random, mode: str) -> tuple[str, ...]:
    flags = draw.choice(((), ("--union",), ("--union",), ("--union-add",), ("--union-identical", "-H")))
    if draw.random() < 0.5 or (mode != "bare" and "-H" in flags):
        flags += ("-U",)
    if "-H" not in flags and draw.random() < 0.3:
        flags += ("-C",)
    if draw.random() < 0.4 and "-H" not in flags:
        flags += ("--whiteouts",)
    if draw.random() < 0.3:
        flags += ("--process-passthrough-whiteouts",)
    return flags


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(6))
def test_random_trees_upon_each_other(mode: str, seed: int, tmp_path: Path) -> None:
    draw = random.Random(f"{mode} {seed}")
    repo = make_repo(tmp_path / "repo", mode)
    for ref in ("one", "two", "three"):
        random_tree(tmp_path / ref, draw, owners=mode != "bare-user-only")
        commit(repo, ref, tmp_path / ref, mode)
    draw_base = draw.choice(("one", None))
    if draw_base is not None:
        ostree("checkout", f"--repo={repo}", *(() if mode == "bare" else ("-U",)), "one", tmp_path / "base")
    for ref in ("two", "three", "one"):
        for _ in range(3):
            compare(repo, ref, tmp_path, random_flags(draw, mode), base=tmp_path / "base" if draw_base else None)
