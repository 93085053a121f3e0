"""`ostree remote` of both programs: the same commands print the same and leave the same files."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from ostree_programs import Pair


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    found = Pair(tmp_path)
    found.both("--repo=repo", "init", "--mode=archive")
    return found


def test_configurations_are_the_same(pair: Pair) -> None:
    pair.both("remote", "add", "--repo=repo", "a", "http://a/")
    pair.both("--repo=repo", "remote", "add", "--no-gpg-verify", "b", "http://b/ b", "main", "dev", "--set=x=y = z")
    pair.both("remote", "--repo=repo", "add", "--no-sign-verify", "--contenturl=http://c/", "c", "mirrorlist=http://l")
    pair.both("remote", "add", "--repo=repo", "--collection-id=org.example.Os", "d", "metalink=http://m")
    pair.both("remote", "add", "--repo=repo", "--sign-verify=dummy=inline:k", "--custom-backend=b", "e")
    pair.same_configuration()
    pair.both("remote", "add", "--repo=repo", "--force", "b", "http://other/", "--set", "gpgkeypath=/p")
    pair.both("remote", "add", "--repo=repo", "--if-not-exists", "a", "http://other/")
    pair.same_configuration()
    pair.both("remote", "list", "--repo=repo")
    pair.both("remote", "show-url", "--repo=repo", "c")
    pair.both("remote", "delete", "--repo=repo", "d")
    pair.both("remote", "delete", "--repo=repo", "e")
    pair.both("remote", "list", "-u", "--repo=repo")
    pair.both("remote", "delete", "--repo=repo", "--if-exists", "e")
    pair.same_configuration()


@pytest.mark.parametrize(
    "words",
    [
        ["add", "a"],
        ["add", "a", "http://other/"],
        ["add", "a/b", "http://other/"],
        ["add", "--if-not-exists", "--force", "x", "http://x/"],
        ["add", "--set=x", "x", "http://x/"],
        ["add", "--sign-verify=dummy", "x", "http://x/"],
        ["add", "--sign-verify=dummy=at:k", "x", "http://x/"],
        ["add", "--no-sign-verify", "--sign-verify=dummy=inline:k", "x", "http://x/"],
        ["delete", "x"],
        ["delete"],
        ["show-url", "x"],
        ["show-url"],
        ["list", "--nothing"],
        ["add-cookie", "a"],
        ["delete-cookie", "a", "b", "c", "d"],
        ["delete-cookie"],
        ["list-cookies"],
        ["gpg-import", "--stdin", "--keyring=k", "a"],
        ["gpg-import"],
        ["refs"],
        ["summary"],
        ["nothing"],
        [],
    ],
)
def test_mistakes_end_alike(pair: Pair, words: list[str]) -> None:
    pair.both("remote", "add", "--repo=repo", "a", "http://a/")
    pair.both("remote", *words, "--repo=repo")


def test_cookie_files_are_the_same(pair: Pair) -> None:
    pair.both("remote", "add-cookie", "--repo=repo", "a", ".example.org", "/", "name", "value")
    pair.both("remote", "add-cookie", "--repo=repo", "a", "example.org", "/p", "name", "value")
    pair.both("remote", "delete-cookie", "--repo=repo", "a", ".example.org", "/", "name")
    fields = [(folder / "repo/a.cookies.txt").read_text().split("\t") for folder in (pair.ours, pair.theirs)]
    assert fields[0][:4] + fields[0][5:] == fields[1][:4] + fields[1][5:]
    assert abs(int(fields[0][4]) - int(fields[1][4])) < 60
