"""Whole disks made of a commit: judged by libostree, made by ordinary users too, and nothing left by mishaps."""

import json
import os
import pwd
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from disk_machine import CAPABILITY, FILES, REF, REQUEST, make_machine

from ostler.disk.content import scan
from ostler.disk.errors import DiskError, DiskSizeError
from ostler.disk.make import DiskResult, make_disk, plan_disk
from ostler.disk.plan import MIB
from ostler.formats.objects import Checksum
from ostler.io.process import CommandError
from ostler.store.repo import Repo

HERE = Path(__file__).parent
USER = "ostler-test"


def run(*argv: str | Path, **more: object) -> str:
    return subprocess.run(list(map(str, argv)), check=True, capture_output=True, text=True, **more).stdout  # type: ignore[call-overload, no-any-return]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Repo, Checksum]:
    return make_machine(tmp_path_factory.mktemp("cache") / "repo")


@pytest.fixture(scope="module")
def disk(machine: tuple[Repo, Checksum], tmp_path_factory: pytest.TempPathFactory) -> DiskResult:
    folder = tmp_path_factory.mktemp("disk")
    done = make_disk(*machine, REQUEST, folder / "web.raw", work=machine[0].path.parent / "work")
    assert [path.name for path in folder.iterdir()] == ["web.raw"]
    assert list((machine[0].path.parent / "work").iterdir()) == []
    return done


@pytest.fixture(scope="module")
def sysroot(disk: DiskResult, machine: tuple[Repo, Checksum], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is on the disk's root and boot file systems, taken out by debugfs."""
    root = tmp_path_factory.mktemp("sysroot")
    for number, place in ((4, root), (3, root / "boot")):
        offset = disk.plan.partition(number).first * 512
        run("debugfs", "-R", f"rdump / {place}", f"{disk.path}?offset={offset}")
    # debugfs leaves out set-id bits and extended attributes; other tests look at these on the disk itself
    for checksum, file in scan(*machine).files.items():
        place = root / f"ostree/repo/objects/{checksum[:2]}/{checksum[2:]}.file"
        if not file.meta.is_symlink:
            place.chmod(file.meta.mode & 0o7777)
        for name, value in file.meta.xattrs:
            os.setxattr(place, name, value)
    return root


def debugfs(disk: DiskResult, command: str) -> str:
    return run("debugfs", "-R", command, f"{disk.path}?offset={disk.plan.partition(4).first * 512}")


def deployment(disk: DiskResult) -> str:
    return f"ostree/deploy/web/deploy/{disk.commit}.0"


def test_ostree_finds_no_fault_in_the_repository_on_the_disk(sysroot: Path, disk: DiskResult) -> None:
    repo = sysroot / "ostree/repo"
    assert "no errors found" in run("ostree", f"--repo={repo}", "fsck")
    assert run("ostree", f"--repo={repo}", "rev-parse", f"ostler:{REF}").strip() == disk.commit
    assert run("ostree", f"--repo={repo}", "remote", "show-url", "ostler").strip() == REQUEST.remote_url


def test_a_machine_whose_image_has_keys_demands_signatures_from_the_beginning(sysroot: Path) -> None:
    words = ("ostree", f"--repo={sysroot / 'ostree/repo'}", "config", "get", "--group", 'remote "ostler"')
    assert [run(*words, key).strip() for key in ("sign-verify", "gpg-verify")] == ["true", "false"]


def test_ostree_admin_finds_the_deployment_and_its_origin(sysroot: Path, disk: DiskResult) -> None:
    status = run("ostree", "admin", "status", f"--sysroot={sysroot}")
    assert f"web {disk.commit}.0" in status
    assert f"origin refspec: ostler:{REF}" in status


def test_the_boot_file_system_holds_the_kernel_the_entry_and_grubs_configuration(
    sysroot: Path, disk: DiskResult
) -> None:
    [entry] = (sysroot / "boot/loader/entries").iterdir()
    lines = dict(line.split(" ", 1) for line in entry.read_text().splitlines())
    assert (sysroot / "boot" / lines["linux"].lstrip("/")).read_bytes() == FILES["usr/lib/modules/6.1-test/vmlinuz"][1]
    assert lines["options"].startswith(" ".join(disk.plan.kernel_arguments) + " ostree=/ostree/boot.")
    config = (sysroot / "boot/grub/grub.cfg").read_text()
    assert f"--set=root {disk.plan.identity.boot}" in config
    assert (sysroot / "boot/grub/grubenv").stat().st_size == 1024


def test_the_first_deployments_fstab_mounts_boot_by_its_uuid(sysroot: Path, disk: DiskResult) -> None:
    etc = sysroot / deployment(disk) / "etc"
    assert f"UUID={disk.plan.identity.boot} /boot ext4" in (etc / "fstab").read_text()
    assert (etc / "hostname-of-it").read_bytes() == b"web\n"


@pytest.mark.parametrize("path", [path for path, (meta, _) in FILES.items() if not meta.is_symlink])
def test_deployed_files_have_their_owner_mode_and_link_to_their_object(disk: DiskResult, path: str) -> None:
    meta, _ = FILES[path]
    shown = debugfs(disk, f"stat {deployment(disk)}/{path}")
    assert f"Mode:  0{meta.mode & 0o7777:o}" in shown.replace("Mode:  00", "Mode:  0")
    assert f"User: {meta.uid:5}   Group: {meta.gid:5}" in shown
    assert "Links: 2" in shown
    assert " mtime: 0x00000000:" in shown
    assert "ostreemeta" not in shown
    assert shown.count(" = ") == len(meta.xattrs)


def test_etc_is_a_copy_with_owners_modes_and_attributes(disk: DiskResult) -> None:
    shadow = debugfs(disk, f"stat {deployment(disk)}/etc/shadow")
    assert "Mode:  0640" in shadow
    assert "Group:    42" in shadow
    assert "Links: 1" in shadow
    assert 'user.note (4) = "kept"' in debugfs(disk, f"stat {deployment(disk)}/etc/with-attribute")


def test_capabilities_are_on_the_disk(disk: DiskResult) -> None:
    shown = debugfs(disk, f"stat {deployment(disk)}/usr/bin/ping")
    assert f"security.capability ({len(CAPABILITY)}) = {CAPABILITY.hex(' ')}" in shown


def test_the_deployments_directories_have_their_modes_and_its_root_is_immutable(disk: DiskResult) -> None:
    private = debugfs(disk, f"stat {deployment(disk)}/usr/share/private")
    assert "Mode:  02770" in private
    assert "User:     5   Group:    60" in private
    assert "Flags: 0x80010" in debugfs(disk, f"stat {deployment(disk)}")


def test_e2fsck_finds_no_fault_on_the_full_root(disk: DiskResult) -> None:
    run("e2fsck", "-fn", f"{disk.path}?offset={disk.plan.partition(4).first * 512}")


def test_the_cache_is_as_it_was(machine: tuple[Repo, Checksum], disk: DiskResult) -> None:
    assert "no errors found" in run("ostree", f"--repo={machine[0].path}", "fsck")


def test_equal_requests_give_equal_bytes(machine: tuple[Repo, Checksum], disk: DiskResult, tmp_path: Path) -> None:
    make_disk(*machine, REQUEST, tmp_path / "again.raw", work=tmp_path / "work")
    run("cmp", disk.path, tmp_path / "again.raw")


def test_a_work_folder_on_another_file_system_only_costs_time(
    machine: tuple[Repo, Checksum], disk: DiskResult, tmp_path: Path
) -> None:
    program = (
        "from pathlib import Path; from disk_machine import *; from ostler.disk.make import make_disk; import sys\n"
        "repo = Repo.open(Path(sys.argv[1]))\n"
        "make_disk(repo, repo.resolve(REF), REQUEST, Path(sys.argv[2]), work=Path('/mnt/work'))\n"
    )
    mount = 'mount -t tmpfs work /mnt && exec "$@"'
    run(
        "unshare",
        "-m",
        "sh",
        "-c",
        mount,
        "sh",
        sys.executable,
        "-c",
        program,
        machine[0].path,
        tmp_path / "d.raw",
        cwd=HERE,
    )
    run("cmp", disk.path, tmp_path / "d.raw")


def test_an_ordinary_user_makes_the_same_disk(disk: DiskResult) -> None:
    program = (
        "import sys; from pathlib import Path; from ostler.io.userns import enter_user_namespace\n"
        "enter_user_namespace()\n"
        "from disk_machine import REQUEST, make_machine; from ostler.disk.make import make_disk\n"
        "here = Path(sys.argv[1]); repo, commit = make_machine(here / 'repo')\n"
        "print(make_disk(repo, commit, REQUEST, here / 'd.raw', work=here / 'work').commit)\n"
    )
    if USER not in {entry.pw_name for entry in pwd.getpwall()}:
        run("useradd", "--create-home", USER)
    user = pwd.getpwnam(USER)
    folder = Path(f"/var/tmp/ostler-disk-test-{os.getpid()}")
    try:
        folder.mkdir()
        shutil.copytree(HERE.parents[1] / "src/ostler", folder / "ostler", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(HERE / "disk_machine.py", folder)
        run("chown", "-R", f"{USER}:", folder)
        said = run(
            "/usr/bin/python3", "-c", program, folder, user=user.pw_uid, group=user.pw_gid, extra_groups=[], cwd=folder
        )
        assert said.strip() == disk.commit
        assert (folder / "d.raw").stat().st_uid == user.pw_uid
        run("cmp", disk.path, folder / "d.raw")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_full_file_system_is_named_and_nothing_is_left(machine: tuple[Repo, Checksum]) -> None:
    program = (
        "import sys; from pathlib import Path; from disk_machine import *; from ostler.disk.make import make_disk\n"
        "from ostler.errors import NoSpaceError\n"
        "repo = Repo.open(Path(sys.argv[1])); out = Path('/mnt/out'); out.mkdir()\n"
        "def attempt():\n"
        "    try: make_disk(repo, repo.resolve(REF), REQUEST, out / 'd.raw', work=repo.path.parent / 'work')\n"
        "    except NoSpaceError as error: print(error.message)\n"
        "    print(list(out.iterdir()))\n"
        "attempt()\n"
        "import ostler.disk.make; ostler.disk.make._check_space = lambda *_: None\n"
        "attempt()\n"
    )
    mount = 'mount -t tmpfs -o size=2500k out /mnt && exec "$@"'
    said = run("unshare", "-m", "sh", "-c", mount, "sh", sys.executable, "-c", program, machine[0].path, cwd=HERE)
    early, empty, late, empty_too = said.splitlines()
    assert "needs about" in early
    assert "no space left on the file system of /mnt/out" in late
    assert empty == empty_too == "[]"


def test_a_failure_keeps_the_old_disk(
    machine: tuple[Repo, Checksum], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "web.raw").write_bytes(b"old")

    def failing(*_arguments: object, **_more: object) -> None:
        raise CommandError(["mke2fs"], 1, [])

    monkeypatch.setattr("ostler.disk.write.write_ext4", failing)
    with pytest.raises(CommandError):
        make_disk(*machine, REQUEST, tmp_path / "web.raw", work=tmp_path / "work")
    assert (tmp_path / "web.raw").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["web.raw", "work"]
    assert list((tmp_path / "work").iterdir()) == []


def test_the_smallest_size_that_is_offered_is_enough(machine: tuple[Repo, Checksum], tmp_path: Path) -> None:
    with pytest.raises(DiskSizeError, match="needs at least") as caught:
        make_disk(*machine, replace(REQUEST, size=100 * MIB), tmp_path / "d.raw", work=tmp_path / "work")
    size = int(caught.value.message.split()[-2]) * MIB
    made = make_disk(*machine, replace(REQUEST, size=size), tmp_path / "d.raw", work=tmp_path / "work")
    assert made.path.stat().st_size == size


def test_qcow2_holds_the_same_disk(machine: tuple[Repo, Checksum], disk: DiskResult, tmp_path: Path) -> None:
    made = make_disk(*machine, REQUEST, tmp_path / "web.qcow2", work=tmp_path / "work", format="qcow2")
    assert "Images are identical" in run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", disk.path, made.path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["web.qcow2", "work"]
    assert json.dumps(made.to_json())


@pytest.mark.parametrize("name", ["boot.img", "core.img", "BOOTX64.EFI"])
def test_a_commit_without_boot_loader_images_is_refused_with_their_name(tmp_path: Path, name: str) -> None:
    repo, commit = make_machine(tmp_path / "repo", without=f"usr/lib/ostler/boot/{name}")
    with pytest.raises(DiskError, match=f"usr/lib/ostler/boot/{name}"):
        plan_disk(repo, commit, REQUEST)


def test_an_unknown_format_is_refused(machine: tuple[Repo, Checksum], tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="vmdk"):
        make_disk(*machine, REQUEST, tmp_path / "d", work=tmp_path / "work", format="vmdk")
