"""Two commits that differ in every way that matters to static deltas."""

import random
from dataclasses import dataclass
from pathlib import Path

from ostler.formats.objects import Checksum, Commit, DirMeta, FileMeta
from ostler.store.repo import Repo, RepoMode
from ostler.store.transaction import Transaction
from ostler.store.tree import Directory, load_commit_tree, write_tree

TIMESTAMP = 1_700_000_000


def program(rng: random.Random, functions: int) -> list[bytes]:
    """Something like machine code: pieces of some hundred bytes, each with a few addresses."""
    return [rng.randbytes(rng.randrange(100, 500)) + bytes(rng.randrange(20)) for _ in range(functions)]


def rebuilt(rng: random.Random, functions: list[bytes]) -> list[bytes]:
    """The same after a rebuild: addresses are others, some functions are new, some moved."""
    result = []
    for function in functions:
        changed = bytearray(function)
        for at in range(40, len(changed) - 4, 120):
            changed[at] = (changed[at] + 16) % 256
        result.append(bytes(changed))
        if rng.random() < 0.03:
            result.append(rng.randbytes(200))
    where = len(result) // 3
    return result[where : where + 20] + result[:where] + result[where + 20 :]


def trees(seed: int = 7) -> tuple[dict[str, tuple[int, bytes | str]], dict[str, tuple[int, bytes | str]]]:
    """(old, new): path → (mode, content, or the target of a symlink)."""
    rng = random.Random(seed)
    library, large = program(rng, 300), rng.randbytes(1_200_000)
    text = "".join(f"key{number} = {rng.random()}\n" for number in range(1000)).encode()
    old: dict[str, tuple[int, bytes | str]] = {
        "usr/bin/tool": (0o755, b"".join(library)),
        "usr/lib/libthing.so.1.2": (0o644, b"".join(program(rng, 50))),
        "usr/lib/modules/6.1.0-1/net.ko": (0o644, b"".join(library[:100])),
        "usr/share/large": (0o644, large),
        "usr/share/text": (0o644, text),
        "usr/share/empty": (0o644, b""),
        "usr/share/secret": (0o600, b"only root reads this\n" * 50),
        "usr/share/gone": (0o644, b"gone"),
        "usr/share/same": (0o644, b"the same"),
        "usr/link": (0o777, "bin/tool"),
    }
    thing = old["usr/lib/libthing.so.1.2"][1]
    assert isinstance(thing, bytes)
    new = dict(old)
    del new["usr/share/gone"], new["usr/lib/libthing.so.1.2"], new["usr/lib/modules/6.1.0-1/net.ko"]
    new |= {
        "usr/bin/tool": (0o4755, b"".join(rebuilt(rng, library))),
        "usr/lib/libthing.so.1.3": (0o644, thing[:5000] + b"inserted" + thing[5100:]),
        "usr/lib/modules/6.1.0-2/net.ko": (0o644, b"".join(rebuilt(rng, library[:100]))),
        "usr/share/large": (0o644, b"aheader\n" + large[:400_000] + large[800_000:]),
        "usr/share/text": (0o644, text.replace(b"key1", b"other") + b"end\n"),
        "usr/share/empty": (0o640, b""),
        "usr/share/secret": (0o600, b"only root reads that\n" * 50),
        "usr/share/noise": (0o644, rng.randbytes(40_000)),
        "usr/share/new/file": (0o644, b"new\n"),
        "usr/link": (0o777, "share/text"),
        "usr/another": (0o777, "text"),
    }
    return old, new


@dataclass(frozen=True)
class Pair:
    repo: Repo
    old: Checksum
    new: Checksum


def make_pair(path: Path, mode: RepoMode = RepoMode.ARCHIVE, seed: int = 7) -> Pair:
    """A repository with the commits `old` and `new` (also the refs of those names)."""
    repo = Repo.create(path, mode, settings={"fsync": "false"})
    with repo.transaction() as transaction:
        old, new = (
            write_commit(transaction, tree, name) for name, tree in zip(("old", "new"), trees(seed), strict=True)
        )
        transaction.set_ref("old", old)
        transaction.set_ref("new", new)
    return Pair(repo, old, new)


def write_commit(transaction: Transaction, tree: dict[str, tuple[int, bytes | str]], subject: str) -> Checksum:
    root = Directory(DirMeta(0, 0, 0o40755))
    for path, (mode, content) in tree.items():
        if isinstance(content, str):
            root.set_file(path, transaction.write_file(FileMeta(0, 0, 0o120000 | mode, (), content), b""))
        else:
            root.set_file(path, transaction.write_file(FileMeta(0, 0, 0o100000 | mode), content))
    top, meta = write_tree(transaction, root)
    return transaction.write_metadata(Commit(top, meta, TIMESTAMP, subject))


def copy_old(pair: Pair, path: Path, mode: RepoMode) -> Repo:
    """Another repository with the old commit."""
    repo = Repo.create(path, mode, settings={"fsync": "false"})
    with repo.transaction() as transaction:
        tree = load_commit_tree(pair.repo, pair.old)
        for _, entry in tree.walk():
            if isinstance(entry, str):
                meta, _, content = pair.repo.open_file_object(entry)
                with content:
                    transaction.write_file(meta, content.read())
        write_tree(transaction, tree)
        transaction.write_metadata(pair.repo.load_commit(pair.old))
        transaction.set_ref("old", pair.old)
    return repo
