"""Writing the first deployment of a new disk, offline, into folders that become its file systems."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ostler.formats.objects import Checksum
from ostler.io.files import atomic_write
from ostler.store.content import RepoMode
from ostler.store.repo import Repo
from ostler.sysroot.deploy import TreeWriter, check_out, finish, plan_deploy, read_release, writer_of
from ostler.sysroot.deployment import Deployment, origin_of_refspec
from ostler.sysroot.grub import GRUB_LINK, GRUBENV_PATH, encode_grubenv
from ostler.sysroot.kargs import KernelArguments
from ostler.sysroot.layout import Sysroot, SysrootState
from ostler.sysroot.view import CommitView
from ostler.sysroot.write import missing_kernels, plan_boot, write_boot

REMOTE = "ostler"
"""The name of the remote in the configuration of every machine's repository."""

UPDATE_KEYS = "usr/share/ostree/trusted.ed25519.d/ostler.ed25519"
REVOKED_UPDATE_KEYS = "usr/share/ostree/revoked.ed25519.d/ostler.ed25519"
"""Where an image has the public keys by which its new versions are signed. They are libostree's places."""

UNSIGNED: Mapping[str, str] = {"gpg-verify": "false"}
SIGNED: Mapping[str, str] = {"gpg-verify": "false", "sign-verify": "true"}
"""Options of the remote of a machine whose image has no such keys, or has some."""

ObjectImport = Callable[[Repo, Checksum], None]
"""Puts all objects of a commit into the new, empty repository of the sysroot."""


@dataclass(frozen=True, slots=True)
class FirstInstall:
    """What the first deployment is to be.

    `kargs` are its kernel arguments; those that the image asks for are added. `etc` are files for its /etc (path
    relative to that → content, mode 0644). `repo_settings` are further keys of `[core]` and `[sysroot]` as
    `section.key` → value.
    """

    osname: str
    ref: str
    remote_url: str | None = None
    remote_options: Mapping[str, str] = field(default_factory=lambda: UNSIGNED)
    kargs: tuple[str, ...] = ()
    boot_uuid: str | None = None
    etc: Mapping[str, bytes] = field(default_factory=dict)
    repo_settings: Mapping[str, str] = field(default_factory=dict)


def install_first(
    path: Path,
    source: Repo,
    commit: Checksum,
    what: FirstInstall,
    *,
    boot: Path | None = None,
    import_objects: ObjectImport | None = None,
    checkout: Callable[[Repo], TreeWriter] | None = None,
    durable: bool = False,
) -> Deployment:
    """Write repository, stateroot, deployment, kernel, boot entry and `grub.cfg` into the folders `path` and `boot`.

    `source` is the repository that has the commit; kernel and metadata are read from it, verified. `boot` defaults to
    `path/boot`; with another one `path/boot` is left as an empty mount point. `import_objects` and `checkout` (which is
    given the new repository) replace copying objects and checking out with hard links. Must run as root, at least in a
    user namespace. Raises `NoKernelError`, `NoSpaceError`, `NotFoundError`, `CorruptError`.
    """
    sysroot = Sysroot(path, boot=boot)
    release = read_release(source, commit)
    plan = plan_deploy(
        SysrootState(bootversion=0),
        release,
        osname=what.osname,
        origin=origin_of_refspec(f"{REMOTE}:{what.ref}"),
        kargs=KernelArguments(what.kargs).append_missing(release.kargs),
    )
    repo = _make_repo(sysroot, what)
    if import_objects is None:
        from ostler.store.copy import copy_objects

        copy_objects(source, repo, commit)
    else:
        import_objects(repo, commit)
    repo.set_ref(what.ref, commit, remote=REMOTE)
    check_out(sysroot, plan.new, checkout(repo) if checkout else writer_of(repo, commit), durable=durable)
    for name, content in what.etc.items():
        place = sysroot.root_of(plan.new) / "etc" / name
        place.unlink(missing_ok=True)  # never through a link into the repository
        atomic_write(place, content, durable=durable)
    finish(sysroot, plan.new, None, seal=False)
    _prepare_boot(sysroot, durable=durable)
    views = {plan.new.path: CommitView(source, commit)}
    boot_plan = plan_boot(
        SysrootState(bootversion=0),
        (plan.new,),
        copies=missing_kernels(sysroot, (plan.new,), views),
        boot_uuid=what.boot_uuid,
    )
    write_boot(sysroot, boot_plan, views=views, durable=durable)
    return boot_plan.deployments[0]


def _make_repo(sysroot: Sysroot, what: FirstInstall) -> Repo:
    (sysroot.path / "boot").mkdir(exist_ok=True)
    (sysroot.path / "ostree/deploy").mkdir(parents=True, exist_ok=True)
    repo = Repo.create(sysroot.path / "ostree/repo", RepoMode.BARE)
    config = repo.config.with_value("sysroot", "bootloader", "auto")
    for name, value in {"sysroot.readonly": "true", **what.repo_settings}.items():
        section, _, key = name.partition(".")
        config = config.with_value(section, key, value)
    repo.write_config(config)
    if what.remote_url is not None:
        repo.add_remote(REMOTE, what.remote_url, what.remote_options)
    return repo


def _prepare_boot(sysroot: Sysroot, *, durable: bool) -> None:
    """What on the boot file system never changes place: GRUB's environment block and the link to its configuration."""
    sysroot.boot.mkdir(exist_ok=True)
    place, target = GRUB_LINK
    (sysroot.boot / place).parent.mkdir(exist_ok=True)
    if not (sysroot.boot / place).is_symlink():
        (sysroot.boot / place).symlink_to(target)
    atomic_write(sysroot.boot / GRUBENV_PATH, encode_grubenv(), durable=durable)
