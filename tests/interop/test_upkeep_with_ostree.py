"""Pruning, checking and summaries beside libostree: the same options leave the same objects, both find the same."""

import os
import random
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum, ObjectType
from ostler.formats.summary import Summary
from ostler.store.delta.generate import generate
from ostler.store.fsck import FsckOptions, examine, fsck
from ostler.store.prune import prune
from ostler.store.repair import repair
from ostler.store.repo import Repo
from ostler.store.summary import summarise, write_summary

DAY = 86400


def ostree(*arguments: str | Path) -> str:
    done = subprocess.run(["ostree", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ostree {' '.join(map(str, arguments))}: {done.stderr}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two branches and some history, made by `ostree`; with objects that nothing needs, and a detached commit."""
    work = tmp_path_factory.mktemp("made")
    repo, tree = work / "repo", work / "tree"
    ostree(f"--repo={repo}", "init", "--mode=archive")
    tree.mkdir()
    for day in range(6):
        for name in ("stable", "dev"):
            (tree / "changing").write_text(f"{name} {day}")
            (tree / f"only-{name}").mkdir(exist_ok=True)
            (tree / f"only-{name}" / str(day)).write_text(f"{name} {day}")
            moment = f"--timestamp=@{day * DAY}"
            ostree(f"--repo={repo}", "commit", f"--branch={name}", moment, f"--tree=dir={tree}")
    (tree / "stray").write_text("stray")
    ostree(f"--repo={repo}", "commit", "--orphan", "--timestamp=@0", f"--tree=dir={tree}")
    ostree(f"--repo={repo}", "refs", "--collections", "--create=org.example.Other:mirrored", "dev^^")
    return repo


def names(repo: Path) -> set[str]:
    return {f"{path.parent.name}/{path.name}" for path in (repo / "objects").glob("??/*")}


CASES: list[tuple[list[str], Mapping[str, object]]] = [
    (["--refs-only", "--depth=0"], {"depth": 0}),
    (["--refs-only", "--depth=2"], {"depth": 2}),
    (["--refs-only"], {"depth": -1}),
    ([], {"refs_only": False, "depth": -1}),
    (["--refs-only", "--depth=1", "--commit-only"], {"depth": 1, "commit_only": True}),
    (["--keep-younger-than=@259200"], {"keep_younger_than": 3 * DAY}),
    (["--depth=0", "--retain-branch-depth=stable=2"], {"depth": 0, "retain_branch_depth": {"stable": 2}}),
    (["--depth=0", "--only-branch=dev"], {"depth": 0, "only_branch": ["dev"]}),
    (
        ["--keep-younger-than=@345600", "--only-branch=stable", "--retain-branch-depth=dev=1"],
        {"keep_younger_than": 4 * DAY, "only_branch": ["stable"], "retain_branch_depth": {"dev": 1}},
    ),
]


@pytest.mark.parametrize(("theirs", "ours"), CASES, ids=[" ".join(case[0]) or "plain" for case in CASES])
def test_the_same_options_leave_the_same_objects(
    made: Path, tmp_path: Path, theirs: list[str], ours: Mapping[str, object]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for copy in (first, second):
        shutil.copytree(made, copy, symlinks=True)
        if ours.get("depth") not in (0, -1) or len(ours) > 1:
            # With other options libostree forgets these, or stops at a commit that another ref has led to; we do not.
            shutil.rmtree(copy / "refs/mirrors")
    said = ostree(f"--repo={first}", "prune", *theirs)
    result = prune(Repo.open(second), **ours)  # type: ignore[arg-type]
    assert names(second) == names(first)
    assert re.search(rf"objects: {result.total}$", said, re.MULTILINE)
    deleted = re.search(r"Deleted (\d+) objects, (\d+)", said)
    assert result.removed == (int(deleted.group(1)) if deleted else 0)
    ostree(f"--repo={second}", "fsck")
    assert fsck(Repo.open(first)) == []


def test_a_deleted_commit_leaves_the_same_tombstone(made: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for copy in (first, second):
        shutil.copytree(made, copy, symlinks=True)
    commit = ostree(f"--repo={made}", "rev-parse", "stable^^")
    ostree(f"--repo={first}", "prune", f"--delete-commit={commit}")
    prune(Repo.open(second), delete_commit=Checksum(commit), refs_only=False, depth=-1)
    assert names(second) == names(first)
    name = f"objects/{commit[:2]}/{commit[2:]}.tombstone-commit"
    assert (second / name).read_bytes() == (first / name).read_bytes()


def test_summaries_say_what_libostree_says(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "repo"
    shutil.copytree(made, path, symlinks=True)
    repo = Repo.open(path)
    generate(repo, repo.resolve("stable"), from_=repo.resolve("stable^"))
    generate(repo, repo.resolve("dev"))
    ostree(f"--repo={path}", "summary", "-u", "--add-metadata=key='value'")
    theirs = Summary.decode((path / "summary").read_bytes())
    last = int.from_bytes(theirs.metadata["ostree.summary.last-modified"].value.to_bytes(8, "little"), "big")
    ours = summarise(Repo.open(path), timestamp=last, additional={"key": Variant("s", "value")})
    assert dict(theirs.refs.items()) == ours.refs
    assert dict(theirs.metadata.items()) == ours.metadata
    index = {file.name: file.read_bytes() for file in path.glob("delta-indexes/??/*")}
    shutil.rmtree(path / "delta-indexes")
    write_summary(Repo.open(path), always=True)
    assert {file.name: file.read_bytes() for file in path.glob("delta-indexes/??/*")} == index
    shown = ostree(f"--repo={path}", "summary", "--view")
    assert "* dev" in shown
    assert "org.example.Other" in shown


@pytest.mark.parametrize("mode", ["archive", "bare-user", *(["bare"] if os.geteuid() == 0 else [])])
def test_damage_is_found_by_both_and_mended_from_a_copy(made: Path, tmp_path: Path, mode: str) -> None:
    path = tmp_path / "repo"
    ostree(f"--repo={path}", "init", f"--mode={mode}")
    ostree(f"--repo={path}", "pull-local", "--untrusted", "--depth=-1", made, "stable")
    repo = Repo.open(path)
    choice = random.Random(3)
    objects = sorted(name for name in repo.objects() if name[1] is not ObjectType.COMMIT)
    for number, name in enumerate(choice.sample(objects, 6)):
        file = repo.object_path(*name)
        if number % 2:
            file.unlink()
        else:
            damaged = b"damaged" + file.read_bytes()
            file.unlink()  # `ostree` made links to the objects of the other repository
            file.write_bytes(damaged)
    failed = subprocess.run(["ostree", f"--repo={path}", "fsck", "--all"], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert examine(repo, FsckOptions(reachable_only=True)).problems
    result = repair(repo, made)
    assert list(result.after.problems) == []
    ostree(f"--repo={path}", "fsck")
    assert not list((path / "state").glob("*.commitpartial"))
