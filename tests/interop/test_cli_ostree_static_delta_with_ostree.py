"""`ostree static-delta` of both programs: the same output, and each shows, verifies and applies deltas of the other."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from ostree_programs import OURS, THEIRS, Pair, Said, run

DUMMY = {"OSTREE_DUMMY_SIGN_ENABLED": "1"}
BOTH = pytest.mark.parametrize(("one", "other"), [(OURS, THEIRS), (THEIRS, OURS)], ids=["ours", "theirs"])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the repository `repo`: two commits on main, one on other."""
    folder = tmp_path_factory.mktemp("source")
    tree = folder / "tree"
    tree.mkdir()
    data = b"".join(number.to_bytes(3, "big") for number in range(50_000))
    make("init", "--mode=archive", folder=folder)
    for number in range(2):
        (tree / "data").write_bytes(b"x" * number * 100 + data)
        (tree / f"file{number}").write_text("text")
        (tree / "link").unlink(missing_ok=True)
        (tree / "link").symlink_to(f"file{number}")
        make("commit", "-b", "main", f"--timestamp=@{number + 1}", "tree", folder=folder)
    make("commit", "-b", "other", "--timestamp=@9", "tree", folder=folder)
    return folder


def make(*words: str, folder: Path) -> str:
    said = run(THEIRS, folder, "--repo=repo", *words)
    assert said.code == 0, said.err
    return said.out.strip()


@pytest.fixture
def pair(tmp_path: Path, source: Path) -> Pair:
    found = Pair(tmp_path, DUMMY)
    for folder in (found.ours, found.theirs):
        shutil.copytree(source / "repo", folder / "repo")
    return found


@pytest.fixture
def folder(tmp_path: Path, source: Path) -> Path:
    shutil.copytree(source / "repo", tmp_path / "repo")
    return tmp_path


def delta(program: tuple[str, ...], folder: Path, *words: str) -> Said:
    return run(program, folder, "static-delta", *words, environment=DUMMY)


def test_deltas_are_made_listed_indexed_and_deleted_alike(pair: Pair, source: Path) -> None:
    old, new = make("rev-parse", "main^", folder=source), make("rev-parse", "main", folder=source)
    for words in (
        ["list"],
        ["indexes"],
        ["generate", "main"],
        ["generate", "--if-not-exists", "main"],
        ["generate", "--empty", "--to=main"],
        ["generate", "-n", "--empty", "main"],
        ["generate", "--from=main", "other", "--inline", "--set-endianness=B"],
        ["list"],
        ["indexes"],
        ["reindex"],
        ["indexes"],
        ["delete", new],
        ["delete", f"{old}-{new}"],
        ["list"],
        ["reindex", f"--to={new}"],
        ["indexes"],
        ["reindex"],
    ):
        pair.both("static-delta", *words, "--repo=repo")
    pair.same_configuration()
    ours, theirs = (sorted(file_names(folder / "repo")) for folder in (pair.ours, pair.theirs))
    assert ours == theirs


def file_names(repo: Path) -> list[str]:
    folders = (repo / "deltas", repo / "delta-indexes")
    return [path.relative_to(repo).as_posix() for folder in folders for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "words",
    [
        ["generate"],
        ["generate", "nothing"],
        ["generate", "main^^"],
        ["generate", "--empty", "--from=main", "main"],
        ["generate", "--set-endianness=x", "main"],
        ["show"],
        ["show", "GARBAGE"],
        ["delete"],
        ["delete", "GARBAGE"],
        ["delete", "0" * 64],
        ["apply-offline"],
        ["verify"],
        ["reindex", "--to=main"],
    ],
    ids=" ".join,
)
def test_mistakes_end_alike(pair: Pair, words: list[str]) -> None:
    pair.both("static-delta", *words, "--repo=repo")


@BOTH
@pytest.mark.parametrize(
    "options",
    [
        ["main"],
        ["--empty", "main"],
        ["--swap-endianness", "main"],
        ["--disable-bsdiff", "main"],
        ["--min-fallback-size=0", "--max-chunk-size=1", "main"],
        ["--sign-type=dummy", "--sign=key", "main"],
        ["--from=main", "other"],
    ],
    ids=" ".join,
)
def test_each_shows_deltas_of_the_other(
    folder: Path, one: tuple[str, ...], other: tuple[str, ...], options: list[str]
) -> None:
    assert delta(one, folder, "--repo=repo", "generate", *options).code == 0
    name = delta(other, folder, "--repo=repo", "list").out.strip()
    shown = [delta(program, folder, "--repo=repo", "show", name) for program in (one, other)]
    assert shown[0].code == 0
    assert shown[0].out == shown[1].out
    assert delta(other, folder, "--repo=repo", "delete", name) == Said(0, "", "")
    assert delta(one, folder, "--repo=repo", "list").out == "(No static deltas)\n"


@BOTH
@pytest.mark.parametrize("inline", [[], ["--inline"]], ids=["parts", "inline"])
def test_each_verifies_and_applies_deltas_of_the_other(
    folder: Path, one: tuple[str, ...], other: tuple[str, ...], inline: list[str]
) -> None:
    options = ["--empty", "--min-fallback-size=0", "--sign-type=dummy", "--sign=key", *inline]
    (folder / "out").mkdir()
    assert delta(one, folder, "--repo=repo", "generate", *options, "--filename=out/superblock", "main").code == 0
    good = delta(other, folder, "--repo=repo", "verify", "--sign-type=dummy", "out/superblock", "key")
    assert good == Said(0, "Verification OK\n", "")
    bad = delta(other, folder, "--repo=repo", "verify", "--sign-type=dummy", "out/superblock", "wrong")
    assert (bad.code, bad.out) == (1, "Verification fails\n")
    assert run(other, folder, "--repo=new", "init", "--mode=bare-user").code == 0
    refused = delta(other, folder, "--repo=new", "apply-offline", "--sign-type=dummy", "out", "wrong")
    assert refused.err == "error: signature: dummy: incorrect signatures found: 1\n"
    done = delta(other, folder, "--repo=new", "apply-offline", "--sign-type=dummy", "out", "key")
    assert done == Said(0, "", "")
    commit = make("rev-parse", "main", folder=folder)
    assert run(THEIRS, folder, "--repo=new", "refs", "--create=main", commit).code == 0
    assert run(THEIRS, folder, "--repo=new", "fsck", "--quiet").code == 0
