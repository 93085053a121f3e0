"""Building a machine: each step looked up by its key, run if it is not there, its layer put on top of the others."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ostler.compose import agent, base, containerfile, files, initramfs, packages_step
from ostler.compose.base import Ids
from ostler.compose.cache import LAYER_REFS, Cache
from ostler.compose.digests import Inputs, digest_of, step_key
from ostler.compose.plan import BuildPlan, Step, plan_step
from ostler.compose.resolve import DPKG_STATUS, fetch_archives, outdated, resolve
from ostler.definition.lock import Lock, Package
from ostler.definition.model import Definition
from ostler.formats.gvariant import Variant
from ostler.formats.objects import Checksum
from ostler.io.http import Fetcher, HttpFetcher
from ostler.io.progress import Finished, Reporter, silent
from ostler.io.progress import Step as Started
from ostler.oci.importer import machine_tree
from ostler.store.commit import commit_tree
from ostler.store.layers import apply_layer
from ostler.store.tree import Directory, write_tree

STEPS = ("base packages", "folder packages", "Containerfile", "agent", "files", "initramfs")
BASE, PACKAGES, CONTAINERFILE, AGENT, FILES, INITRAMFS = STEPS


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the image: `commit` holds its tree in the cache's store, `created_by` says what made it."""

    name: str
    key: str
    commit: Checksum
    created_by: str


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """A step of a build: whether it ran, why (or why not), and the seconds it took."""

    name: str
    ran: bool
    why: str
    seconds: float


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build made. `lock` may say more than before (numbers of accounts, digests): write it if it differs."""

    layers: tuple[Layer, ...]
    commit: Checksum
    version: str
    lock: Lock
    steps: tuple[StepOutcome, ...]


class _Stop(Exception):  # noqa: N818 - not an error
    """A plan cannot see further."""


class _Build:
    """One run through the steps. With `dry` nothing runs, and the first step that would ends it."""

    def __init__(
        self, definition: Definition, lock: Lock, cache: Cache, fetcher: Fetcher | None, report: Reporter, *, dry: bool
    ) -> None:
        self.definition = definition
        self.lock = lock
        self.cache = cache
        self.fetcher = fetcher
        self.report = report
        self.dry = dry
        self.before = cache.last_inputs(definition.folder)
        self.inputs: dict[str, dict[str, str]] = {}
        self.planned: list[Step] = []
        self.outcomes: list[StepOutcome] = []
        self.layers: list[Layer] = []
        self._trees: dict[Checksum, Directory] = {}

    # --- one step

    def step(
        self,
        name: str,
        inputs: Inputs,
        make: Callable[[str], Checksum],
        created_by: str,
        usable: Callable[[Checksum], bool] = lambda _: True,
    ) -> Checksum:
        """The layer of a step, from the cache or made by `make`, which is given the key."""
        key = step_key(name, inputs)
        self.inputs[name] = dict(inputs)
        found = self.cache.layer(key)
        cached = found is not None and usable(found)
        planned = plan_step(name, inputs, cached=cached, before=self.before.get(name))
        if found is not None and not cached:
            planned = replace(planned, reason="the lock gives accounts other numbers")
        self.planned.append(planned)
        started = time.monotonic()
        if not cached:
            if self.dry:
                raise _Stop
            self.report(Started(name, planned.reason))
            found = make(key)
            self.report(Finished(name))
        else:
            self.report(Finished(name, "cached"))
        assert found is not None
        self.outcomes.append(StepOutcome(name, not cached, planned.reason, time.monotonic() - started))
        for index, commit in enumerate([*self.cache.note(found).get("before", []), found]):
            self.layers.append(Layer(name if index == 0 else f"{name} {index + 1}", key, commit, created_by))
        return found

    # --- what is below

    def tree(self, layers: Sequence[Layer] | None = None) -> Directory:
        """The merged tree of the layers (so far)."""
        merged: Directory | None = None
        for layer in self.layers if layers is None else layers:
            loaded = self._trees.get(layer.commit)
            if loaded is None:
                loaded = self._trees[layer.commit] = self.cache.load(layer.commit)
            merged = loaded.copy() if merged is None else apply_layer(merged, loaded)
        return merged or Directory()

    def identity(self) -> str:
        """A digest of the content of all layers so far."""
        return digest_of([self.cache.tree_checksum(layer.commit) for layer in self.layers])

    def text(self, tree: Directory, path: str) -> str:
        """A text file of a tree, empty if there is none."""
        found = tree.lookup(path)
        if not isinstance(found, str):
            return ""
        with self.cache.repo.open_file(Checksum(found)) as file:
            return file.read().decode("utf-8", "replace")

    # --- the steps

    def run(self) -> None:
        """All steps in order."""
        self._base()
        if self.lock.folder.packages or self.definition.packages_remove:
            self._packages()
        if self.definition.containerfile is not None:
            self._containerfile()
        system = list(self.layers)
        identity = self.identity()
        self._agent(identity)
        self._files()
        self._initramfs(system, identity)

    def _fetch(self, packages: Sequence[Package]) -> None:
        missing = [package for package in packages if not self.cache.debs.has(package)]
        if missing:
            assert self.fetcher is not None
            archives = fetch_archives(self.definition, self.lock)
            self.cache.debs.fetch(missing, archives, self.fetcher, report=self.report)

    def _adopt(self, commit: Checksum) -> None:
        """The lock learns the numbers of the accounts that a layer brought."""
        ids = Ids.from_note(self.cache.note(commit))
        users, groups = {**ids.users, **self.lock.users}, {**ids.groups, **self.lock.groups}
        self.lock = replace(self.lock, users=users, groups=groups)

    def _agrees(self, commit: Checksum) -> bool:
        return Ids.from_note(self.cache.note(commit)).agree_with(Ids(self.lock.users, self.lock.groups))

    def _base(self) -> None:
        suite = self.definition.base.suite

        def make(key: str) -> Checksum:
            self._fetch(self.lock.base.packages)
            return base.make_base(self.cache, self.lock, key, suite, report=self.report)

        commit = self.step(BASE, base.base_inputs(self.lock), make, f"ostler: base debian:{suite}", self._agrees)
        self._adopt(commit)
        digest = self.cache.tree_checksum(commit)
        self.lock = replace(self.lock, base=replace(self.lock.base, digest=digest))

    def _packages(self) -> None:
        below = self.identity()
        removed = self.definition.packages_remove

        def make(key: str) -> Checksum:
            self._fetch(self.lock.folder.packages)
            return packages_step.make_packages(self.cache, self.lock, removed, self.tree(), key, report=self.report)

        inputs = packages_step.packages_inputs(self.lock, removed, below)
        names = " ".join(self.lock.folder.requested)
        commit = self.step(PACKAGES, inputs, make, f"ostler: packages {names}", self._agrees)
        self._adopt(commit)
        digest = self.cache.tree_checksum(commit)
        self.lock = replace(self.lock, folder=replace(self.lock.folder, digest=digest))

    def _containerfile(self) -> None:
        inputs = containerfile.containerfile_inputs(self.definition, self.identity())

        def make(key: str) -> Checksum:
            return containerfile.make_containerfile(
                self.cache,
                self.definition,
                [layer.commit for layer in self.layers],
                self.tree(),
                key,
                self.lock.created,
                report=self.report,
            )

        self.step(CONTAINERFILE, inputs, make, "ostler: Containerfile")

    def _agent(self, identity: str) -> None:
        memo = self.cache.memo(f"agent-{identity}")
        if memo is None:
            memo = agent.system_identity(self.text(self.tree(), DPKG_STATUS))
            self.cache.remember(f"agent-{identity}", memo)
        read = agent.read_agent()

        def make(key: str) -> Checksum:
            return agent.make_agent(self.cache, read, self.tree(), key, self.lock.created, report=self.report)

        self.step(AGENT, agent.agent_inputs(read, memo), make, "ostler: agent")

    def _files(self) -> None:
        inputs = files.files_inputs(self.definition, self.identity())
        if self.definition.version is None:
            inputs["time of the lock"] = str(self.lock.created)
        version = self.definition.version or default_version(self.lock.created, step_key(FILES, inputs))

        def make(key: str) -> Checksum:
            return files.make_files(
                self.cache, self.definition, self.tree(), version, key, self.lock.created, report=self.report
            )

        commit = self.step(FILES, inputs, make, "ostler: files")
        self.version = str(self.cache.note(commit)["version"])

    def _initramfs(self, system: Sequence[Layer], identity: str) -> None:
        whole = self.identity()
        name = f"initramfs-{digest_of([identity, whole, initramfs.RECIPE_VERSION])}"
        memo = self.cache.memo(name)
        view: Directory | None = None
        if memo is None:
            tree = self.tree()
            view = initramfs.dracut_view(self.tree(system), tree)
            with self.cache.repo.transaction() as transaction:
                root, meta = write_tree(transaction, view)
            memo = f"{digest_of([root, meta])} {initramfs.kernel_version(tree)}"
            self.cache.remember(name, memo)
        digest, _, version = memo.partition(" ")

        def make(key: str) -> Checksum:
            tree = self.tree()
            shown = view or initramfs.dracut_view(self.tree(system), tree)
            return initramfs.make_initramfs(self.cache, shown, tree, key, self.lock.created, report=self.report)

        inputs = initramfs.initramfs_inputs(digest, version)
        self.step(INITRAMFS, inputs, make, "ostler: initramfs")

    def commit(self) -> Checksum:
        """A bootable commit of all layers merged, made once for the same layers and version."""
        metadata = {
            "version": Variant("s", self.version),
            "ostree.bootable": Variant("b", True),
            "ostree.linux": Variant("s", self.inputs[INITRAMFS]["kernel"]),
        }
        key = digest_of(["machine", self.version, self.lock.created, self.identity()])
        found = self.cache.layer(key)
        if found is not None:
            return found
        layers = [self.cache.load(layer.commit) for layer in self.layers]
        with self.cache.repo.transaction() as transaction:
            tree = machine_tree(self.cache.repo, layers)
            made = commit_tree(transaction, tree, timestamp=self.lock.created, metadata=metadata)
            transaction.set_ref(f"{LAYER_REFS}/{key}", made)
        return made


def build(
    definition: Definition,
    lock: Lock | None,
    cache: Cache,
    *,
    fetcher: Fetcher | None = None,
    now: int | None = None,
    proxy: str | None = None,
    report: Reporter = silent,
) -> BuildResult:
    """Build the machine: resolve what the lock lacks, run the steps whose results are not cached, commit.

    The caller is id 0 (see `enter_user_namespace`) and writes the returned lock if it differs. Raises `PackageError`,
    `NetworkError`, `NoSpaceError`, `CommandError` and whatever else the steps say; nothing half-done stays behind.
    """
    with HttpFetcher() as own:
        used = fetcher or own
        moment = int(time.time()) if now is None else now
        resolved = resolve(definition, lock, cache, used, now=moment, proxy=proxy, report=report)
        run = _Build(definition, resolved, cache, used, report, dry=False)
        run.run()
        commit = run.commit()
    cache.keep_inputs(definition.folder, run.inputs)
    return BuildResult(tuple(run.layers), commit, run.version, run.lock, tuple(run.outcomes))


def plan_build(definition: Definition, lock: Lock | None, cache: Cache) -> BuildPlan:
    """What `build` would do, as far as it can be known without doing it."""
    if lock is None or outdated(definition, lock):
        reason = "; ".join(outdated(definition, lock))
        return BuildPlan((Step("lock", {}, cached=False, reason=reason),), STEPS)
    run = _Build(definition, lock, cache, None, silent, dry=True)
    try:
        run.run()
    except _Stop:
        names = [step.name for step in run.planned]
        behind = STEPS[STEPS.index(names[-1]) + 1 :]
        has_packages = bool(lock.folder.packages or definition.packages_remove)
        wanted = {PACKAGES: has_packages, CONTAINERFILE: definition.containerfile is not None}
        return BuildPlan(tuple(run.planned), tuple(name for name in behind if wanted.get(name, True)))
    return BuildPlan(tuple(run.planned))


def default_version(created: int, key: str) -> str:
    """A version for folders that name none: the day of the lock, and a few digits of everything in the image."""
    return f"{time.strftime('%Y%m%d', time.gmtime(created))}.{key[:8]}"
