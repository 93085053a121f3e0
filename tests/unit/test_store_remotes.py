from pathlib import Path

import pytest

from ostler.errors import NotFoundError
from ostler.store.errors import StoreError
from ostler.store.remotes import add_remote, delete_remote, find_remote, list_remotes, remote_option, remote_url
from ostler.store.repo import Repo, RepoMode


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo.create(tmp_path / "repo", RepoMode.ARCHIVE, settings={"fsync": "false"})


def test_options_are_kept_as_written_behind_the_url(repo: Repo) -> None:
    add_remote(repo, "origin", "https://example.org", {"branches": "a;b;", "gpg-verify": "false"})
    text = (repo.path / "config").read_text()
    assert text.endswith('\n[remote "origin"]\nurl=https://example.org\nbranches=a;b;\ngpg-verify=false\n')
    assert Repo.open(repo.path).remotes()["origin"].options == {"branches": "a;b;", "gpg-verify": "false"}


def test_a_metalink_is_a_key_of_its_own(repo: Repo) -> None:
    added = add_remote(repo, "origin", "metalink=https://example.org/m")
    assert (added.url, added.options) == ("", {"metalink": "https://example.org/m"})
    with pytest.raises(NotFoundError, match="url"):
        remote_url(repo, "origin")


def test_existing_remotes_are_refused_kept_or_replaced(repo: Repo) -> None:
    add_remote(repo, "origin", "https://one")
    with pytest.raises(StoreError, match=r'Remote configuration for "origin" already exists: \(in config\)'):
        add_remote(repo, "origin", "https://two")
    assert add_remote(repo, "origin", "https://two", if_not_exists=True).url == "https://one"
    assert add_remote(repo, "origin", "https://two", force=True).url == "https://two"


def test_deleting_removes_the_key_ring(repo: Repo) -> None:
    add_remote(repo, "origin", "https://one")
    ring = repo.path / "origin.trustedkeys.gpg"
    ring.touch()
    assert delete_remote(repo, "origin")
    assert not ring.exists()
    assert not delete_remote(repo, "origin", if_exists=True)
    with pytest.raises(NotFoundError, match='Remote "origin" not found'):
        delete_remote(repo, "origin")


def test_files_of_remotes_d_belong_to_the_system_repository(repo: Repo, tmp_path: Path) -> None:
    repo.remotes_folder = tmp_path / "etc/ostree/remotes.d"
    added = add_remote(repo, "origin", "https://one", {"gpg-verify": "true"})
    assert added.file == tmp_path / "etc/ostree/remotes.d/origin.conf"
    assert added.file.read_text() == '[remote "origin"]\nurl=https://one\ngpg-verify=true\n'
    assert 'remote "origin"' not in repo.config.groups
    assert find_remote(repo, "origin") == added
    assert add_remote(repo, "origin", "https://two", force=True).file == added.file
    (added.file.parent / "twice.conf").write_text('[remote "origin"]\nurl=https://three\n')
    with pytest.raises(StoreError, match="Multiple specifications"):
        list_remotes(repo)
    (added.file.parent / "twice.conf").unlink()
    delete_remote(repo, "origin")
    assert not added.file.exists()


def test_a_sysroot_has_its_own_files(repo: Repo, tmp_path: Path) -> None:
    added = add_remote(repo, "origin", "https://one", sysroot=tmp_path / "root")
    assert added.file == tmp_path / "root/etc/ostree/remotes.d/origin.conf"


def test_a_parent_lends_its_remotes_and_their_options(repo: Repo, tmp_path: Path) -> None:
    add_remote(repo, "origin", "https://parent", {"proxy": "p", "gpg-verify": "true"})
    Repo.create(tmp_path / "child", RepoMode.BARE_USER_ONLY, settings={"parent": str(repo.path)})
    child = Repo.open(tmp_path / "child")
    assert child.remotes()["origin"].url == "https://parent"
    child.write_config(child.config.with_value('remote "origin"', "gpg-verify", "false"))
    assert remote_option(child, "origin", "gpg-verify") == "false"
    assert remote_option(child, "origin", "proxy") == "p"
    assert remote_option(child, "origin", "nothing", "default") == "default"
    with pytest.raises(NotFoundError):
        remote_option(child, "other", "proxy")
