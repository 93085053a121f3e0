"""Mending a repository: what is damaged or missing is fetched again from where it came from, or from any copy."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ostler.errors import NotFoundError, OstlerError
from ostler.formats.objects import Checksum, ObjectType
from ostler.io.progress import Reporter, Warning, silent
from ostler.store.fsck import FsckOptions, FsckResult, examine
from ostler.store.needs import Reason
from ostler.store.pull import pull
from ostler.store.pull_options import PullOptions, UseDeltas
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
    settings demand. What it lacks stays a problem of the result. Raises what `examine` raises.
    """
    options = options or FsckOptions()
    before = examine(repo, replace(options, delete=True), report)
    wanted = {commit for problem in before.problems for commit in problem.commits}
    wanted |= {
        problem.checksum
        for problem in before.problems
        if problem.kind is ObjectType.COMMIT and problem.reason in (Reason.MISSING, Reason.DAMAGED)
    }
    if not before.problems:
        return RepairResult(before, before)
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
