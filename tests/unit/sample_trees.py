"""Small repositories for tests of what works on repositories."""

import os
import random
from collections.abc import Mapping
from pathlib import Path

from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum, DirMeta, FileMeta, ObjectType
from ostler.store.commit import commit_tree
from ostler.store.content import RepoMode
from ostler.store.repo import Repo
from ostler.store.tree import Directory, load_commit_tree

QUIET = {"fsync": "false", "min-free-space-percent": "0"}
ME = os.getuid()


def make_repo(path: Path, mode: RepoMode = RepoMode.BARE_USER) -> Repo:
    return Repo.create(path, mode, settings=QUIET)


def add_commit(
    repo: Repo,
    ref: str | None,
    files: Mapping[str, bytes | str],
    *,
    parent: Checksum | None = None,
    metadata: Mapping[str, Variant] | None = None,
    timestamp: int = 1_700_000_000,
    directory_mode: int = 0o40755,
) -> Checksum:
    """Commit files by path; `str` is the target of a symlink."""
    with repo.transaction() as transaction:
        directory = DirMeta(ME, ME, directory_mode)
        tree = Directory(directory)
        for path, content in files.items():
            if isinstance(content, str):
                checksum = transaction.write_file(FileMeta(ME, ME, 0o120777, target=content), b"")
            else:
                mode = 0o100755 if path.endswith(".sh") else 0o100644
                checksum = transaction.write_file(FileMeta(ME, ME, mode), content)
            tree.set_file(path, checksum, directory)
        commit = commit_tree(
            transaction, tree, timestamp=timestamp, parent=parent, metadata=metadata, subject="a test's commit"
        )
        if ref is not None:
            transaction.set_ref(ref, commit)
    return commit


def sample_files(seed: int = 1, count: int = 30) -> dict[str, bytes | str]:
    """Files of many sizes in nested directories, with empty, large, incompressible and linked ones."""
    random_bytes = random.Random(seed)
    files: dict[str, bytes | str] = {
        "empty": b"",
        "usr/bin/tool.sh": b"#!/bin/sh\n" * 100,
        "usr/bin/link": "tool.sh",
        "usr/lib/large": random_bytes.randbytes(600_000) + bytes(600_000),
        "usr/share/ümläut/a b": b"odd name",
    }
    for number in range(count):
        size = random_bytes.randrange(5000)
        files[f"usr/share/d{number % 7}/e{number % 3}/f{number}"] = random_bytes.randbytes(size)
    return files


def object_names(repo: Repo) -> set[tuple[Checksum, ObjectType]]:
    return set(repo.objects())


def content_of(repo: Repo, rev: str) -> dict[str, tuple[FileMeta, bytes]]:
    """Every file of a commit, read from the repository."""
    found = {}
    for path, node in load_commit_tree(repo, rev).walk():
        if not isinstance(node, Directory):
            with repo.open_file(node, verify=True) as content:
                found[path] = (repo.file_meta(node), content.read())
    return found


def file_checksum(repo: Repo, rev: str, path: str) -> Checksum:
    found = load_commit_tree(repo, rev).lookup(path)
    assert isinstance(found, str)
    return found


def object_file(repo: Repo, checksum: Checksum, kind: ObjectType = ObjectType.FILE) -> Path:
    return repo.object_path(checksum, kind)
