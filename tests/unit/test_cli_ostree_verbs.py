"""The `ostree` face: what it prints, how it fails, with which exit codes."""

import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ostler.cli.ostree import VERBS, main
from ostler.cli.ostree.call import Group
from ostler.cli.ostree.help import FEATURES

TIME = "--timestamp=@1700000000"


@dataclass(frozen=True, slots=True)
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Runs `ostree` in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OSTREE_REPO", raising=False)
    monkeypatch.setenv("TZ", "UTC")

    def call(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.FileIO(1, "wb", closefd=False), write_through=True))
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.FileIO(2, "wb", closefd=False), write_through=True))
        code = main(arguments)
        captured = capfdbinary.readouterr()
        return Done(code, captured.out.decode(), captured.err.decode())

    return call


@pytest.fixture
def repo(run: Run, tmp_path: Path) -> Path:
    """A repository with two commits of `main`."""
    (tmp_path / "tree/d").mkdir(parents=True)
    (tmp_path / "tree/f").write_text("one\n")
    (tmp_path / "tree/l").symlink_to("f")
    ours = ("--owner-uid=0", "--owner-gid=0", "--no-xattrs", "--canonical-permissions")
    assert run("init", "--repo=r", "--mode=archive").code == 0
    assert run("config", "--repo=r", "set", "core.fsync", "false").code == 0
    assert run("commit", "--repo=r", "-b", "main", "-s", "first", TIME, *ours, "tree").code == 0
    (tmp_path / "tree/g").write_text("two\n")
    done = run("commit", "--repo=r", "-b", "main", "-s", "second", "-m", "a\nb", TIME, *ours, "tree")
    assert (done.code, len(done.out)) == (0, 65)
    return tmp_path / "r"


def test_every_verb_has_help_on_standard_output(run: Run) -> None:
    from importlib import import_module

    for name, (purpose, module, attribute) in VERBS.items():
        found = getattr(import_module(f"ostler.cli.ostree.{module}"), attribute)
        subs = found.verbs if isinstance(found, Group) else {}
        for words, sentence in ((name,), purpose), *(((name, sub), entry[0]) for sub, entry in subs.items()):
            done = run(*words, "--help")
            assert (done.code, done.err) == (0, "")
            assert done.out.startswith(f"Usage:\n  ostree {' '.join(words)} ")
            assert sentence in done.out
            assert "\n  -h, --help" in done.out


def test_the_version_is_yaml_with_what_is_supported(run: Run) -> None:
    lines = run("--version").out.splitlines()
    assert lines[:2] == ["libostree:", " Version: '2022.7'"]
    assert [line.removeprefix("  - ") for line in lines if line.startswith("  - ")] == list(FEATURES)
    assert run("refs", "--version").out.splitlines() == lines


def test_without_a_verb_or_with_an_unknown_one_the_help_goes_to_standard_error(run: Run) -> None:
    for words, message in (((), "No command specified"), (("nope",), "Unknown command 'nope'")):
        done = run(*words)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("Usage:\n")
        assert done.err.endswith(f"error: {message}\n")
    done = run("remote", "nope")
    assert done.err.endswith("error: Unknown \"remote\" subcommand 'nope'\n")
    assert 'Builtin "remote" Commands:' in done.err


def test_unknown_verbs_are_programs_in_the_path(tmp_path: Path) -> None:
    program = tmp_path / "ostree-hello"
    program.write_text('#!/bin/sh\necho "$0 $*"\n')
    program.chmod(0o755)
    start = "import sys; from ostler.cli import main; sys.argv[0] = '/usr/bin/ostree'; sys.exit(main())"
    line = [sys.executable, "-c", start, "hello", "--x"]
    done = subprocess.run(line, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{program} hello --x\n")


def test_a_repository_is_named_found_or_missed(run: Run, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("--repo=r", "refs").out == "main\n"
    assert run("refs", "--repo", "r").out == "main\n"
    done = run("refs")
    assert done.code == 1
    assert done.err.startswith("Usage:\n  ostree refs")
    assert done.err.endswith("error: Command requires a --repo argument\n")
    assert run("refs", "--repo=nope").err == "error: opening repo: opendir(nope): No such file or directory\n"
    monkeypatch.setenv("OSTREE_REPO", str(repo))
    assert run("refs").out == "main\n"
    monkeypatch.delenv("OSTREE_REPO")
    monkeypatch.chdir(repo)
    assert run("refs").out == "main\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["refs", "--nope"], "Unknown option --nope"),
        (["rev-parse", "nope"], "Refspec 'nope' not found"),
        (["rev-parse", "a b"], "Invalid refspec a b"),
        (["refs", "--delete"], "At least one PREFIX is required when deleting refs"),
        (["refs", "--create=x"], "You must specify a revision when creating a new ref"),
        (["refs", "--create=main", "main"], "--create specified but ref main already exists"),
        (["refs", "-A", "--create=x:y", "main"], "Cannot create alias to remote ref: x"),
        (["refs", "-A", "--create=x", "nope"], "Cannot create alias to non-existent ref: nope"),
        (["reset", "nope", "main"], "Invalid ref 'nope'"),
        (["commit", "tree"], "A branch must be specified with --branch, or use --orphan"),
        (["commit", "--orphan", "--tree=x"], "Missing type in tree specification 'x'"),
        (["commit", "--orphan", "--tree=x=y"], "Invalid tree type specification 'x'"),
        (["commit", "-b", "x", "--keep-metadata=k"], "Either --branch or --parent must be specified when using "),
        (["commit", "-b", "x", "--add-metadata-string=k"], "Missing '=' in KEY=VALUE metadata 'k'"),
        (["commit", "-b", "x", "--add-metadata=k=["], "Parsing k=[: 1: expected value"),
        (["commit", "-b", "x", "--timestamp=soon"], "Could not parse 'soon'"),
        (["commit", "-b", "main/x", "tree"], "openat(refs/heads/main/x): Not a directory"),
        (["checkout", "main", "x", "--union", "--union-add"], "Cannot specify both --union and --union-add"),
        (["checkout", "main", "x", "--union-identical"], "--union-identical requires --require-hardlinks"),
        (["show", "main", "--print-metadata-key=k"], "No such metadata key 'k'"),
        (["show", "main", "--print-detached-metadata-key=k"], "No detached metadata for commit "),
        (["show", "f" * 64], f"Couldn't find file object '{'f' * 64}'"),
        (["log", "f" * 64], f"No such metadata object {'f' * 64}.commit"),
        (["ls", "main", "/nope"], "Inspecting path '/nope': No such file or directory: /nope"),
        (["config", "get", "core.nope"], "Key file does not have key “nope” in group “core”"),
        (["config", "get", "nope.x"], "Key file does not have group “nope”"),
        (["config", "get", "nodot"], 'Key must be of the form "sectionname.keyname"'),
        (["config", "frob"], "Unknown operation frob"),
        (["prune", "--retain-branch-depth=x"], "Invalid value x, must specify BRANCH=DEPTH"),
        (["prune", "--retain-branch-depth=x=BACON"], "Invalid depth BACON"),
        (["prune", "--static-deltas-only"], "--static-deltas-only requires --delete-commit"),
        (["summary"], "No option specified; use -u to update summary"),
        (["summary", "--view"], "openat(summary): No such file or directory"),
        (["admin", "status"], "the `admin` verbs belong to the host"),
        (["find-remotes", "a", "b"], "finding remotes by collection is left out"),
        (["trivial-httpd"], "there is no web server in this program"),
    ],
)
def test_failures_are_one_line_and_exit_code_1(run: Run, repo: Path, words: list[str], message: str) -> None:
    place = [] if words[0] in ("admin", "find-remotes", "trivial-httpd") else ["--repo=r"]
    done = run(*words, *place)
    assert done.code == 1
    assert done.err.startswith(f"error: {message}")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rev-parse"], "REV must be specified"),
        (["rev-parse", "-S", "x"], "Cannot specify arguments with --single"),
        (["ls"], "An COMMIT argument is required"),
        (["cat", "main"], "A COMMIT and at least one PATH argument are required"),
        (["reset", "main"], "A REF and COMMIT argument is required"),
        (["config", "get", "a.b", "c"], "Too many arguments given"),
        (["prune", "--delete-commit=x", "--no-prune"], "Cannot specify both --delete-commit and --no-prune"),
    ],
)
def test_missing_arguments_bring_the_help(run: Run, repo: Path, words: list[str], message: str) -> None:
    done = run(*words, "--repo=r")
    assert done.code == 1
    assert done.err.startswith(f"Usage:\n  ostree {words[0]} [OPTION…]")
    assert done.err.endswith(f"error: {message}\n")


def test_log_and_show_print_commits(run: Run, repo: Path) -> None:
    newer, older = (run("--repo=r", "rev-parse", rev).out.strip() for rev in ("main", "main^"))
    text = run("--repo=r", "log", "main").out
    assert text.startswith(f"commit {newer}\nParent:  {older}\nContentChecksum:  ")
    assert "Date:  2023-11-14 22:13:20 +0000\n\n    second\n\n    a\n    b\n\n" in text
    assert text.endswith("\n    first\n\n")
    assert run("--repo=r", "show", older).out in text
    assert run("--repo=r", "show", "--raw", older).out.startswith(
        f"commit {older}\n({{'ostree.ref-binding': <['main']>}}"
    )
    (repo / "objects" / older[:2] / f"{older[2:]}.commit").unlink()
    assert run("--repo=r", "log", "main").out.endswith("<< History beyond this commit not fetched >>\n")


def test_listings_have_files_before_folders(run: Run, repo: Path) -> None:
    lines = run("--repo=r", "ls", "-R", "main").out.splitlines()
    assert lines == [
        "d00755 0 0      0 /",
        "-00644 0 0      4 /f",
        "-00644 0 0      4 /g",
        "l00777 0 0      0 /l -> f",
        "d00755 0 0      0 /d",
    ]
    assert run("--repo=r", "ls", "--nul-filenames-only", "main").out == "/\0/f\0/g\0/l\0/d\0"
    assert run("--repo=r", "ls", "-d", "main", "d", "/f").out == "d00755 0 0      0 /d\n-00644 0 0      4 /f\n"
    assert run("--repo=r", "cat", "main", "/f", "g").out == "one\ntwo\n"
    assert run("--repo=r", "diff", "main").out == "A    /g\n"


def test_refs_are_listed_made_and_deleted(run: Run, repo: Path) -> None:
    assert run("--repo=r", "refs", "--create=side/one", "main").code == 0
    assert run("--repo=r", "refs", "--create=origin:far", "main^").code == 0
    assert run("--repo=r", "refs").out == "main\norigin:far\nside/one\n"
    assert run("--repo=r", "refs", "side").out == "one\n"
    assert run("--repo=r", "refs", "--list", "side").out == "side/one\n"
    assert run("--repo=r", "refs", "origin:").out == "origin:far\n"
    assert run("--repo=r", "refs", "-A", "--create=alias", "main").code == 0
    assert run("--repo=r", "refs", "-A").out == "alias -> main\n"
    assert "has an active alias" in run("--repo=r", "refs", "--delete", "main").err
    assert run("--repo=r", "reset", "main", "main^").code == 0
    assert run("--repo=r", "refs", "--delete", "alias", "side").code == 0
    assert run("--repo=r", "refs").out == "main\norigin:far\n"


def test_settings_are_set_shown_and_unset(run: Run, repo: Path) -> None:
    assert run("--repo=r", "config", "set", "core.x", " a;b\\c").code == 0
    assert run("--repo=r", "config", "get", "core.x").out == " a;b\\c\n"
    assert run("--repo=r", "config", "--group=core", "unset", "x").code == 0
    assert run("--repo=r", "config", "get", "core.x").code == 1
    assert run("--repo=r", "config", "unset", "core.x").code == 0


def test_prune_and_fsck_say_what_they_did(run: Run, repo: Path) -> None:
    assert run("--repo=r", "prune").out == "Total objects: 9\nNo unreachable objects\n"
    dry = run("--repo=r", "prune", "--refs-only", "--depth=0", "--no-prune").out
    assert dry.splitlines()[1].startswith("Would delete: 2 objects, freeing ")
    assert run("--repo=r", "prune", "--refs-only", "--depth=0").out.splitlines()[1].startswith("Deleted 2 objects, ")
    done = run("--repo=r", "fsck")
    assert done.out.endswith("object fsck of 1 commits completed successfully - no errors found.\n")


def test_fsck_tells_of_what_is_missing_and_marks_the_commit(run: Run, repo: Path) -> None:
    rev = run("--repo=r", "rev-parse", "main").out.strip()
    checksum = run("--repo=r", "ls", "-C", "main", "/g").out.split()[4]
    (repo / "objects" / checksum[:2] / f"{checksum[2:]}.filez").unlink()
    done = run("--repo=r", "fsck", "-q")
    assert done.code == 1
    assert done.err.splitlines() == [
        f"Object missing in commits {rev}: {checksum}.file",
        f"Marking commit as partial: {rev}",
        "error: Repository corruption encountered",
    ]
    assert run("--repo=r", "fsck", "-q").err == "error: 1 partial commits from fsck-detected corruption\n"


def test_commits_carry_metadata_and_bindings(run: Run, repo: Path) -> None:
    words = ["--add-metadata-string=version=7", "--add-metadata=n=[uint32 1, 2]", "--bind-ref=also"]
    words += ["--add-detached-metadata-string=sig=x", "--canonical-permissions", "--no-xattrs"]
    checksum = run("--repo=r", "commit", "-b", "main", TIME, *words, "tree").out.strip()
    assert run("--repo=r", "show", "-B", "--print-metadata-key=n", checksum).out == "[uint32 1, 2]\n"
    assert run("--repo=r", "show", "--print-metadata-key=ostree.ref-binding", "main").out == "['also', 'main']\n"
    assert run("--repo=r", "show", "--print-detached-metadata-key=sig", "main").out == "'x'\n"
    assert "Version: 7\n" in run("--repo=r", "show", "main").out
    words = ["--canonical-permissions", "--no-xattrs", "--skip-if-unchanged"]
    assert run("--repo=r", "commit", "-b", "main", *words, "tree").out.strip() == checksum


def test_trees_are_laid_over_each_other_and_filtered(run: Run, repo: Path, tmp_path: Path) -> None:
    (tmp_path / "top/d").mkdir(parents=True)
    (tmp_path / "top/d/new").write_text("x")
    (tmp_path / "top/skipped").write_text("x")
    (tmp_path / "skip").write_text("/skipped\n")
    words = ["--tree=ref=main", "--tree=dir=top", "--skip-list=skip", "--canonical-permissions"]
    assert run("--repo=r", "commit", "-b", "both", *words).code == 0
    assert run("--repo=r", "ls", "-R", "--nul-filenames-only", "both").out == "/\0/f\0/g\0/l\0/d\0/d/new\0"
    (tmp_path / "skip").write_text("/skipped\n/nope\n")
    done = run("--repo=r", "commit", "-b", "both", *words)
    assert (done.code, done.err) == (1, "Unmatched skip-list path: /nope\nerror: Unmatched skip-list paths\n")


def test_checkouts_from_a_list(run: Run, repo: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"main\0/d\0main^\0/\0")
    assert run("--repo=r", "checkout", "-U", "--union", "--from-file=list", "out").code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["d", "f", "l"]
    assert run("--repo=r", "checkout", "-U", "--allow-noent", "--subpath=/nope", "main", "other").code == 0
    assert not (tmp_path / "other").exists()


def test_the_summary_is_written_and_shown(run: Run, repo: Path) -> None:
    assert run("--repo=r", "summary", "-u", "--add-metadata=map={'k': <1>}").code == 0
    lines = run("--repo=r", "summary", "-v").out.splitlines()
    rev = run("--repo=r", "rev-parse", "main").out.strip()
    assert lines[0] == "* main"
    assert lines[2] == f"      {rev}"
    assert "    Timestamp (ostree.commit.timestamp): 2023-11-14T22:13:20+00" in lines
    assert "Repository Mode (ostree.summary.mode): archive-z2" in lines
    assert "map: {'k': <1>}" in lines
    assert run("--repo=r", "summary", "--raw").out.startswith("([('main', (")


def test_a_closed_pipe_ends_quietly(repo: Path) -> None:
    start = "import sys; from ostler.cli import main; sys.exit(main())"
    line = f"{sys.executable} -c '{start}' ostree --repo={repo} ls -R main | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "141")


def test_starting_imports_little() -> None:
    start = "import sys; from ostler.cli.ostree import main; main(['refs', '--repo=/nope']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", start], capture_output=True, text=True, check=True)
    for heavy in ("argparse", "asyncio", "subprocess", "tempfile", "urllib.request", "ssl", "concurrent", "logging"):
        assert heavy not in done.stdout.split()
