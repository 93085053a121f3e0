"""The same options give the same commit from Ostler and from `ostree commit`, whatever the tree is."""

import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from store_samples import make_tree

from ostler.errors import OstlerError
from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum, ObjectType
from ostler.store.archives import ingest_archive
from ostler.store.combine import apply_modifier, overlay
from ostler.store.commit import bootable_metadata, commit_tree
from ostler.store.ingest import ingest_directory
from ostler.store.inodes import hard_links
from ostler.store.modifier import Modifier, parse_skip_list, parse_statoverride
from ostler.store.repo import CommitState, Repo, RepoMode
from ostler.store.selinux import load_policy
from ostler.store.sizes import decode_sizes
from ostler.store.transaction import Transaction
from ostler.store.tree import Directory, load_commit_tree

TIMESTAMP = 1_700_000_000
BINDING = {"ostree.ref-binding": Variant("as", ["main"])}
FAST = {"fsync": "false"}


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ostree", *map(str, words)], capture_output=True, text=True, check=False)


def ostree(*words: str | Path) -> str:
    done = run(*words)
    assert done.returncode == 0, f"ostree {words}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def init(path: Path, mode: RepoMode) -> Path:
    ostree("init", f"--repo={path}", f"--mode={mode}")
    ostree("config", f"--repo={path}", "set", "core.fsync", "false")
    return path


def theirs(path: Path, *options: str | Path) -> Checksum:
    common = (f"--repo={path}", "--branch=main", "--parent=none", f"--timestamp=@{TIMESTAMP}", "--subject=s")
    return Checksum(ostree("commit", *common, *options))


def ours(repo: Repo, build: Callable[[Transaction], Directory], **keywords: Any) -> Checksum:
    with repo.transaction() as transaction:
        if keywords.get("generate_sizes"):
            transaction.record_sizes()
        tree = build(transaction)
        metadata = {**BINDING, **keywords.pop("metadata", {})}
        commit = commit_tree(transaction, tree, timestamp=TIMESTAMP, subject="s", metadata=metadata, **keywords)
        transaction.set_ref("main", commit)
    return commit


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("source"))


@pytest.fixture(params=list(RepoMode))
def mode(request: pytest.FixtureRequest) -> RepoMode:
    found: RepoMode = request.param
    return found


STATOVERRIDE = "2048 /usr/secret\n=420 /usr/bin/tool\n=448 /usr/empty\n"
SKIP = "/usr/noise\n/usr/bin\n"
MODIFIERS: Mapping[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "owner": (("--owner-uid=7", "--owner-gid=9"), {"owner_uid": 7, "owner_gid": 9}),
    "no xattrs": (("--no-xattrs",), {"no_xattrs": True}),
    "canonical": (("--canonical-permissions",), {"canonical_permissions": True}),
    "read-only": (("--mode-ro-executables",), {"read_only_executables": True}),
    "lists": (
        ("--statoverride={folder}/statoverride", "--skip-list={folder}/skip"),
        {"statoverride": parse_statoverride(STATOVERRIDE), "skip": parse_skip_list(SKIP)},
    ),
}


@pytest.mark.parametrize("name", MODIFIERS)
def test_each_modifier_gives_the_same_commit(name: str, mode: RepoMode, source: Path, tmp_path: Path) -> None:
    options, keywords = MODIFIERS[name]
    (tmp_path / "statoverride").write_text(STATOVERRIDE)
    (tmp_path / "skip").write_text(SKIP)
    modifier = Modifier(**keywords)
    expected = theirs(init(tmp_path / "theirs", mode), *(o.format(folder=tmp_path) for o in options), source)
    repo = Repo.create(tmp_path / "ours", mode, settings=FAST)

    def build(transaction: Transaction) -> Directory:
        return ingest_directory(transaction, source, filter=modifier, attributes=modifier.attributes)

    assert ours(repo, build) == expected
    assert modifier.unmatched_statoverride == modifier.unmatched_skips == []
    ostree("fsck", "--quiet", f"--repo={repo.path}")


def test_a_modifier_over_a_commit(mode: RepoMode, source: Path, tmp_path: Path) -> None:
    reference = init(tmp_path / "theirs", mode)
    ostree("commit", f"--repo={reference}", "--branch=first", f"--timestamp=@{TIMESTAMP}", source)
    expected = theirs(reference, "--owner-uid=5", "--tree=ref=first")
    repo = Repo.create(tmp_path / "ours", mode, settings=FAST)

    def build(transaction: Transaction) -> Directory:
        return apply_modifier(transaction, ingest_directory(transaction, source), Modifier(owner_uid=5))

    assert ours(repo, build) == expected


def test_trees_over_each_other(mode: RepoMode, source: Path, tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "usr/new/deep").mkdir(parents=True)
    (top / "usr/nothing").write_text("something")
    (top / "usr").chmod(0o711)
    (top / "bin").symlink_to("sbin")
    with tarfile.open(tmp_path / "more.tar.xz", "w:xz") as tar:
        tar.add(top / "usr/nothing", arcname="usr/from-tar")
        member = tarfile.TarInfo("opt/made/here/link")
        member.type, member.linkname, member.mode, member.uid, member.gid = tarfile.SYMTYPE, "target", 0o777, 3, 4
        tar.addfile(member)
    trees = (f"--tree=dir={source}", f"--tree=dir={top}", f"--tree=tar={tmp_path}/more.tar.xz")
    expected = theirs(init(tmp_path / "theirs", mode), "--tar-autocreate-parents", *trees)
    repo = Repo.create(tmp_path / "ours", mode, settings=FAST)

    def build(transaction: Transaction) -> Directory:
        tree = ingest_directory(transaction, source)
        overlay(tree, ingest_directory(transaction, top))
        with open(tmp_path / "more.tar.xz", "rb") as archive:
            return ingest_archive(transaction, archive, autocreate_parents=True, onto=tree)

    if mode is RepoMode.BARE_USER_ONLY:  # libostree leaves the owner to parents that it makes there
        return
    assert ours(repo, build) == expected


def test_attributes_without_value_are_left_out(mode: RepoMode, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").touch()
    for path in (tmp_path / "tree", tmp_path / "tree/file"):
        os.setxattr(path, "user.empty", b"")
        os.setxattr(path, "user.full", b"value")
    expected = theirs(init(tmp_path / "theirs", mode), tmp_path / "tree")
    repo = Repo.create(tmp_path / "ours", mode, settings=FAST)
    assert ours(repo, lambda transaction: ingest_directory(transaction, tmp_path / "tree")) == expected


def test_hard_links_of_a_checkout_are_not_read_again(source: Path, tmp_path: Path) -> None:
    for mode in (RepoMode.BARE, RepoMode.BARE_USER):
        repo = Repo.create(tmp_path / mode, mode, settings=FAST)
        first = ours(repo, lambda transaction: ingest_directory(transaction, source))
        out = tmp_path / f"out-{mode}"
        user = ("-U",) if mode is RepoMode.BARE_USER else ()
        ostree("checkout", f"--repo={repo.path}", "-H", *user, "main", out)
        (out / "usr/fresh").write_text("fresh")
        for trusted, option in ((False, "--link-checkout-speedup"), (True, "--devino-canonical")):
            expected = theirs(repo.path, option, f"--tree=dir={out}")
            with repo.transaction() as transaction:
                links = hard_links(repo, trusted=trusted)
                tree = ingest_directory(transaction, out, links=links)
                found = commit_tree(transaction, tree, timestamp=TIMESTAMP, subject="s", metadata=BINDING)
                assert transaction.stats.cache_hits >= 4
            assert found == expected != first


def test_sizes_are_those_of_the_objects(source: Path, tmp_path: Path) -> None:
    repo = Repo.create(tmp_path / "repo", RepoMode.ARCHIVE, settings=FAST)
    commit = ours(repo, lambda transaction: ingest_directory(transaction, source), generate_sizes=True)
    ostree("fsck", f"--repo={repo.path}")
    sizes = decode_sizes(repo.load_commit(commit).metadata)
    assert sizes is not None
    listed = {size.checksum: size for size in sizes}
    present = {checksum: kind for checksum, kind in repo.objects() if kind is not ObjectType.COMMIT}
    assert {checksum: size.kind for checksum, size in listed.items()} == present
    for checksum, kind in present.items():
        assert listed[checksum].stored == repo.object_path(checksum, kind).stat().st_size
    reference = init(tmp_path / "theirs", RepoMode.ARCHIVE)
    theirs(reference, "--generate-sizes", source)
    other = Repo.open(reference)
    expected = decode_sizes(other.load_commit(other.resolve("main")).metadata)
    assert expected is not None
    assert [(s.checksum, s.unpacked, s.kind) for s in expected] == [(s.checksum, s.unpacked, s.kind) for s in sizes]
    shown = ostree("show", "--print-sizes", f"--repo={repo.path}", "main")
    assert f"{len(sizes)}/{len(sizes)} entries" in shown or "Compressed size" in shown


def policy(root: Path) -> Path:
    """A root file system with an SELinux policy of a few lines."""
    (root / "etc/selinux/targeted/contexts/files").mkdir(parents=True)
    (root / "etc/selinux/targeted/policy").mkdir()
    (root / "etc/selinux/config").write_text("# a comment\nSELINUX=enforcing\nSELINUXTYPE=targeted\n")
    (root / "etc/selinux/targeted/policy/policy.33").write_bytes(b"not looked into")
    (root / "etc/selinux/targeted/contexts/files/file_contexts").write_text(
        "/.*\tsystem_u:object_r:default_t:s0\n"
        "/usr(/.*)?\tsystem_u:object_r:usr_t:s0\n"
        "/usr/bin/[^/]*\t--\tsystem_u:object_r:bin_t:s0\n"
        "/bin\t-l\tsystem_u:object_r:bin_t:s0\n"
        "/usr/empty\t-d\t<<none>>\n"
    )
    return root


def test_selinux_labels(source: Path, tmp_path: Path) -> None:
    try:
        labels = load_policy(policy(tmp_path / "root"))
    except OstlerError as error:
        pytest.skip(error.message)
    assert labels.name == "targeted"
    assert labels.label("/usr/bin/tool", 0o100755) == "system_u:object_r:bin_t:s0"
    assert labels.label("/usr/empty", 0o40755) is None
    modifier = Modifier(labels=labels.label, no_xattrs=True)
    reference = init(tmp_path / "theirs", RepoMode.ARCHIVE)
    expected = theirs(reference, "--no-xattrs", f"--selinux-policy={tmp_path / 'root'}", source)
    repo = Repo.create(tmp_path / "ours", RepoMode.ARCHIVE, settings=FAST)
    assert ours(repo, lambda transaction: ingest_directory(transaction, source, filter=modifier)) == expected


def test_consumed_folders_are_gone_and_give_the_same_commit(mode: RepoMode, source: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        subprocess.run(["cp", "-a", source, tmp_path / name], check=True)
    expected = theirs(init(tmp_path / "theirs", mode), "--consume", f"--tree=dir={tmp_path / 'one'}")
    repo = Repo.create(tmp_path / "ours", mode, settings=FAST)
    assert ours(repo, lambda transaction: ingest_directory(transaction, tmp_path / "two", consume=True)) == expected
    assert not (tmp_path / "one").exists()
    assert not (tmp_path / "two").exists()
    ostree("fsck", "--quiet", f"--repo={repo.path}")


def test_bootable_commits_name_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "tree/usr/lib/modules/6.1-x").mkdir(parents=True)
    (tmp_path / "tree/usr/lib/modules/6.1-x/vmlinuz").write_text("kernel")
    reference = init(tmp_path / "theirs", RepoMode.ARCHIVE)
    theirs(reference, "--bootable", tmp_path / "tree")
    repo = Repo.open(reference)
    found = repo.load_commit(repo.resolve("main")).metadata
    expected = bootable_metadata(load_commit_tree(repo, "main"))
    assert {key: found[key] for key in expected} == expected


def test_tombstones_are_forgotten_when_the_commit_comes_again(source: Path, tmp_path: Path) -> None:
    repo = Repo.create(tmp_path / "repo", RepoMode.ARCHIVE, settings=FAST)
    commit = ours(repo, lambda transaction: ingest_directory(transaction, source))
    repo.set_ref("main", None)
    repo.write_tombstone(commit)
    theirs_path = init(tmp_path / "theirs", RepoMode.ARCHIVE)
    ostree("config", f"--repo={theirs_path}", "set", "core.tombstone-commits", "true")
    assert theirs(theirs_path, source) == commit
    ostree("refs", f"--repo={theirs_path}", "--delete", "main")
    ostree("prune", f"--repo={theirs_path}", f"--delete-commit={commit}")
    other = Repo.open(theirs_path)
    assert other.load_bytes(commit, ObjectType.TOMBSTONE) == repo.load_bytes(commit, ObjectType.TOMBSTONE)
    assert ours(other, lambda transaction: ingest_directory(transaction, source)) == commit
    assert not other.has(commit, ObjectType.TOMBSTONE)


def test_a_parent_repository_lends_its_objects(source: Path, tmp_path: Path) -> None:
    parent = Repo.create(tmp_path / "parent", RepoMode.ARCHIVE, settings=FAST)
    commit = ours(parent, lambda transaction: ingest_directory(transaction, source))
    Repo.create(tmp_path / "child", RepoMode.BARE, settings={**FAST, "parent": str(parent.path)})
    child = Repo.open(tmp_path / "child")
    assert child.has(commit, ObjectType.COMMIT)
    assert not child.has_own(commit, ObjectType.COMMIT)
    assert load_commit_tree(child, "main") == load_commit_tree(parent, "main")
    assert ostree("rev-parse", f"--repo={child.path}", "main") == child.resolve("main") == commit
    assert child.commit_state(commit) is CommitState.NORMAL


@dataclass(frozen=True)
class Entry:
    mode: int
    uid: int
    content: bytes | str | dict[str, "Entry"] = field(default_factory=dict)


names = st.text(st.characters(blacklist_characters="/\0", codec="utf-8"), min_size=1, max_size=6).filter(
    lambda name: name not in (".", "..") and len(name.encode()) < 200
)
modes = st.sampled_from([0o644, 0o755, 0o4755, 0o600, 0o000, 0o1777, 0o2775])
owners = st.integers(0, 3)
files = st.builds(Entry, modes, owners, st.binary(max_size=200) | st.binary(max_size=8).map(lambda b: b * 5000))
links = st.builds(Entry, modes, owners, names)
trees = st.recursive(
    files | links,
    lambda inner: st.builds(Entry, modes, owners, st.dictionaries(names, inner, max_size=4)),
    max_leaves=12,
)
roots = st.builds(Entry, modes, owners, st.dictionaries(names, trees, max_size=5))
modifiers = st.sampled_from([*sorted(set(MODIFIERS) - {"lists"}), ""])


def put(path: Path, entry: Entry) -> None:
    if isinstance(entry.content, str):
        path.symlink_to(entry.content)
        os.chown(path, entry.uid, entry.uid, follow_symlinks=False)
        return
    if isinstance(entry.content, bytes):
        path.write_bytes(entry.content)
    else:
        path.mkdir()
        for name, below in entry.content.items():
            put(path / name, below)
    os.chown(path, entry.uid, entry.uid)
    path.chmod(entry.mode)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(root=roots, modifier=modifiers, mode=st.sampled_from(list(RepoMode)))
def test_random_trees_give_the_same_commits(
    root: Entry, modifier: str, mode: RepoMode, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("random")
    put(folder / "tree", root)
    options, keywords = MODIFIERS[modifier] if modifier else ((), {})
    reference = init(folder / "theirs", mode)
    repo = Repo.create(folder / "ours", mode, settings=FAST)
    filter = Modifier(**keywords)

    def build(transaction: Transaction) -> Directory:
        return ingest_directory(transaction, folder / "tree", filter=filter)

    assert ours(repo, build) == theirs(reference, *options, f"--tree=dir={folder / 'tree'}")
    mine = {path.relative_to(repo.path) for path in (repo.path / "objects").rglob("*.*")}
    assert mine == {path.relative_to(reference) for path in (reference / "objects").rglob("*.*")}
