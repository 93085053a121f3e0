"""Static deltas between Ostler and `ostree`: each applies, shows and verifies what the other makes."""

import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from delta_samples import Pair, make_pair
from tests.judges import judge

from ostler.formats.delta import Endianness, delta_folder, delta_name
from ostler.store.delta.generate import DeltaOptions, generate
from ostler.store.delta.index import reindex
from ostler.store.delta.listing import describe_delta, describe_lines, list_deltas, verify_delta
from ostler.store.delta.offline import apply_offline
from ostler.store.fsck import fsck
from ostler.store.repo import Repo, RepoMode
from ostler.store.signing.dummy import Key, Trust

ALL = DeltaOptions(min_fallback=0)
PROGRAMS = sorted({program for program in (shutil.which("ostree"), judge("ostree")) if program})


def run(program: str, *words: str | Path) -> str:
    done = subprocess.run(
        [program, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "OSTREE_DUMMY_SIGN_ENABLED": "1", "LC_ALL": "C.UTF-8"},
    )
    assert done.returncode == 0, f"{program} {words}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(params=PROGRAMS)
def ostree(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("pair") / "repo")


def with_old(ostree: str, pair: Pair, path: Path) -> Path:
    run(ostree, "init", f"--repo={path}", "--mode=bare-user")
    run(ostree, "pull-local", f"--repo={path}", pair.repo.path, pair.old)
    return path


OPTIONS = {
    "plain": ALL,
    "inline": replace(ALL, inline=True),
    "without bsdiff": replace(ALL, bsdiff=False),
    "big-endian": replace(ALL, endianness=Endianness.BIG),
    "small parts": replace(ALL, max_chunk=1),
    "signed": replace(ALL, signers=(Key("dummysign"),)),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_ostree_applies_and_shows_our_deltas(ostree: str, pair: Pair, options: DeltaOptions, tmp_path: Path) -> None:
    generate(pair.repo, pair.new, from_=pair.old, options=options)
    folder = pair.repo.path / delta_folder(pair.old, pair.new)
    name = delta_name(pair.old, pair.new)
    assert name in run(ostree, "static-delta", "list", f"--repo={pair.repo.path}").split()
    if not options.inline:  # `ostree` does not find inline parts when it shows
        shown = run(ostree, "static-delta", "show", f"--repo={pair.repo.path}", name)
        assert shown.splitlines() == list(describe_lines(describe_delta(pair.repo, name)))
    repo = with_old(ostree, pair, tmp_path / "repo")
    keys = ("--sign-type=dummy", folder, "dummysign") if options.signers else (folder,)
    run(ostree, "static-delta", "apply-offline", f"--repo={repo}", *keys)
    run(ostree, "fsck", f"--repo={repo}", "-q")
    run(ostree, "ls", "-R", f"--repo={repo}", pair.new)


def test_ostree_applies_our_delta_from_nothing(ostree: str, pair: Pair, tmp_path: Path) -> None:
    generate(pair.repo, pair.new, options=ALL)
    run(ostree, "init", f"--repo={tmp_path}", "--mode=bare-user")
    run(ostree, "static-delta", "apply-offline", f"--repo={tmp_path}", pair.repo.path / delta_folder(None, pair.new))
    run(ostree, "fsck", f"--repo={tmp_path}", "-q")
    run(ostree, "ls", "-R", f"--repo={tmp_path}", pair.new)


def test_ostree_pulls_by_our_delta_and_its_index(ostree: str, pair: Pair, tmp_path: Path) -> None:
    generate(pair.repo, pair.new, from_=pair.old, options=ALL)
    reindex(pair.repo)
    assert set(run(ostree, "static-delta", "indexes", f"--repo={pair.repo.path}").split()) == {
        to for _, to in list_deltas(pair.repo)
    }
    run(ostree, "summary", "-u", f"--repo={pair.repo.path}")
    repo = with_old(ostree, pair, tmp_path / "repo")
    run(ostree, "pull-local", "--require-static-deltas", f"--repo={repo}", pair.repo.path, pair.new)
    run(ostree, "fsck", f"--repo={repo}", "-q")
    run(ostree, "ls", "-R", f"--repo={repo}", pair.new)


@pytest.mark.parametrize("mode", [RepoMode.BARE_USER, RepoMode.ARCHIVE])
@pytest.mark.parametrize("words", [(), ("--inline",), ("--disable-bsdiff",), ("--swap-endianness",)])
def test_we_apply_the_deltas_of_ostree(
    ostree: str, words: tuple[str, ...], mode: RepoMode, pair: Pair, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    run(ostree, "init", f"--repo={made}", "--mode=archive")
    run(ostree, "pull-local", f"--repo={made}", pair.repo.path, pair.old, pair.new)
    fixed = ("--min-fallback-size=0", f"--from={pair.old}", f"--to={pair.new}")
    run(ostree, "static-delta", "generate", f"--repo={made}", *fixed, *words)
    name = delta_name(pair.old, pair.new)
    if "--inline" not in words:
        shown = run(ostree, "static-delta", "show", f"--repo={made}", name)
        assert shown.splitlines() == list(describe_lines(describe_delta(Repo.open(made), name)))
    Repo.create(tmp_path / "repo", mode)
    run(ostree, "pull-local", f"--repo={tmp_path / 'repo'}", pair.repo.path, pair.old)
    repo = Repo.open(tmp_path / "repo")
    assert apply_offline(repo, made / delta_folder(pair.old, pair.new)) == pair.new
    assert not fsck(repo)
    run(ostree, "ls", "-R", f"--repo={repo.path}", pair.new)


def test_signatures_are_verified_across(ostree: str, pair: Pair) -> None:
    name = delta_name(pair.old, pair.new)
    generate(pair.repo, pair.new, from_=pair.old, options=replace(ALL, signers=(Key("dummysign"),)))
    verify = ("static-delta", "verify", f"--repo={pair.repo.path}", "--sign-type=dummy", name, "dummysign")
    assert "Verification OK" in run(ostree, *verify)
    run(
        ostree, "static-delta", "generate", f"--repo={pair.repo.path}", f"--from={pair.old}", f"--to={pair.new}",
        "--sign-type=dummy", "--sign=dummysign",
    )  # fmt: skip
    assert verify_delta(pair.repo, name, Trust(("dummysign",), enabled=True)).kind == "dummy"


def test_our_deltas_are_no_larger(ostree: str, pair: Pair, tmp_path: Path) -> None:
    ours = generate(pair.repo, pair.new, from_=pair.old, options=ALL)
    run(ostree, "init", f"--repo={tmp_path}", "--mode=archive")
    run(ostree, "pull-local", f"--repo={tmp_path}", pair.repo.path, pair.old, pair.new)
    fixed = ("--min-fallback-size=0", f"--from={pair.old}", f"--to={pair.new}")
    run(ostree, "static-delta", "generate", f"--repo={tmp_path}", *fixed)
    assert ours.total <= sum(file.stat().st_size for file in (tmp_path / "deltas").rglob("*") if file.is_file())


SOURCES = Path(os.environ.get("OSTLER_LIBOSTREE_SOURCES", "/usr/src/ostree"), "tests")


@pytest.mark.parametrize("order", ["big", "little"])
def test_deltas_that_name_no_byte_order_are_read(order: str, tmp_path: Path) -> None:
    archive = SOURCES / f"pre-endian-deltas-repo-{order}.tar.xz"
    if not archive.exists():
        pytest.skip(f"there are no sources of libostree in {SOURCES.parent}")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    repo = Repo.open(tmp_path / "pre-endian-deltas-repo")
    names = [delta_name(*found) for found in list_deltas(repo)]
    assert names
    for name in names:
        summary = describe_delta(repo, name)
        assert summary.superblock.guessed
        assert all(part.header.size < 1 << 30 for part in summary.parts)
