from pathlib import Path

import pytest
from sample_trees import add_commit, make_repo

from ostler.errors import CorruptError
from ostler.formats.fsverity import fsverity_digest
from ostler.formats.gvariant import Variant
from ostler.store.checkout import stored_tree
from ostler.store.composefs import (
    DIGEST_KEY,
    check_out_composefs,
    composefs_digest,
    composefs_metadata,
    write_composefs,
)
from ostler.store.content import RepoMode
from ostler.store.repo import Repo
from ostler.store.tree import load_commit_tree

FILES: dict[str, bytes | str] = {"usr/a": b"content", "usr/b": b"content", "empty": b"", "link": "usr/a"}


@pytest.fixture(params=[RepoMode.BARE_USER, RepoMode.ARCHIVE])
def repo(request: pytest.FixtureRequest, tmp_path: Path) -> Repo:
    repo = make_repo(tmp_path / "repo", request.param)
    add_commit(repo, "main", FILES)
    return repo


def test_the_digest_is_that_of_the_image_file(repo: Repo, tmp_path: Path) -> None:
    tree = stored_tree(repo, "main")
    digest = write_composefs(repo, tree, tmp_path / "image")
    assert digest == composefs_digest(repo, tree) == fsverity_digest((tmp_path / "image").read_bytes())
    assert digest == composefs_digest(repo, load_commit_tree(repo, "main"))
    assert (tmp_path / "image").stat().st_mode & 0o777 == 0o644
    assert fsverity_digest(b"content") in (tmp_path / "image").read_bytes()
    assert write_composefs(repo, tree, tmp_path / "image", verity=False) != digest
    assert fsverity_digest(b"content") not in (tmp_path / "image").read_bytes()


def test_a_commit_with_a_digest_is_held_to_it(repo: Repo, tmp_path: Path) -> None:
    metadata = composefs_metadata(repo, stored_tree(repo, "main"))
    add_commit(repo, "good", FILES, metadata=metadata)
    assert check_out_composefs(repo, "good", tmp_path / "image") == metadata[DIGEST_KEY].value
    add_commit(repo, "bad", FILES, metadata={DIGEST_KEY: Variant("ay", bytes(32))})
    before = (tmp_path / "image").read_bytes()
    with pytest.raises(CorruptError, match="doesn't match expected digest"):
        check_out_composefs(repo, "bad", tmp_path / "image")
    assert (tmp_path / "image").read_bytes() == before and not list(tmp_path.glob(".image*"))
    check_out_composefs(repo, "bad", tmp_path / "image", verity=False)
