"""Deployments on a root, both ways: `ostree admin` works on ours, we work on its, and both merge /etc alike."""

import os
import random
import re
import shutil
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ostler.formats.objects import Checksum
from ostler.store.repo import Repo
from ostler.sysroot.deploy import deploy
from ostler.sysroot.deployment import origin_of_refspec
from ostler.sysroot.etc_merge import compare_etc, plan_etc_merge, snapshot
from ostler.sysroot.install import FirstInstall, install_first
from ostler.sysroot.layout import Sysroot
from ostler.sysroot.write import plan_for, write_boot

REF = "web/stable"
Tree = dict[str, object]
"""Name → bytes (file), str (link), None (pipe), dict (directory), or (thing, mode)."""


def ostree(*arguments: object, check: bool = True, env: Mapping[str, str] | None = None) -> str:
    words = ["ostree", *map(str, arguments)]
    environment = {**os.environ, "OSTREE_SYSROOT_DEBUG": "mutable-deployments", **(env or {})}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(words)}\n{done.stderr}")
    return done.stdout if done.returncode == 0 else f"FAILED {done.stderr}"


def build(root: Path, tree: Tree) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, what in tree.items():
        thing, mode = what if isinstance(what, tuple) else (what, None)
        path = root / name
        if isinstance(thing, dict):
            build(path, thing)
        elif isinstance(thing, str):
            path.symlink_to(thing)
        elif thing is None:
            os.mkfifo(path)
        else:
            assert isinstance(thing, bytes)
            path.write_bytes(thing)
        if mode is not None:
            path.chmod(mode)


def listing(root: Path) -> dict[str, tuple[object, ...]]:
    """Path → type, owner, mode, target or content."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content: object = None
        if path.is_symlink():
            content = str(path.readlink())
        elif path.is_file():
            content = path.read_bytes()
        kind = stat.filemode(status.st_mode)
        found[str(path.relative_to(root))] = (kind, status.st_uid, status.st_gid, content)
    return found


def make_commit(folder: Path, repo: Path, version: str, etc: Tree, *, kernel: str = "6.12") -> Checksum:
    tree = folder / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    build(
        tree,
        {
            "usr": {
                "lib": {
                    "modules": {kernel: {"vmlinuz": f"kernel {kernel}".encode(), "initramfs.img": b"initramfs"}},
                    "os-release": b'ID=demo\nPRETTY_NAME="Demo Linux"\n',
                    "tmpfiles.d": {},
                },
                "etc": etc,
            },
            "var": {"lib": {"seed": b"seed"}},
            "sysroot": {},
            "boot": {},
            "ostree": "sysroot/ostree",
        },
    )
    version_option = f"--add-metadata-string=version={version}"
    printed = ostree(f"--repo={repo}", "commit", "-b", REF, f"--tree=dir={tree}", version_option)
    return Checksum(printed.strip())


def make_source(folder: Path, mode: str = "bare-user") -> Path:
    repo = folder / "source"
    ostree(f"--repo={repo}", "init", f"--mode={mode}")
    ostree(f"--repo={repo}", "config", "set", "core.fsync", "false")
    return repo


def status_of(root: Path) -> list[tuple[str, str]]:
    """(os, COMMIT.SERIAL) in the order of `ostree admin status`."""
    printed = ostree("admin", "status", f"--sysroot={root}")
    return re.findall(r"^[ *] (\S+) ([0-9a-f]{64}\.\d+)", printed, re.MULTILINE)


def ours(root: Path) -> list[tuple[str, str]]:
    return [(found.osname, found.name) for found in Sysroot(root).load().deployments]


def grub_stub(folder: Path) -> dict[str, str]:
    """Stands for grub-mkconfig, so that libostree's writing of `grub.cfg` can be seen."""
    script = folder / "grub-stub"
    script.write_text('#!/bin/sh\necho "# by the stub" > "$2"\n')
    script.chmod(0o755)
    return {"OSTREE_GRUB2_EXEC": str(script)}


def test_ostree_works_on_a_root_that_we_wrote(tmp_path: Path) -> None:
    source, root = make_source(tmp_path), tmp_path / "root"
    first = make_commit(tmp_path, source, "1.0", {"hosts": b"1", "motd": b"1"})
    root.mkdir()
    what = FirstInstall("web", REF, remote_url=f"file://{source}", kargs=("root=UUID=1", "rw"), boot_uuid="1234-ABCD")
    install_first(root, Repo.open(source), first, what)
    assert status_of(root) == [("web", f"{first}.0")]
    assert "origin refspec: ostler:web/stable" in ostree("admin", "status", f"--sysroot={root}")
    ostree(f"--repo={root}/ostree/repo", "fsck", "--quiet")

    (root / f"ostree/deploy/web/deploy/{first}.0/etc/motd").write_bytes(b"mine")
    second = make_commit(tmp_path, source, "2.0", {"hosts": b"2", "motd": b"2"}, kernel="6.13")
    ostree("admin", "upgrade", f"--sysroot={root}", "--os=web", env=grub_stub(tmp_path))
    assert ours(root) == status_of(root) == [("web", f"{second}.0"), ("web", f"{first}.0")]
    assert (root / "boot/grub/grub.cfg").read_text() == "# by the stub\n", "libostree did not see that GRUB is used"
    state = Sysroot(root).load()
    assert [found.version for found in state.deployments] == ["2.0", "1.0"]
    assert [found.kargs.text for found in state.deployments] == ["root=UUID=1 rw"] * 2
    assert [found.refspec for found in state.deployments] == ["ostler:web/stable"] * 2
    assert (root / state.deployments[0].path / "etc/motd").read_bytes() == b"mine"

    third = make_commit(tmp_path, source, "3.0", {"hosts": b"3"})
    ostree(f"--repo={root}/ostree/repo", "pull", "ostler", REF)
    deploy(Sysroot(root), third, osname="web", origin=origin_of_refspec(f"ostler:{REF}"), seal=False)
    assert ours(root) == status_of(root)
    assert ours(root)[0] == ("web", f"{third}.0")
    assert (root / "boot/grub/grub.cfg").read_text().count("menuentry ") == 2
    ostree("admin", "cleanup", f"--sysroot={root}")
    ostree("admin", "undeploy", f"--sysroot={root}", "1", env=grub_stub(tmp_path))
    assert ours(root) == status_of(root) == [("web", f"{third}.0")]
    ostree(f"--repo={root}/ostree/repo", "fsck", "--quiet")


def make_root(folder: Path, source: Path, commit: str, *options: str) -> Path:
    """A root that ostree wrote, with one deployment."""
    root = folder / "root"
    root.mkdir()
    ostree("admin", "init-fs", root)
    ostree(f"--repo={root}/ostree/repo", "config", "set", "core.fsync", "false")
    ostree("admin", "os-init", f"--sysroot={root}", "web")
    ostree(f"--repo={root}/ostree/repo", "remote", "add", "--no-gpg-verify", "ostler", f"file://{source}")
    ostree(f"--repo={root}/ostree/repo", "pull-local", "--remote=ostler", source, commit)
    ostree(f"--repo={root}/ostree/repo", "refs", "--force", f"--create=ostler:{REF}", commit)
    ostree("admin", "deploy", f"--sysroot={root}", "--os=web", *options, f"ostler:{REF}")
    return root


def test_we_work_on_a_root_that_ostree_wrote(tmp_path: Path) -> None:
    source = make_source(tmp_path)
    first = make_commit(tmp_path, source, "1.0", {"hosts": b"1", "motd": b"1"})
    root = make_root(tmp_path, source, first, "--karg=root=LABEL=x", "--karg=quiet")
    assert ours(root) == status_of(root) == [("web", f"{first}.0")]
    found = Sysroot(root).load().deployments[0]
    assert (found.kargs.text, found.version, found.refspec) == ("root=LABEL=x quiet", "1.0", f"ostler:{REF}")

    (root / found.path / "etc/motd").write_bytes(b"mine")
    second = make_commit(tmp_path, source, "2.0", {"hosts": b"2", "motd": b"2"})
    ostree(f"--repo={root}/ostree/repo", "pull", "ostler", REF)
    new = deploy(Sysroot(root), second, osname="web", origin=origin_of_refspec(f"ostler:{REF}"), seal=False)
    assert ours(root) == status_of(root) == [("web", f"{second}.0"), ("web", f"{first}.0")]
    assert "Version: 2.0" in ostree("admin", "status", f"--sysroot={root}")
    assert (root / new.path / "etc/motd").read_bytes() == b"mine"
    config_diff = ostree("admin", "config-diff", f"--sysroot={root}", "--os=web")
    assert config_diff.split() == ["M", "motd"]

    sysroot = Sysroot(root)
    state = sysroot.load()
    write_boot(sysroot, plan_for(sysroot, state, state.deployments[::-1]))
    assert ours(root) == status_of(root) == [("web", f"{first}.0"), ("web", f"{second}.0")]
    ostree("admin", "cleanup", f"--sysroot={root}")
    assert ours(root) == [("web", f"{first}.0"), ("web", f"{second}.0")]

    again = deploy(Sysroot(root), second, osname="web", origin=origin_of_refspec(f"ostler:{REF}"), seal=False)
    assert again.serial == 1
    assert ours(root) == status_of(root) == [("web", f"{second}.1"), ("web", f"{first}.0")]


def test_entries_links_and_refs_are_those_that_ostree_writes(tmp_path: Path) -> None:
    source = make_source(tmp_path)
    first = make_commit(tmp_path, source, "1.0", {"hosts": b"1"})
    root = make_root(tmp_path, source, first, "--karg=root=LABEL=x")
    second = make_commit(tmp_path, source, "2.0", {"hosts": b"2"}, kernel="6.13")
    ostree(f"--repo={root}/ostree/repo", "pull", "ostler", REF)
    twin = tmp_path / "twin"
    subprocess.run(["cp", "-a", root, twin], check=True)
    ostree("admin", "deploy", f"--sysroot={root}", "--os=web", f"ostler:{REF}")
    deploy(Sysroot(twin), second, osname="web", origin=origin_of_refspec(f"ostler:{REF}"), seal=False)

    def described(path: Path) -> tuple[object, ...]:
        entries = sorted((path / "boot/loader/entries").iterdir())
        links = {
            str(link.relative_to(path / "ostree")): str(link.readlink())
            for link in (path / "ostree").glob("boot.*/*/*/*")
            if link.is_symlink()
        }
        return (
            [entry.read_text() for entry in entries],
            (path / "boot/loader").readlink(),
            links,
            sorted(str(file.relative_to(path / "boot")) for file in (path / "boot/ostree").rglob("*")),
            sorted(ostree(f"--repo={path}/ostree/repo", "refs").split()),
            [origin.read_text().split() for origin in sorted((path / "ostree/deploy/web/deploy").glob("*.origin"))],
        )

    assert described(twin) == described(root)


CASES: dict[str, tuple[Tree, Tree, Tree]] = {
    "unchanged takes the new default": ({"a": b"1"}, {"a": b"1"}, {"a": b"2"}),
    "unchanged follows a deletion": ({"a": b"1"}, {"a": b"1"}, {}),
    "modified wins": ({"a": b"1"}, {"a": b"x"}, {"a": b"2"}),
    "modified survives a deletion": ({"a": b"1"}, {"a": b"x"}, {}),
    "mode only keeps the content": ({"a": b"1"}, {"a": (b"1", 0o600)}, {"a": b"2"}),
    "removed stays removed": ({"a": b"1"}, {}, {"a": b"2"}),
    "removed directory": ({"d": {"a": b"1"}}, {}, {"d": {"a": b"2", "b": b"2"}}),
    "removed in a directory that is gone": ({"d": {"a": b"1", "b": b"1"}}, {"d": {"b": b"1"}}, {}),
    "added file": ({}, {"a": b"x"}, {"a": b"2"}),
    "added link": ({}, {"a": "nowhere"}, {"a": b"2"}),
    "link changed": ({"a": "one"}, {"a": "two"}, {"a": "three"}),
    "link to file": ({"a": "one"}, {"a": b"x"}, {"a": "three"}),
    "file to link": ({"a": b"1"}, {"a": "two"}, {"a": b"2"}),
    "added directory": ({}, {"d": ({"a": b"x"}, 0o700)}, {}),
    "added directory that the new version has": ({}, {"d": ({"a": b"x"}, 0o700)}, {"d": {"b": b"2"}}),
    "empty added directory that the new version has": ({}, {"d": ({}, 0o700)}, {"d": {"b": b"2"}}),
    "directory over a new file": ({}, {"d": {"a": b"x"}}, {"d": b"2"}),
    "file to directory": ({"d": b"1"}, {"d": {"a": b"x"}}, {"d": b"2"}),
    "file to directory, new directory": ({"d": b"1"}, {"d": {"a": b"x"}}, {"d": {"b": b"2"}}),
    "mode of a directory is lost": ({"d": {"a": b"1"}}, {"d": ({"a": b"1"}, 0o700)}, {"d": {"a": b"2"}}),
    "mode of a directory comes along": ({"d": {"a": b"1"}}, {"d": ({"a": b"x"}, 0o700)}, {"d": {"a": b"2"}}),
    "mode of a folder in a folder": ({"d": {"e": {}}}, {"d": ({"e": ({}, 0o700)}, 0o711)}, {"d": {"e": {}}}),
    "folder made again": ({"d": {"e": {"a": b"1"}}}, {"d": ({"e": ({"a": b"x"}, 0o711)}, 0o700)}, {}),
    "added pipe": ({}, {"p": None}, {}),
    "pipe over a default": ({"p": b"1"}, {"p": None}, {"p": b"2"}),
    "file against a new directory": ({"a": b"1"}, {"a": b"x"}, {"a": {}}),
    "added file against a new directory": ({}, {"a": b"x"}, {"a": {}}),
    "directory made a file": ({"d": {"a": b"1"}}, {"d": b"x"}, {"d": {"a": b"1"}}),
    "directory made a link": ({"d": {"a": b"1"}}, {"d": "e"}, {"d": {"a": b"1"}}),
    "change below a new file": ({"d": {"a": b"1"}}, {"d": {"a": b"x"}}, {"d": b"2"}),
    "change below a new dangling link": ({"d": {"a": b"1"}}, {"d": {"a": b"x"}}, {"d": "nowhere"}),
    "added below a new file": ({"d": {}}, {"d": {"a": b"x"}}, {"d": b"2"}),
}


class Merger:
    """Merges /etc through deployments on one root, by ostree and by us, over and over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = make_source(folder)
        self.count = 0

    def merge(self, base: Tree, local: Tree, new: Tree) -> tuple[object, object]:
        """(what ostree makes of it, what we make of it): a listing of the new /etc, or "conflict"."""
        self.count += 1
        folder = self.folder / str(self.count)
        first = make_commit(folder, self.source, "1", {"os": b"", **base})
        second = make_commit(folder, self.source, "2", {"os": b"", **new})
        root = make_root(folder, self.source, first)
        ostree(f"--repo={root}/ostree/repo", "pull", "ostler", REF)
        etc = root / f"ostree/deploy/web/deploy/{first}.0/etc"
        shutil.rmtree(etc)
        build(etc, {"os": b"", **local})
        etc.chmod((etc.parent / "usr/etc").stat().st_mode & 0o7777)
        deployed = root / f"ostree/deploy/web/deploy/{second}.0"
        plan = plan_etc_merge(*map(snapshot, (etc.parent / "usr/etc", etc, folder / "tree/usr/etc")))
        if not plan.conflicts:
            twin = folder / "twin"
            subprocess.run(["cp", "-a", root, twin], check=True)
            deploy(Sysroot(twin), second, osname="web", origin=origin_of_refspec(f"ostler:{REF}"), seal=False)
        printed = ostree("admin", "deploy", f"--sysroot={root}", "--os=web", f"ostler:{REF}", check=False)
        theirs: object = "conflict" if printed.startswith("FAILED") else listing(deployed / "etc")
        mine: object = "conflict" if plan.conflicts else listing(twin / deployed.relative_to(root) / "etc")
        shutil.rmtree(folder)
        return theirs, mine


@pytest.fixture(scope="module")
def merger(tmp_path_factory: pytest.TempPathFactory) -> Merger:
    return Merger(tmp_path_factory.mktemp("merge"))


def conflicts(folder: Path, case: tuple[Tree, Tree, Tree]) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    for name, tree in zip("bln", case, strict=True):
        build(folder / name, tree)
    return bool(plan_etc_merge(*(snapshot(folder / name) for name in "bln")).conflicts)


def test_all_cases_that_merge_do_so_as_ostree_does(merger: Merger, tmp_path: Path) -> None:
    good = [case for case in CASES.values() if not conflicts(tmp_path / "case", case)]
    assert len(good) > 20
    triples = ({f"case{number}": case[part] for number, case in enumerate(good)} for part in range(3))
    theirs, mine = merger.merge(*triples)  # type: ignore[arg-type]
    assert theirs == mine
    assert isinstance(theirs, dict)


@pytest.mark.parametrize("name", CASES)
def test_what_is_a_conflict_for_us_is_one_for_ostree(merger: Merger, tmp_path: Path, name: str) -> None:
    if conflicts(tmp_path / "case", CASES[name]):
        theirs, mine = merger.merge(*CASES[name])
        assert (theirs, mine) == ("conflict", "conflict")


leaves = st.sampled_from([b"1", b"2", b"3", "nowhere", (b"1", 0o600)])
trees = st.recursive(
    st.dictionaries(st.sampled_from("ab"), leaves, max_size=2),
    lambda inner: st.dictionaries(
        st.sampled_from("abd"), leaves | inner | st.tuples(inner, st.just(0o711)), max_size=3
    ),
    max_leaves=7,
)


def removes_below_a_file(folder: Path, case: tuple[Tree, Tree, Tree]) -> bool:
    """libostree gives up there; there is nothing to remove, so we go on."""
    conflicts(folder, case)
    base, local, new = (snapshot(folder / name) for name in "bln")
    gone = compare_etc(base, local).removed
    above = {path[: match.start()] for path in gone for match in re.finditer("/", path)}
    return any(path in new and new[path].kind != stat.S_IFDIR for path in above)


@settings(max_examples=3, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False), st.lists(st.tuples(trees, trees, trees), min_size=40, max_size=40))
def test_random_trees_merge_as_with_ostree(
    merger: Merger,
    tmp_path_factory: pytest.TempPathFactory,
    chance: random.Random,
    drawn: list[tuple[Tree, Tree, Tree]],
) -> None:
    scratch = tmp_path_factory.mktemp("case") / "case"
    cases = [
        (base, chance.choice([local, {**base, **local}]), chance.choice([new, {**base, **new}]))
        for base, local, new in drawn
    ]
    cases = [case for case in cases if not removes_below_a_file(scratch, case)]
    good = [case for case in cases if not conflicts(scratch, case)]
    triples = ({f"case{number}": case[part] for number, case in enumerate(good)} for part in range(3))
    theirs, mine = merger.merge(*triples)  # type: ignore[arg-type]
    assert theirs == mine
    for case in [case for case in cases if conflicts(scratch, case)][:2]:
        assert merger.merge(*case) == ("conflict", "conflict")
