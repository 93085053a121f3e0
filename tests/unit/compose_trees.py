"""Small trees for the tests of `compose`."""

from collections.abc import Mapping
from pathlib import Path

from ostler.compose.edit import TreeEditor
from ostler.store.content import RepoMode
from ostler.store.repo import Repo
from ostler.store.tree import Directory

Spec = Mapping[str, str | bytes | None]
"""Path → content; "-> TARGET" is a symlink, None a directory."""


def new_repo(path: Path) -> Repo:
    return Repo.create(path / "repo", RepoMode.BARE_USER, settings={"fsync": "false"})


def fill(editor: TreeEditor, spec: Spec) -> TreeEditor:
    for path, content in spec.items():
        if content is None:
            editor.make_directory(path)
        elif isinstance(content, str) and content.startswith("-> "):
            editor.symlink(path, content[3:])
        else:
            editor.write(path, content)
    return editor


def paths(tree: Directory) -> set[str]:
    return {path for path, _ in tree.walk()}
