"""Mending a repository: what is damaged or missing is fetched again from where it came from, or from any copy."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ostler.errors import NotFoundError, OstlerError
from ostler.formats.objects import Checksum, ObjectType
from ostler.io.progress import Reporter, Warning, silent
from ostler.store.fsck import FsckOptions, FsckResult, examine
from ostler.store.needs import Reason
from ostler.store.pull import open_source, pull
from ostler.store.pull_options import PullOptions, UseDeltas
from ostler.store.remote import RemoteHttp
from ostler.store.repo import Repo


@dataclass(frozen=True, slots=True)
class RepairResult:
    """What was wrong before, and is wrong now; the commits that were mended, and why others could not be."""

    before: FsckResult
    after: FsckResult
    mended: tuple[Checksum, ...] = ()
    failures: Mapping[Checksum, OstlerError] | None = None


def repair(
    repo: Repo, source: str | Path, options: FsckOptions | None = None, report: Reporter = silent
) -> RepairResult:
    """Check the repository; remove damaged objects, and fetch them and those that are missing from `source`.

    `source` is a remote's name, a URL or a folder; what comes from it is verified by its digest, and as the remote's
    settings demand. What it lacks stays a problem of the result. Raises what `examine` raises; and, before anything is
    removed, what `pull` raises if there is something to mend and the source is no repository that can be reached.
    """
    options = options or FsckOptions()
    found = examine(repo, replace(options, delete=False), report)
    if not found.problems:
        return RepairResult(found, found)
    source = _named(repo, source)
    _check_source(repo, source)
    before = examine(repo, replace(options, delete=True), report)
    mendable = [problem for problem in before.problems if not problem.unreadable]
    wanted = {commit for problem in mendable for commit in problem.commits}
    wanted |= {
        problem.checksum
        for problem in mendable
        if problem.kind is ObjectType.COMMIT and problem.reason in (Reason.MISSING, Reason.DAMAGED)
    }
    how = PullOptions(untrusted=True, static_deltas=UseDeltas.NEVER)
    mended: list[Checksum] = []
    failures: dict[Checksum, OstlerError] = {}
    for commit in sorted(wanted):
        try:
            pull(repo, source, [commit], options=how, report=report)
            mended.append(commit)
        except NotFoundError as error:
            failures[commit] = error
            report(Warning(f"the commit {commit} could not be mended: {error.message}", error.hint))
    return RepairResult(before, examine(repo, options, report), tuple(mended), failures)


def _named(repo: Repo, source: str | Path) -> str | Path:
    """What a bare name means: a remote, or else a folder right here."""
    if isinstance(source, str) and source and "/" not in source and source not in repo.remotes():
        folder = Path(source)
        return folder if folder.is_dir() else source
    return source


def _check_source(repo: Repo, source: str | Path) -> None:
    with open_source(repo, source) as opened:
        if isinstance(opened, RemoteHttp):
            opened.check_usable()
