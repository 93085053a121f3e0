"""Images of composefs beside those of `mkcomposefs` and of libostree 2026.4: the same bytes, whatever the tree."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from store_samples import make_tree
from tests.judges import judge

from ostler.formats.erofs import Node, encode_image
from ostler.formats.fsverity import fsverity_digest
from ostler.store.checkout import stored_tree
from ostler.store.composefs import DIGEST_KEY, check_out_composefs, composefs_metadata, write_composefs
from ostler.store.repo import Repo

MKCOMPOSEFS = os.environ.get("OSTLER_MKCOMPOSEFS") or judge("mkcomposefs")
OSTREE = judge("ostree")

needs_mkcomposefs = pytest.mark.skipif(MKCOMPOSEFS is None, reason="needs mkcomposefs")


def knows_composefs() -> bool:
    if OSTREE is None:
        return False
    version = subprocess.run([OSTREE, "--version"], capture_output=True, text=True, check=False).stdout
    return "- composefs" in version


needs_libostree = pytest.mark.skipif(not knows_composefs(), reason="needs an ostree that makes composefs images")


# --- any tree, by way of a dump


def escaped(raw: bytes) -> str:
    if raw == b"-":
        return "\\x2d"
    return "".join(chr(byte) if 0x21 <= byte < 0x7F and byte not in b"\\=" else f"\\x{byte:02x}" for byte in raw)


def dump(path: bytes, node: Node) -> list[str]:
    """The lines of composefs-dump(5)."""
    fields = [
        escaped(path), str(len(node.target) if stat.S_ISLNK(node.mode) else node.size), f"{node.mode:o}", "1",
        str(node.uid), str(node.gid), str(node.rdev), f"{node.mtime[0]}.{node.mtime[1]}",
        escaped(node.target) if node.target else "-", escaped(node.content) if node.content else "-",
        node.digest.hex() if node.digest else "-",
    ]  # fmt: skip
    fields += [f"{escaped(name)}={escaped(value)}" for name, value in node.xattrs]
    lines = [" ".join(fields)]
    for name, child in node.children.items():
        lines += dump(path.rstrip(b"/") + b"/" + name, child)
    return lines


USUAL_NAMES = st.sampled_from([b"usr", b"00", b"fe", b".a", b"-", b"a b", "ü".encode()])
NAMES = (USUAL_NAMES | st.binary(min_size=1, max_size=255)).filter(
    lambda name: name not in (b".", b"..") and not set(name) & {0, 47}
)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(
        [
            b"user.a", b"user.overlay.opaque", b"security.selinux", b"security.capability", b"trusted.x", b"other.name",
            b"trusted.overlay.opaque", b"trusted.overlay.redirect", b"system.posix_acl_access", b"user." + b"l" * 60,
        ]
    ),
    st.sampled_from([b"", b"v", b"system_u:object_r:bin_t:s0\0"]) | st.binary(max_size=400),
    max_size=4,
).map(lambda found: tuple(sorted(found.items())))  # fmt: skip
OWNERS = st.sampled_from([0, 0, 1000, 65535, 65536, 4_000_000_000])
TIMES = st.sampled_from([(0, 0), (0, 0), (1, 0), (1, 999_999_999), (1_700_000_000, 5)])
SIZES = st.sampled_from([1, 4096, 4097, 1 << 32, (1 << 43) + 1, 1 << 50]) | st.integers(1, 10**9)
DIGESTS = st.none() | st.binary(min_size=32, max_size=32)
TARGETS = st.integers(1, 4095).map(lambda size: b"t" * size) | st.just(b"usr/bin")
COMMON = {"uid": OWNERS, "gid": OWNERS, "xattrs": ATTRIBUTES, "mtime": TIMES}
OBJECTS = st.sampled_from([b"", b"ab/" + b"c" * 62 + b".file", b"/absolute"]) | st.integers(1, 3000).map(
    lambda n: b"p" * n
)

FILES = st.one_of(
    st.builds(Node, st.sampled_from([0o100644, 0o104755]), size=SIZES, digest=DIGESTS, target=OBJECTS, **COMMON),
    st.builds(Node, st.just(0o100600), **COMMON),
    st.builds(Node, st.just(0o120777), target=TARGETS, **COMMON),
    st.builds(Node, st.sampled_from([0o20600, 0o60600]), rdev=st.sampled_from([0, 0x103]), **COMMON),
    st.builds(Node, st.sampled_from([0o10600, 0o140600]), **COMMON),
    st.binary(min_size=1, max_size=5000).map(lambda data: Node(0o100644, size=len(data), content=data)),
)


def directories(below: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    modes = st.sampled_from([0o40755, 0o41777, 0o42700])
    return st.builds(Node, modes, children=st.dictionaries(NAMES, below, max_size=12), **COMMON)


TREES = directories(st.recursive(FILES, directories, max_leaves=30))


@needs_mkcomposefs
@given(tree=TREES)
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_tree_is_the_same_image(tree: Node, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert MKCOMPOSEFS is not None
    work = tmp_path_factory.getbasetemp()
    (work / "dump").write_text("\n".join(dump(b"/", tree)) + "\n")
    command = [MKCOMPOSEFS, "--print-digest", "--from-file", work / "dump", work / "image"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "out of range" in done.stderr:  # it counts what it sets anew on a directory with many whiteouts
        return
    assert done.returncode == 0, done.stderr
    ours = b"".join(encode_image(tree))
    assert ours == (work / "image").read_bytes()
    assert fsverity_digest(ours).hex() == done.stdout.strip()


@needs_mkcomposefs
@pytest.mark.parametrize("count", [20, 130, 150, 400, 3000])
def test_directories_of_any_size_are_the_same(count: int, tmp_path: Path) -> None:
    assert MKCOMPOSEFS is not None
    children = {b"entry-%0*d" % (number % 40 + 1, number): Node(0o100644) for number in range(count)}
    tree = Node(0o40755, children={b"d": Node(0o40755, children=children)})
    (tmp_path / "dump").write_text("\n".join(dump(b"/", tree)) + "\n")
    subprocess.run([MKCOMPOSEFS, "--from-file", tmp_path / "dump", tmp_path / "image"], check=True)
    assert b"".join(encode_image(tree)) == (tmp_path / "image").read_bytes()


# --- commits


@pytest.fixture(params=["bare", "bare-user", "archive"])
def repo(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    assert OSTREE is not None
    if os.geteuid() != 0:
        pytest.skip("needs root")
    path = tmp_path / "repo"
    subprocess.run([OSTREE, "init", f"--repo={path}", f"--mode={request.param}"], check=True)
    tree = make_tree(tmp_path / "tree") if (tmp_path / "tree").mkdir() is None else None
    words = ["commit", f"--repo={path}", "--branch=main", "--generate-composefs-metadata", f"--tree=dir={tree}"]
    subprocess.run([OSTREE, *words], check=True, stdout=subprocess.DEVNULL)
    return path


@needs_libostree
@pytest.mark.parametrize("option", ["--composefs", "--composefs-noverity"])
def test_a_commit_is_the_same_image(repo: Path, option: str, tmp_path: Path) -> None:
    assert OSTREE is not None
    subprocess.run([OSTREE, "checkout", f"--repo={repo}", option, "main", tmp_path / "theirs"], check=True)
    check_out_composefs(Repo.open(repo), "main", tmp_path / "ours", verity=option == "--composefs")
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


@needs_libostree
def test_the_digest_in_a_commit_is_the_same(repo: Path, tmp_path: Path) -> None:
    opened = Repo.open(repo)
    stored = opened.load_commit(opened.resolve("main")).metadata[DIGEST_KEY]
    found = composefs_metadata(opened, stored_tree(opened, "main"))[DIGEST_KEY]
    assert (
        bytes(stored.value) == found.value == write_composefs(opened, stored_tree(opened, "main"), tmp_path / "image")
    )
