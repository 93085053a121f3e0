"""Commits for the tests of signatures."""

from pathlib import Path

from ostler.formats.objects import Checksum, DirMeta
from ostler.store.commit import commit_tree
from ostler.store.repo import Repo
from ostler.store.tree import Directory


def commit_in(repo: Repo, *, subject: str = "a commit") -> Checksum:
    """A commit of an empty tree."""
    with repo.transaction() as transaction:
        return commit_tree(transaction, Directory(DirMeta(0, 0, 0o40755)), timestamp=1_700_000_000, subject=subject)


def put(path: Path, text: str) -> Path:
    """A file, with the folders that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
