"""Making and renewing the lock: which packages, from where, exactly.

A lock that answers what the folder asks is left alone. If only the folder's wishes changed, everything the lock pins
stays pinned and only what is new is resolved. `update` asks the archives anew for everything.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from ostler.compose.apt import AptRoot, plain_name
from ostler.compose.base import base_recipe, base_request
from ostler.compose.cache import Cache
from ostler.compose.debs import PackageError
from ostler.compose.digests import digest_of
from ostler.compose.sources import Source, archives_for, builder_archives
from ostler.definition.lock import Archive, Lock, LockedSet, Package, strip_credentials
from ostler.definition.model import Definition
from ostler.formats.objects import Checksum
from ostler.io.http import Fetcher
from ostler.io.progress import Finished, Reporter, Step, silent

DPKG_STATUS = "usr/lib/sysimage/dpkg/status"


def folder_recipe(definition: Definition) -> str:
    """The digest of what the folder's lists ask for."""
    wanted = sorted(item.name for item in definition.packages_install)
    unwanted = sorted(item.name for item in definition.packages_remove)
    return digest_of(["folder", wanted, unwanted])


def outdated(definition: Definition, lock: Lock | None) -> list[str]:
    """Why the lock does not answer what the folder asks; nothing if it does."""
    if lock is None:
        return ["there is no lock yet"]
    reasons = []
    if lock.base.recipe != base_recipe(definition.base.suite, definition.boot.kernel):
        reasons.append("the base asks for other packages")
    if lock.folder.recipe != folder_recipe(definition):
        reasons.append("the lists of packages changed")
    if definition.mirrors and _public(archives_for(definition.base.suite, named_sources(definition))) != lock.mirrors:
        reasons.append("`mirror` in ostler.toml changed")
    return reasons


def resolve(
    definition: Definition,
    lock: Lock | None,
    cache: Cache,
    fetcher: Fetcher,
    *,
    now: int,
    update: bool = False,
    proxy: str | None = None,
    report: Reporter = silent,
) -> Lock:
    """The lock for this folder: `lock` itself if it still answers, else a new one.

    A new lock's time is when the archives were last published, so that folders locked against the same state of them
    share their base; `now` stands in for archives that do not say.

    Raises `PackageError` (a name that no archive has, with its file and line; packages that exclude each other),
    `NetworkError`, `ArchiveError`.
    """
    reasons = outdated(definition, lock)
    if lock is not None and not reasons and not update:
        return lock
    report(Step("lock", "renewed on request" if update and lock is not None else "; ".join(reasons)))
    named = named_sources(definition)
    if lock is not None and lock.mirrors and not update and not named:
        archives: tuple[Archive, ...] = lock.mirrors
    else:
        archives = tuple(sorted(archives_for(definition.base.suite, named), key=lambda archive: archive.name))
    with cache.lock("apt"):
        apt = AptRoot(
            cache.root / "apt" / digest_of([[a.uri, a.suite, list(a.components)] for a in archives])[:16],
            archives,
            proxy=proxy,
        )
        apt.update(report)
        apt.check_names(definition.packages_install)
        apt.check_names(definition.packages_remove)
        pinned = lock if lock is not None and not update else None
        moment = apt.released() or now
        base = _resolve_base(definition, apt, cache, pinned, fetcher)
        folder = _resolve_folder(definition, apt, cache, pinned, base, fetcher, report)
    renewed = Lock(
        created=lock.created if lock is not None else moment,
        mirrors=_public(archives),
        base=_in_archives(base, archives),
        folder=_in_archives(folder, archives),
        users=lock.users if lock is not None else {},
        groups=lock.groups if lock is not None else {},
    )
    if lock is not None and update and _contents(renewed) != _contents(lock):
        renewed = replace(renewed, created=moment)
    report(Finished("lock", f"{len(base.packages)} packages of the base, {len(folder.packages)} of the folder"))
    return renewed


def fetch_archives(definition: Definition, lock: Lock) -> tuple[Archive, ...]:
    """Where to fetch locked packages: from the folder's or this builder's own archives, then where they came from."""
    if definition.mirrors:
        own: Sequence[Archive] = archives_for(definition.base.suite, named_sources(definition))
    else:
        own = builder_archives(definition.base.suite)
    return (*own, *lock.mirrors)


def _public(archives: Sequence[Archive]) -> tuple[Archive, ...]:
    """The archives as the lock has them: sorted, and without passwords."""
    plain = (replace(archive, uri=strip_credentials(archive.uri)) for archive in archives)
    return tuple(sorted(plain, key=lambda archive: archive.name))


def _in_archives(locked: LockedSet, archives: Sequence[Archive]) -> LockedSet:
    """The set with packages that were locked from an archive no longer named ascribed to the first; all are asked."""
    names = {archive.name for archive in archives}
    if not archives or all(package.archive in names for package in locked.packages):
        return locked
    first = archives[0].name
    moved = (p if p.archive in names else replace(p, archive=first) for p in locked.packages)
    return replace(locked, packages=tuple(moved))


def named_sources(definition: Definition) -> list[Source]:
    """The archives that the folder names."""
    return [Source(mirror.uri, mirror.suite, mirror.components) for mirror in definition.mirrors]


def lock_status(cache: Cache, base_layer: Checksum) -> str:
    """dpkg's status file of a base layer."""
    found = cache.load(base_layer).lookup(DPKG_STATUS)
    if not isinstance(found, str):
        return ""
    with cache.repo.open_file(found) as file:
        return file.read().decode("utf-8", "replace")


def _resolve_base(definition: Definition, apt: AptRoot, cache: Cache, lock: Lock | None, fetcher: Fetcher) -> LockedSet:
    recipe = base_recipe(definition.base.suite, definition.boot.kernel)
    if lock is not None and lock.base.recipe == recipe:
        return lock.base
    request = base_request(definition.boot.kernel)
    pinned = lock.base.packages if lock is not None else ()
    try:
        found = apt.resolve(request, pinned=pinned, debs=cache.debs)
    except PackageError as error:
        if definition.boot.kernel not in apt.names():
            raise PackageError(
                f"there is no kernel package `{definition.boot.kernel}` in {definition.base.suite}",
                hint='`kernel` in [boot] of ostler.toml is "linux-image-amd64" or "linux-image-cloud-amd64", say',
            ) from error
        raise
    return LockedSet(packages=found.packages, requested=tuple(sorted(request)), recipe=recipe)


def _resolve_folder(
    definition: Definition,
    apt: AptRoot,
    cache: Cache,
    lock: Lock | None,
    base: LockedSet,
    fetcher: Fetcher,
    report: Reporter,
) -> LockedSet:
    wanted = [item.name for item in definition.packages_install]
    unwanted = [item.name for item in definition.packages_remove]
    recipe = folder_recipe(definition)
    if not wanted and not unwanted:
        return LockedSet(recipe=recipe)
    status = _base_status(apt, cache, base, fetcher, report)
    pinned = lock.folder.packages if lock is not None else ()
    found = apt.resolve(wanted, unwanted=unwanted, installed=status(), pinned=pinned, debs=cache.debs)
    surprising = sorted(set(found.removed) - {plain_name(name) for name in unwanted})
    if surprising:
        report_removed = ", ".join(surprising)
        raise PackageError(
            f"what the lists ask for would also remove {report_removed} from the machine",
            hint="name these in packages/remove.txt as well if that is meant, or take out what conflicts with them",
        )
    return LockedSet(packages=found.packages, requested=tuple(sorted({*wanted, *unwanted})), recipe=recipe)


def _base_status(apt: AptRoot, cache: Cache, base: LockedSet, fetcher: Fetcher, report: Reporter) -> Callable[[], str]:
    """A function that gives dpkg's status of the base: from the cached layer if it is there, else from the packages."""

    def status() -> str:
        if base.digest is not None:
            layer = cache.layer_by_digest(base.digest)
            if layer is not None:
                return lock_status(cache, layer)
        cache.debs.fetch(base.packages, apt.archives, fetcher, report=report)
        return cache.debs.status(base.packages)

    return status


def _contents(lock: Lock) -> tuple[tuple[Package, ...], tuple[Package, ...]]:
    return lock.base.packages, lock.folder.packages
