"""Random sequences of commands, each given to `ostree` and to `ostler ostree`: they say, answer and store the same.

Each program works in a folder of its own that is called the same and holds the same. `OSTLER_DIFFERENTIAL_SEEDS`
(default 1) is how many sequences are run for each mode, `OSTLER_DIFFERENTIAL_SEED` the first one's number.
"""

import os
import random
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("ostree") is None or os.getuid() != 0, reason="needs ostree, and root")

MODES = ("archive", "bare", "bare-user", "bare-user-only")
FIRST_SEED = int(os.environ.get("OSTLER_DIFFERENTIAL_SEED", "1"))
SEEDS = range(FIRST_SEED, FIRST_SEED + int(os.environ.get("OSTLER_DIFFERENTIAL_SEEDS", "1")))
STEPS = 45
OURS = [sys.executable, "-c", "import sys; from ostler.cli import main; sys.exit(main())", "ostree"]
ENVIRONMENT = {"PATH": os.environ["PATH"], "TZ": "UTC", "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}
UNORDERED = ("refs", "fsck", "summary")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program answered."""

    code: int
    out: str


class Pair:
    """Two folders, one for each program, and the commands that were given in them."""

    def __init__(self, top: Path, seed: int, mode: str) -> None:
        self.sides = {"theirs": (["ostree"], top / "theirs"), "ours": (OURS, top / "ours")}
        self.random = random.Random(f"{mode} {seed}")
        self.mode = mode
        self.history: list[str] = []
        self.clock = 1_000_000_000
        self.checkouts = 0
        for _, folder in self.sides.values():
            (folder / "tree").mkdir(parents=True)
        self.run("init", f"--mode={mode}")
        self.run("config", "set", "core.fsync", "false")

    def both(self, act: Callable[[Path], object]) -> None:
        for _, folder in self.sides.values():
            act(folder)

    def run(self, *words: str, compare: bool = True) -> Answer:
        self.history.append(" ".join(words))
        answers = {}
        for name, (program, folder) in self.sides.items():
            line = [*program, words[0], "--repo=repo", *words[1:]]
            done = subprocess.run(line, cwd=folder, env=ENVIRONMENT, capture_output=True, check=False)
            out, err = (stream.decode(errors="surrogateescape") for stream in (done.stdout, done.stderr))
            assert "Traceback" not in err, f"{self.told()}\n{err}"
            if words[0] in UNORDERED or words[-1] == "./tree":
                out = "\n".join(sorted(line for line in out.splitlines() if not _varies(line)))
            if self.mode == "archive":  # the two compress differently
                out = re.sub(r"\d+(\.\d+)?\s(bytes?|kB|MB)", "SIZE", out)
            answers[name] = Answer(done.returncode, out), err
        if compare:
            assert answers["ours"][0] == answers["theirs"][0], f"{self.told()}\n{answers}"
        return answers["theirs"][0]

    def told(self) -> str:
        """Everything that was done, for whoever must find out what went wrong."""
        return "\n".join(self.history)

    # --- the state of things

    def refs(self) -> list[str]:
        top = self.sides["theirs"][1] / "repo" / "refs"
        heads = [path.relative_to(top / "heads").as_posix() for path in (top / "heads").rglob("*") if path.is_file()]
        remotes = [path.relative_to(top / "remotes") for path in (top / "remotes").rglob("*") if path.is_file()]
        return sorted([*heads, *(f"{path.parts[0]}:{'/'.join(path.parts[1:])}" for path in remotes)])

    @property
    def commits(self) -> list[str]:
        found = (self.sides["theirs"][1] / "repo" / "objects").glob("??/*.commit")
        return sorted(path.parent.name + path.stem for path in found)

    def a_ref(self) -> str:
        return self.random.choice([*self.refs(), "missing"])

    def a_rev(self) -> str:
        choices = [*self.refs()] * 3 + self.commits + [f"{ref}^" for ref in self.refs()] + ["missing", "a b"]
        return self.random.choice(choices)

    def paths(self) -> list[str]:
        top = self.sides["ours"][1] / "tree"
        return sorted("/" + path.relative_to(top).as_posix() for path in top.rglob("*"))

    def a_path(self) -> str:
        return self.random.choice([*self.paths(), "/", "/nope", "/a/nope"])


def _varies(line: str) -> bool:
    return line.startswith(("fsck objects", "Last-Modified", "ostree.summary.indexed-deltas"))


# --- what is done


def edit(pair: Pair) -> None:
    """Change the trees in the same way."""
    r = pair.random
    names = ["a", "b", "c", "ü", "x y"]
    path = "/".join(r.choices(names, k=r.randint(1, 3)))
    kind = r.choice(["file", "file", "big", "dir", "link", "remove", "chmod", "chown", "hardlink", "xattr"])
    content = r.randbytes(r.choice([0, 10, 5000, 300_000]) if kind == "big" else r.randint(0, 20))
    mode = r.choice([0o644, 0o755, 0o600, 0o4755, 0o444, 0o775])
    owner = r.choice([0, 0, 1, 1000])
    other = r.choice(pair.paths() or ["/none"])
    pair.history.append(f"# {kind} {path}")
    pair.both(lambda folder: _edit(folder / "tree", kind, path, content, mode, owner, other))


def _edit(tree: Path, kind: str, path: str, content: bytes, mode: int, owner: int, other: str) -> None:
    target, existing = tree / path, tree / other.lstrip("/")
    if any(parent.is_symlink() or parent.is_file() for parent in target.parents if parent.is_relative_to(tree)):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    there = os.path.lexists(target)
    match kind:
        case "remove":
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
        case "dir" if not there:
            target.mkdir(mode=0o755)
        case "link" if not there:
            target.symlink_to("../some/where")
        case "hardlink" if not there and existing.is_file() and not existing.is_symlink():
            target.hardlink_to(existing)
        case "chmod" if existing.exists() and not existing.is_symlink():
            existing.chmod(mode | 0o700 if existing.is_dir() else mode)
        case "chown" if os.path.lexists(existing):
            os.chown(existing, owner, owner, follow_symlinks=False)
        case "xattr" if existing.exists() and not existing.is_symlink():
            os.setxattr(existing, "user.test", content)
        case "file" | "big" if not target.is_dir() and not target.is_symlink():
            target.unlink(missing_ok=True)
            target.write_bytes(content)
            target.chmod(mode)


def commit(pair: Pair) -> None:
    r = pair.random
    pair.clock += r.randint(0, 100_000)
    words = ["commit", f"--timestamp=@{pair.clock}"]
    words += r.choice([["-b", r.choice(["main", "side/one", "side/two", "origin:far"])]] * 5 + [["--orphan"]])
    words += r.choice([[], ["-s", "subject"], ["-s", "two\nlines", "-m", "body\n\nmore"]])
    words += r.choice([[]] * 4 + [["--owner-uid=7", "--owner-gid=8"], ["--no-xattrs"], ["--mode-ro-executables"]])
    words += r.choice([[]] * 4 + [["--no-bindings"], ["--bind-ref=zzz", "--bind-ref=aaa"], ["--skip-if-unchanged"]])
    words += r.choice([[]] * 4 + [["--add-metadata-string=version=1"], ["--add-metadata=n=<uint32 5>"]])
    words += r.choice(
        [[]] * 5 + [["--add-detached-metadata-string=x=y"], ["--parent=none"], ["--canonical-permissions"]]
    )
    words += r.choice([["tree"]] * 4 + [["--tree=dir=tree"], [f"--tree=ref={pair.a_ref()}", "--tree=dir=tree"]])
    pair.run(*words)


def look(pair: Pair) -> None:
    r = pair.random
    rev = pair.a_rev()
    lines = [
        ["refs"],
        ["refs", r.choice(["side", "main", "origin:", "origin"])],
        ["refs", "--list", r.choice(["side", "main"])],
        ["rev-parse", rev],
        ["log", rev],
        ["log", "--raw", rev],
        ["show", rev],
        ["show", "--raw", rev],
        ["show", "-B", rev],
        ["show", "--print-metadata-key=version", rev],
        ["show", "--print-metadata-key=n", rev],
        ["show", "--print-detached-metadata-key=x", rev],
        ["ls", r.choice(["-R", "-RC", "-RX", "-RCX", "-d", "--nul-filenames-only"]), rev, pair.a_path()],
        ["ls", "-RCX", rev],
        ["cat", rev, pair.a_path()],
        ["diff", pair.a_rev(), rev],
        ["diff", rev],
        ["diff", rev, "./tree"],
        ["diff", "--stats", pair.a_rev(), rev],
        ["config", "get", r.choice(["core.mode", "core.nope", "core.repo_version", "x.y", "nodot"])],
        ["fsck"],
        ["prune", "--no-prune", "--refs-only"],
        ["checksum", "tree/a"],
        ["summary", "--view"],
    ]
    pair.run(*r.choice(lines))


def change_refs(pair: Pair) -> None:
    r = pair.random
    # None that a commit's ref can come into conflict with: there libostree leaves objects behind, and Ostler does not.
    new = r.choice(["main", "new", "side", "fresh/x/deep", "fresh/x", "-bad", "origin:y"])
    lines = [
        ["refs", f"--create={new}", pair.a_rev()],
        ["refs", "--force", f"--create={new}", pair.a_rev()],
        ["refs", "-A", "--create=alias", r.choice(["main", "side/one", "missing"])],
        ["refs", "--delete", r.choice([*pair.refs(), "missing", "fresh"])],
        ["reset", pair.a_ref(), pair.a_rev()],
        ["refs", "-A"],
    ]
    pair.run(*r.choice(lines))


def configure(pair: Pair) -> None:
    key = pair.random.choice(["core.test", "other.key", "core.tombstone-commits"])
    line = pair.random.choice([["set", key, pair.random.choice(["true", "false"])], ["unset", key], ["get", key]])
    pair.run("config", *line)


def prune(pair: Pair) -> None:
    r = pair.random
    options = [
        [],
        ["--refs-only"],
        ["--refs-only", f"--depth={r.randint(0, 2)}"],
        [f"--keep-younger-than=@{pair.clock - r.randint(0, 200_000)}"],
        [f"--retain-branch-depth=main={r.randint(0, 2)}", "--depth=0"],
        ["--only-branch=main", "--depth=0"],
        ["--commit-only", "--refs-only", "--depth=0"],
        [f"--delete-commit={r.choice(pair.commits or ['0' * 64])}"],
    ]
    pair.run("prune", *r.choice(options))


def summarise(pair: Pair) -> None:
    pair.run("summary", "-u")
    pair.run("summary", "-v")


def check_out(pair: Pair) -> None:
    r = pair.random
    pair.checkouts += 1
    name = f"out-{pair.checkouts if r.random() < 0.7 else max(1, pair.checkouts - 1)}"
    options = [[], [], ["-U"], ["-U"], ["--union"], ["--union-add"], ["-C"], ["-U", "-C"], ["--whiteouts"], ["-UM"]]
    options += [["--union", "-U"], ["-U", "--disable-cache"]]
    if pair.mode != "archive":
        options += (
            [["-H"], ["-H", "--union-identical"]] if pair.mode == "bare" else [["-UH"], ["-UH", "--union-identical"]]
        )
    words = ["checkout", *r.choice(options)]
    if r.random() < 0.2:
        words += ["--subpath", pair.a_path()]
    if pair.run(*words, pair.a_rev(), name).code != 0:
        return  # what is left behind then is anyone's guess
    theirs, ours = (listing(folder / name) for _, folder in (pair.sides["theirs"], pair.sides["ours"]))
    assert ours == theirs, f"{pair.told()}\n{sorted(set(ours) ^ set(theirs))}"


def listing(top: Path) -> list[tuple[object, ...]]:
    """All that a checkout brings about, but the times: where nothing is linked ours are 0 for everything."""
    found: list[tuple[object, ...]] = []
    for path in [top, *sorted(top.rglob("*"))] if os.path.lexists(top) else []:
        status = path.lstat()
        content = b"" if stat.S_ISDIR(status.st_mode) else _content(path)
        xattrs = [(name, os.getxattr(path, name, follow_symlinks=False)) for name in sorted(_listxattr(path))]
        owner = (status.st_uid, status.st_gid)
        found.append((path.relative_to(top).as_posix(), oct(status.st_mode), owner, content, tuple(xattrs)))
    return found


def _listxattr(path: Path) -> list[str]:
    return os.listxattr(path, follow_symlinks=False)


def _content(path: Path) -> bytes:
    return os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()


def objects(repo: Path) -> dict[str, int]:
    """Every object with its size; but compressed ones need not have the same."""
    return {
        path.relative_to(repo).as_posix(): 0 if path.suffix == ".filez" else path.lstat().st_size
        for path in (repo / "objects").glob("??/*")
    }


ACTIONS = [edit] * 5 + [commit] * 5 + [look] * 8 + [change_refs] * 3 + [check_out] * 3 + [prune, configure, summarise]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mode", MODES)
def test_both_programs_do_the_same(tmp_path: Path, mode: str, seed: int) -> None:
    pair = Pair(tmp_path, seed, mode)
    for _ in range(3):
        edit(pair)
    commit(pair)
    for _ in range(STEPS):
        pair.random.choice(ACTIONS)(pair)
    pair.run("fsck")
    theirs, ours = (folder / "repo" for _, folder in (pair.sides["theirs"], pair.sides["ours"]))
    found, expected = objects(ours), objects(theirs)
    assert found == expected, f"{pair.told()}\n{sorted(set(found.items()) ^ set(expected.items()))}"
    configs = [(repo / "config").read_text().replace("indexed-deltas=true\n", "") for repo in (ours, theirs)]
    assert configs[0] == configs[1], f"{pair.told()}\n{configs}"
    checks = []
    for program, repo in ((["ostree"], theirs), (["ostree"], ours), (OURS, theirs), (OURS, ours)):
        line = [*program, "fsck", "-q", f"--repo={repo}"]
        done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        checks.append((done.returncode, "\n".join(line for line in done.stdout.splitlines() if not _varies(line))))
    assert len(set(checks)) == 1, f"{pair.told()}\n{checks}"
