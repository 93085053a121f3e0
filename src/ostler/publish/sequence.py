"""The one order in which things are published, whatever the place: objects, static deltas, then refs, then the summary.

At no moment does a client see a ref, or a summary, that leads to something which is not all there. Whoever is cut off
begins again, and goes on where it ended.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from ostler.errors import BusyError
from ostler.formats.delta import delta_folder, delta_name, superblock_path
from ostler.formats.objects import Checksum, ObjectType
from ostler.formats.refs import validate_ref
from ostler.io.progress import Finished, Reporter, Step, Warning, silent
from ostler.publish.destination import DeltaChanges, Destination, PublishError, RefChange
from ostler.publish.history import encode_history, histories_after, history_path, parse_history
from ostler.store.copy import CopyPlan
from ostler.store.prune import PruneResult
from ostler.store.repo import Repo
from ostler.store.transfer import check_binding

KEPT_VERSIONS = 5
_SUMMARY_TRIES = 5
NO_COPY = CopyPlan()


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """How to publish. `delta_from` makes static deltas from so many previous versions of each ref.

    With `prune`, what neither a ref needs nor the last `keep` versions of one is removed in the end. `sign_summary`
    makes the content of `summary.sig` from the summary. `timestamp`: of the summary, in seconds since 1970 (None: now).
    """

    delta_from: int = 0
    prune: bool = False
    keep: int = KEPT_VERSIONS
    dry_run: bool = False
    timestamp: int | None = None
    sign_summary: Callable[[bytes], bytes] | None = None


@dataclass(frozen=True, slots=True)
class PublishPlan:
    """What publishing will do: create the repository or not, add objects, make static deltas (from, to), move refs.

    `copy` is found out for dry runs only, `histories` are those of the refs, the new commit first.
    """

    creates: bool
    refs: tuple[RefChange, ...]
    deltas: tuple[tuple[Checksum, Checksum], ...]
    histories: Mapping[str, Sequence[Checksum]] = field(default_factory=dict)
    copy: CopyPlan = NO_COPY


@dataclass(frozen=True, slots=True)
class PublishResult:
    """What was published, or with a dry run would be.

    `objects` are those that the place lacked, `content_bytes` their size uncompressed; `stored_bytes` is what they take
    there, compressed, and `delta_bytes` what new deltas take (both 0 for a dry run, which cannot know). `deltas` are
    (from, to). `pruned` None: not asked for.
    """

    refs: tuple[RefChange, ...]
    objects: int
    content_bytes: int
    stored_bytes: int
    deltas: tuple[tuple[Checksum, Checksum], ...] = ()
    delta_bytes: int = 0
    pruned: PruneResult | None = None


def plan(
    source: Repo, refs: Mapping[str, str], destination: Destination, options: PublishOptions, report: Reporter
) -> PublishPlan:
    """Find out what to publish, without changing anything. Raises as `publish` does."""
    new = _resolved(source, refs)
    exists = destination.exists()
    old = destination.refs() if exists else {}
    _check_names(destination.name, old, new)
    changes = tuple(RefChange(ref, old.get(ref), checksum) for ref, checksum in new.items())
    copied = destination.plan_objects(source, changes) if options.dry_run else NO_COPY
    if not exists:
        return PublishPlan(True, changes, (), {change.ref: [change.new] for change in changes}, copied)
    histories = histories_after(changes, destination.read([history_path(ref) for ref in new]))
    deltas = [(previous, all_[0]) for all_ in histories.values() for previous in all_[1 : 1 + options.delta_from]]
    absent = destination.missing([superblock_path(*delta) for delta in deltas]) if deltas else set()
    wanted = [delta for delta in dict.fromkeys(deltas) if superblock_path(*delta) in absent]
    possible = tuple(delta for delta in wanted if _holder(source, destination, delta[0]) is not None)
    for previous, _ in wanted:
        if _holder(source, destination, previous) is None:
            report(
                Warning(
                    f"no delta is made from {previous}, which was published before: it is not in {source.path}",
                    "machines that run it fetch the changed files one by one",
                )
            )
    return PublishPlan(False, changes, possible, histories, copied)


def publish(
    source: Repo,
    refs: Mapping[str, str],
    destination: Destination,
    options: PublishOptions | None = None,
    report: Reporter = silent,
) -> PublishResult:
    """Publish commits of `source` to `destination`, whose repository is made if missing.

    `refs` maps each ref to publish to the revision of `source` that it shall point at. Several may publish at once.

    Raises `NotFoundError` (no such revision; objects missing), `CorruptError` (damage in `source`), `PublishError` (the
    place holds something else), `BusyError`, `NoSpaceError`, `NetworkError`.
    """
    options = options or PublishOptions()

    def unlist(deltas: frozenset[str]) -> None:
        with destination.turn():
            _write_summary(source, destination, DeltaChanges(removed=deltas), options)

    if options.dry_run:
        return _foreseen(source, destination, plan(source, refs, destination, options, report), options, report)
    _check_names(destination.name, {}, _resolved(source, refs))
    if not destination.exists():
        destination.create()
    with destination.busy(removing=False):  # from here on nobody removes what the plan counts on
        planned = plan(source, refs, destination, options, report)
        moved = destination.add_objects(source, planned.refs, report)
        delta_bytes, digests = _add_deltas(source, destination, planned, report)
        with destination.turn():
            _write_histories(destination, planned)
            destination.set_refs([change for change in planned.refs if change.old != change.new])
            _write_summary(source, destination, DeltaChanges(digests), options)
    pruned = None
    if options.prune:
        with destination.busy(removing=True):
            pruned = destination.prune(source, _kept(destination, options), report, unlist=unlist)
            unlist(frozenset())
    return PublishResult(
        planned.refs,
        moved.objects,
        moved.content_bytes,
        moved.stored_bytes,
        planned.deltas,
        delta_bytes,
        pruned,
    )


def _foreseen(
    source: Repo, destination: Destination, planned: PublishPlan, options: PublishOptions, report: Reporter
) -> PublishResult:
    pruned = None
    if options.prune and not planned.creates:
        there = destination.prune(source, _kept(destination, options, planned.histories), report, unlist=None)
        pruned = replace(there, kept=there.kept + planned.copy.objects)
    copied = planned.copy
    return PublishResult(planned.refs, copied.objects, copied.content_bytes, 0, planned.deltas, 0, pruned)


def _resolved(source: Repo, refs: Mapping[str, str]) -> dict[str, Checksum]:
    """The commits to publish, which may be published under these refs."""
    new = {ref: source.resolve(revision) for ref, revision in refs.items()}
    for ref, checksum in new.items():
        check_binding(str(source.path), validate_ref(ref), checksum, source.load_commit(checksum))
    return new


def _check_names(where: str, old: Iterable[str], new: Iterable[str]) -> None:
    """Refs are files: none can be in the place of another's folder."""
    names = {*old, *new}
    folders = {name.rpartition("/")[0]: name for name in sorted(names)}
    for folder, name in list(folders.items()):
        while folder:
            folders.setdefault(folder, name)
            folder = folder.rpartition("/")[0]
    for ref in sorted(names & folders.keys()):
        if ref in new or any(name in new for name in names if name.startswith(f"{ref}/")):
            raise PublishError(
                f"{where} cannot have both refs, {ref} and {folders[ref]}: one would be a folder and a file",
                hint="publish under another name: [update] ref in ostler.toml",
            )


def _holder(source: Repo, destination: Destination, commit: Checksum) -> Repo | None:
    """A repository on this machine that has the whole commit."""
    for repo in (source, destination.repository()):
        if repo is not None and repo.has(commit, ObjectType.COMMIT) and not repo.is_partial(commit):
            return repo
    return None


def _add_deltas(
    source: Repo, destination: Destination, planned: PublishPlan, report: Reporter
) -> tuple[int, dict[str, bytes]]:
    """Make the planned deltas and bring them; (their bytes, digests of their superblocks by name)."""
    size = 0
    digests = {}
    for from_, to in planned.deltas:
        repo = _holder(source, destination, from_)
        if repo is None:
            continue
        report(Step("delta", f"{from_[:12]} → {to[:12]}"))
        destination.renew()
        superblock = _make_delta(repo, from_, to)
        digests[delta_name(from_, to)] = sha256(superblock.read_bytes()).digest()
        if repo is not destination.repository():
            files = sorted(path for path in superblock.parent.iterdir() if path != superblock)
            folder = delta_folder(from_, to)
            named = {f"{folder}/{path.name}": path for path in (*files, superblock)}  # what lists the others is last
            size += destination.add_files(named, report)
            _discard(superblock.parent)
        else:
            size += sum(path.stat().st_size for path in superblock.parent.iterdir())
        report(Finished("delta"))
    return size, digests


def _make_delta(repo: Repo, from_: Checksum, to: Checksum) -> Path:
    """The superblock of a new delta, in the repository's own `deltas`."""
    from ostler.store.delta.generate import generate

    generate(repo, to, from_=from_)
    return repo.path / superblock_path(from_, to)


def _discard(folder: Path) -> None:
    from ostler.io.files import remove_tree

    remove_tree(folder)


def _write_histories(destination: Destination, planned: PublishPlan) -> None:
    """Note the new commits, after whatever others have noted since the plan was made."""
    paths = [history_path(change.ref) for change in planned.refs]
    known = destination.read(paths)
    histories = {history_path(ref): commits for ref, commits in histories_after(planned.refs, known).items()}
    files = {path: encode_history(commits) for path, commits in histories.items()}
    changed = {path: data for path, data in files.items() if known.get(path) != data}
    if changed:
        destination.replace(changed)


def _write_summary(source: Repo, destination: Destination, deltas: DeltaChanges, options: PublishOptions) -> None:
    for _ in range(_SUMMARY_TRIES):
        written = destination.write_summary(source, deltas, options.timestamp)
        if options.sign_summary is None:
            if written is not None:  # a signature of the one before
                destination.remove(["summary.sig"])
            return
        there = destination.read(["summary.sig"] if written is not None else ["summary", "summary.sig"])
        summary = there["summary"] if written is None else written
        signature = options.sign_summary(summary)
        if there.get("summary.sig") != signature:  # also where the summary stayed and its signers changed
            destination.replace({"summary.sig": signature})
        if destination.read(["summary"]).get("summary") == summary:
            return  # else somebody has written another meanwhile, and the signature may be of this one
    raise BusyError(
        f"the summary of {destination.name} changes all the time", hint="publish again when others have ended"
    )


def _kept(
    destination: Destination, options: PublishOptions, histories: Mapping[str, Sequence[Checksum]] | None = None
) -> set[Checksum]:
    """The last versions of every ref that the place has a history of; `histories` come in place of those there."""
    paths = {history_path(ref): ref for ref in destination.refs()}
    there = {paths[path]: parse_history(data) for path, data in destination.read(paths).items()}
    return {commit for history in {**there, **(histories or {})}.values() for commit in history[: options.keep]}
