"""The life of a machine: upgrades, finalizing at shutdown, going back, following another ref, and dying in between."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sysroot_samples import DPKG, REF, Machine, add_os, assert_bootable, dpkg_status

from ostler.errors import BusyError, NoSpaceError, NotFoundError, OstlerError
from ostler.formats.objects import ObjectType
from ostler.host import finalize as finalize_module
from ostler.host.finalize import finalize
from ostler.host.rollback import rollback
from ostler.host.status import read_status
from ostler.host.switch import switch
from ostler.host.system import System
from ostler.host.upgrade import UpgradeResult, check, upgrade
from ostler.io.progress import Event, Warning
from ostler.sysroot import write as write_module
from ostler.sysroot.errors import EtcConflictError, NotBootedError, SysrootError
from ostler.sysroot.lock import lock_sysroot


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing whole file systems of a busy machine takes long, and is no part of what these tests look at."""
    monkeypatch.setattr(write_module, "_make_durable", lambda sysroot: None)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def run_upgrade(machine: Machine) -> UpgradeResult:
    return upgrade(machine.system, start_unit=machine.start_unit)


def versions(machine: Machine) -> list[str | None]:
    return [deployment.version for deployment in machine.state.deployments]


def update_to(machine: Machine, version: str, **options: object) -> None:
    add_os(machine.remote, version, **options)  # type: ignore[arg-type]
    assert run_upgrade(machine).state == "staged"
    finalize(machine.system)
    machine.reboot()


def test_the_first_installation_can_be_booted_and_has_what_it_was_given(machine: Machine) -> None:
    assert_bootable(machine.sysroot)
    assert (machine.etc() / "fstab").read_text() == "nothing\n"
    assert (machine.root / "ostree/deploy/web/var/lib/seed").read_bytes() == b"seed"
    assert (machine.root / "boot/grub/grubenv").stat().st_size == 1024
    assert machine.state.deployments[0].kargs.text == "root=UUID=1 rw"


def test_nothing_new_is_said_and_changes_nothing(machine: Machine) -> None:
    result = run_upgrade(machine)
    assert (result.changed, result.state, result.version) == (False, "booted", "1.0")
    assert not (machine.root / "run/ostree/staged-deployment").exists()


def test_an_upgrade_is_staged_and_becomes_the_default_at_shutdown(machine: Machine) -> None:
    (machine.etc() / "motd").write_bytes(b"mine")
    add_os(machine.remote, "2.0", etc={"hosts": b"new", "motd": b"new"}, packages={"base": "1.0", "new": "1"})
    result = run_upgrade(machine)
    assert (result.changed, result.state, result.version, machine.started) == (True, "staged", "2.0", 1)
    assert result.objects > 0
    assert result.packages is not None
    assert [change.name for change in result.packages.changes] == ["new", "web"]
    assert versions(machine) == ["1.0"]
    assert run_upgrade(machine).state == "staged"
    (machine.etc() / "late").write_bytes(b"written between staging and shutdown")
    (machine.etc() / ".updated").touch()
    done = finalize(machine.system)
    assert done is not None
    assert versions(machine) == ["2.0", "1.0"]
    assert_bootable(machine.sysroot)
    etc = machine.etc(done)
    assert {name: (etc / name).read_bytes() for name in ("hosts", "motd", "late", "fstab")} == {
        "hosts": b"new",
        "motd": b"mine",
        "late": b"written between staging and shutdown",
        "fstab": b"nothing\n",
    }
    assert not (etc / ".updated").exists()
    machine.reboot()
    assert run_upgrade(machine).state == "booted"


def test_two_deployments_stay_and_what_the_third_needed_goes(machine: Machine) -> None:
    for number in (2, 3):
        update_to(machine, f"{number}.0", kernel=f"6.{number}")
    assert versions(machine) == ["3.0", "2.0"]
    assert_bootable(machine.sysroot)
    kernels = sorted(path.name for path in machine.root.glob("boot/ostree/*/vmlinuz-*"))
    assert kernels == ["vmlinuz-6.2", "vmlinuz-6.3"]
    assert len(list((machine.root / "ostree/deploy/web/deploy").glob("*.origin"))) == 2
    refs = machine.sysroot.repo.refs()
    assert sum(ref.startswith("ostree/") for ref in refs) == 2


def test_more_are_kept_if_the_image_says_so(machine: Machine) -> None:
    for number in (2, 3, 4):
        files = {"usr/lib/ostler/update.conf": b"[update]\nkeep=3\n"}
        update_to(machine, f"{number}.0", files=files)
    assert versions(machine) == ["4.0", "3.0", "2.0"]


def test_a_pinned_version_stays(machine: Machine) -> None:
    origin = machine.root / machine.first.origin_path
    origin.write_text(origin.read_text() + "\n[libostree-transient]\npinned=true\n")
    for number in (2, 3):
        update_to(machine, f"{number}.0")
    assert versions(machine) == ["3.0", "2.0", "1.0"]
    assert [deployment.pinned for deployment in machine.state.deployments] == [False, False, True]


def test_a_newer_version_takes_the_place_of_a_staged_one(machine: Machine) -> None:
    add_os(machine.remote, "2.0")
    run_upgrade(machine)
    add_os(machine.remote, "3.0")
    assert run_upgrade(machine).version == "3.0"
    staged = machine.state.staged
    assert staged is not None
    assert staged.deployment.version == "3.0"
    assert len(list((machine.root / "ostree/deploy/web/deploy").glob("*.origin"))) == 2


def test_kernel_arguments_follow_the_image_by_difference(tmp_path: Path) -> None:
    machine = Machine(tmp_path, kargs='kargs = ["quiet", "old=1"]\n')
    assert machine.state.deployments[0].kargs.text == "root=UUID=1 rw quiet old=1"
    update_to(machine, "2.0", kargs='kargs = ["quiet", "new=1"]\n')
    assert machine.state.deployments[0].kargs.text == "root=UUID=1 rw quiet new=1"


def test_check_says_what_an_upgrade_would_bring_and_changes_nothing(machine: Machine) -> None:
    assert check(machine.system).available is False
    add_os(machine.remote, "2.0", packages={"base": "1.1", "extra": "5"})
    before = sorted(str(path) for path in machine.root.rglob("*"))
    found = check(machine.system)
    assert (found.available, found.version, found.current_version) == (True, "2.0", "1.0")
    assert found.to_text().splitlines()[2:] == [
        "packages:",
        "    base 1.0 -> 1.1",
        "  + extra 5",
        "  - web 1.0",
    ]
    assert found.to_json()["packages"]["added"] == [{"name": "extra", "old": None, "new": "5"}]
    assert sorted(str(path) for path in machine.root.rglob("*")) == before


def test_check_works_without_package_databases(machine: Machine) -> None:
    (machine.root / machine.booted.path / DPKG).unlink()
    add_os(machine.remote, "2.0")
    assert check(machine.system).packages is None
    assert dpkg_status({"a": "1"}).startswith(b"Package: a\n")


def test_rollback_swaps_and_swaps_back(machine: Machine) -> None:
    update_to(machine, "2.0")
    assert rollback(machine.system).version == "1.0"
    assert versions(machine) == ["1.0", "2.0"]
    assert_bootable(machine.sysroot)
    status = read_status(machine.system)
    assert status.rollback_queued
    assert status.rollback is not None
    assert status.rollback.version == "1.0"
    assert rollback(machine.system).version == "2.0"
    assert versions(machine) == ["2.0", "1.0"]
    rollback(machine.system)
    machine.reboot()
    assert machine.booted.version == "1.0"
    assert rollback(machine.system).version == "2.0"
    assert_bootable(machine.sysroot)


def test_a_version_that_was_rolled_back_can_be_had_again(machine: Machine) -> None:
    update_to(machine, "2.0")
    rollback(machine.system)
    machine.reboot()
    result = run_upgrade(machine)
    assert (result.state, result.version) == ("staged", "2.0")
    finalize(machine.system)
    assert [found.serial for found in machine.state.deployments] == [1, 0]
    assert_bootable(machine.sysroot)


def test_rollback_needs_another_version(machine: Machine) -> None:
    with pytest.raises(SysrootError, match="no other version"):
        rollback(machine.system)


def test_rollback_does_not_drop_a_staged_version_unasked(machine: Machine) -> None:
    update_to(machine, "2.0")
    add_os(machine.remote, "3.0")
    run_upgrade(machine)
    with pytest.raises(SysrootError, match=r"3\.0 is staged"):
        rollback(machine.system)
    assert machine.state.staged is not None
    assert rollback(machine.system, discard_staged=True).version == "1.0"
    assert machine.state.staged is None
    assert len(list((machine.root / "ostree/deploy/web/deploy").glob("*.origin"))) == 2


def test_switch_follows_the_other_ref_from_the_next_boot_on(machine: Machine) -> None:
    add_os(machine.remote, "2.0-rc", ref="web/testing")
    result = switch(machine.system, "web/testing", start_unit=machine.start_unit)
    assert (result.origin, result.state) == ("ostler:web/testing", "staged")
    finalize(machine.system)
    machine.reboot()
    add_os(machine.remote, "3.0-rc", ref="web/testing")
    assert run_upgrade(machine).version == "3.0-rc"


def test_switch_to_a_ref_that_is_not_there_changes_nothing(machine: Machine) -> None:
    with pytest.raises(NotFoundError, match="web/nothing"):
        switch(machine.system, "web/nothing", start_unit=machine.start_unit)
    assert read_status(machine.system).booted.origin == f"ostler:{REF}"
    assert machine.state.staged is None


def test_the_remote_follows_what_the_image_says(machine: Machine, tmp_path: Path) -> None:
    shutil.move(tmp_path / "remote", tmp_path / "elsewhere")
    machine.configure(f"[update]\nfrom={tmp_path / 'elsewhere'}\n")
    assert check(machine.system).available is False
    assert run_upgrade(machine).state == "booted"
    assert machine.sysroot.repo.remotes()["ostler"].url == str(tmp_path / "elsewhere")


def test_a_conflict_in_etc_shows_when_staging_not_at_shutdown(machine: Machine) -> None:
    (machine.etc() / "motd").write_bytes(b"mine")
    add_os(machine.remote, "2.0", etc={"hosts": b"", "motd/part": b""})
    with pytest.raises(EtcConflictError, match="/etc/motd"):
        run_upgrade(machine)
    assert machine.state.staged is None
    assert len(list((machine.root / "ostree/deploy/web/deploy").glob("*.0"))) == 1


def test_a_conflict_that_comes_up_later_leaves_the_old_version_and_a_note(machine: Machine) -> None:
    add_os(machine.remote, "2.0", etc={"hosts": b"", "motd/part": b""})
    (machine.etc() / "motd").unlink()
    run_upgrade(machine)
    (machine.etc() / "motd").write_bytes(b"mine after all")
    with pytest.raises(EtcConflictError):
        finalize(machine.system)
    machine.reboot()
    assert versions(machine) == ["1.0"]
    assert_bootable(machine.sysroot)
    assert "/etc/motd" in (read_status(machine.system).failure or "")
    assert "The update at the last shutdown failed" in read_status(machine.system).to_text()
    (machine.etc() / "motd").unlink()
    run_upgrade(machine)
    finalize(machine.system)
    assert read_status(machine.system).failure is None
    assert versions(machine) == ["2.0", "1.0"]


def test_a_full_boot_file_system_is_noticed_before_anything_changes(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_os(machine.remote, "2.0", kernel="6.99")
    full = os.statvfs_result((4096, 4096, 1000, 10, 10, 0, 0, 0, 0, 255))
    monkeypatch.setattr(write_module.os, "statvfs", lambda path: full)
    with pytest.raises(NoSpaceError, match="boot"):
        run_upgrade(machine)
    assert machine.state.staged is None
    assert len(list((machine.root / "ostree/deploy/web/deploy").glob("*.0"))) == 1


def test_an_upgrade_that_dies_on_the_way_is_taken_up_by_the_next(machine: Machine) -> None:
    add_os(machine.remote, "2.0")

    def fail() -> None:
        raise OstlerError("no unit")

    with pytest.raises(OstlerError, match="no unit"):
        upgrade(machine.system, start_unit=fail)
    assert machine.state.staged is None
    assert run_upgrade(machine).state == "staged"


def test_the_refs_that_no_version_follows_any_more_go(machine: Machine) -> None:
    add_os(machine.remote, "2.0-rc", ref="web/testing")
    switch(machine.system, "web/testing", start_unit=machine.start_unit)
    finalize(machine.system)
    machine.reboot()
    for version in ("3.0-rc", "4.0-rc"):
        add_os(machine.remote, version, ref="web/testing")
        run_upgrade(machine)
        finalize(machine.system)
        machine.reboot()
    add_os(machine.remote, "5.0-rc", ref="web/testing")
    run_upgrade(machine)
    remote = [ref for ref in machine.sysroot.repo.refs() if ":" in ref]
    assert remote == ["ostler:web/testing"]


def test_a_damaged_old_version_does_not_keep_a_new_one_out(machine: Machine) -> None:
    update_to(machine, "2.0")
    old = next(d for d in machine.state.deployments if d.version == "1.0")
    repo = machine.sysroot.repo
    tree = repo.load_commit(old.checksum).root_tree
    repo.object_path(tree, ObjectType.DIRTREE).unlink()
    add_os(machine.remote, "3.0")
    said: list[Event] = []
    assert upgrade(machine.system, start_unit=machine.start_unit, report=said.append).state == "staged"
    assert any(isinstance(event, Warning) and "could not be removed" in event.message for event in said)


def test_a_shutdown_that_cannot_get_the_lock_leaves_a_note(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    add_os(machine.remote, "2.0")
    run_upgrade(machine)
    monkeypatch.setattr(finalize_module, "LOCK_SECONDS", 0.1)
    with lock_sysroot(machine.root), pytest.raises(BusyError):
        finalize(machine.system)
    assert read_status(machine.system).failure is not None


def test_one_operation_at_a_time(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with lock_sysroot(machine.root), pytest.raises(BusyError), lock_sysroot(machine.root, timeout_seconds=0.1):
        pass
    with lock_sysroot(machine.root):
        assert (machine.root / "ostree/lock").exists()
    assert not (machine.root / "ostree/lock").exists()


def test_finalizing_waits_for_nothing_and_can_be_held_back(machine: Machine) -> None:
    assert finalize(machine.system) is None
    add_os(machine.remote, "2.0")
    run_upgrade(machine)
    (machine.root / "run/ostree/staged-deployment-locked").touch()
    assert finalize(machine.system) is None
    assert machine.state.staged is not None
    assert read_status(machine.system).to_json()["status"]["staged"]["downloadOnly"] is True


def test_a_system_that_is_no_deployment_is_told_so(tmp_path: Path, machine: Machine) -> None:
    with pytest.raises(NotBootedError, match="was not booted from an OSTree deployment"):
        read_status(tmp_path)
    with pytest.raises(NotBootedError, match="no boot entry"):
        read_status(System(machine.root, booted_root=tmp_path))


def test_the_kernel_argument_helps_where_the_root_is_an_overlay(tmp_path: Path, machine: Machine) -> None:
    (machine.root / "proc").mkdir()
    entry = next(iter(machine.sysroot.entries().values()))
    (machine.root / "proc/cmdline").write_text(f"quiet ostree={entry.bootlink} rw\n")
    assert read_status(System(machine.root, booted_root=tmp_path)).booted.version == "1.0"


class Stop(BaseException):
    """The power goes."""


def count_steps(action: Callable[[Callable[[str], None]], object]) -> list[str]:
    names: list[str] = []
    action(names.append)
    return names


def stopping_at(number: int, how: Callable[[], None]) -> Callable[[str], None]:
    seen = 0

    def step(name: str) -> None:
        nonlocal seen
        if seen == number:
            how()
        seen += 1

    return step


def raise_stop() -> None:
    raise Stop


def copy_of(machine: Machine, folder: Path) -> Machine:
    twin = object.__new__(Machine)
    twin.__dict__.update(machine.__dict__)
    twin.root = folder / "machine"
    shutil.copytree(machine.root, twin.root, symlinks=True)
    return twin


def test_dying_at_any_step_of_finalizing_leaves_the_old_or_the_new_version_whole(
    machine: Machine, tmp_path: Path
) -> None:
    update_to(machine, "2.0", kernel="6.2")
    (machine.etc() / "motd").write_bytes(b"mine")
    add_os(machine.remote, "3.0", kernel="6.3")
    run_upgrade(machine)
    steps = count_steps(lambda step: finalize(copy_of(machine, tmp_path / "count").system, step=step))
    assert steps.index("sync") + 1 == steps.index("commit") == steps.index("sync after commit") - 1
    for number, name in enumerate(steps):
        for how in (raise_stop, lambda: os._exit(9)):
            twin = copy_of(machine, tmp_path / f"{number}{how is raise_stop}")
            die_in(twin, number, how)
            twin.reboot()
            found = versions(twin)
            assert found == (["3.0", "2.0"] if number > steps.index("commit") else ["2.0", "1.0"]), name
            assert_bootable(twin.sysroot)
            if found[0] == "2.0":
                assert run_upgrade(twin).state == "staged", name
                finalize(twin.system)
            assert versions(twin) == ["3.0", "2.0"]
            assert_bootable(twin.sysroot)
            assert (twin.etc(twin.state.deployments[0]) / "motd").read_bytes() == b"mine"
            shutil.rmtree(twin.root)


def die_in(machine: Machine, number: int, how: Callable[[], None]) -> None:
    child = os.fork()
    if child == 0:
        try:
            finalize(machine.system, step=stopping_at(number, how))
        except Stop:
            os._exit(9)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_dying_at_any_step_of_staging_leaves_what_was_staged_or_nothing(machine: Machine, tmp_path: Path) -> None:
    add_os(machine.remote, "2.0", kernel="6.2")
    twin = copy_of(machine, tmp_path / "count")
    steps = count_steps(lambda step: upgrade(twin.system, start_unit=twin.start_unit, step=step))
    for number, name in enumerate(steps):
        twin = copy_of(machine, tmp_path / f"{number}")
        with pytest.raises(Stop):
            upgrade(twin.system, start_unit=twin.start_unit, step=stopping_at(number, raise_stop))
        assert versions(twin) == ["1.0"]
        assert_bootable(twin.sysroot)
        staged = twin.state.staged
        assert staged is None or staged.deployment.version == "2.0", name
        assert run_upgrade(twin).state == "staged"
        finalize(twin.system)
        assert versions(twin) == ["2.0", "1.0"], name
        assert_bootable(twin.sysroot)
        shutil.rmtree(twin.root)


def test_dying_between_the_steps_of_a_rollback_is_harmless(machine: Machine, tmp_path: Path) -> None:
    from ostler.sysroot.write import plan_for, write_boot

    update_to(machine, "2.0", kernel="6.2")

    def swap(twin: Machine, step: Callable[[str], None]) -> None:
        write_boot(twin.sysroot, plan_for(twin.sysroot, twin.state, twin.state.deployments[::-1]), step=step)

    steps = count_steps(lambda step: swap(copy_of(machine, tmp_path / "count"), step))
    for number in range(len(steps)):
        twin = copy_of(machine, tmp_path / f"{number}")
        with pytest.raises(Stop):
            swap(twin, stopping_at(number, raise_stop))
        assert versions(twin) == (["1.0", "2.0"] if number > steps.index("commit") else ["2.0", "1.0"])
        assert_bootable(twin.sysroot)


def test_a_grub_configuration_that_someone_else_wrote_is_replaced_by_ours(machine: Machine) -> None:
    (machine.root / "boot/loader/grub.cfg").write_text("search --no-floppy --fs-uuid --set=root 1234\n")
    update_to(machine, "2.0")
    text = (machine.root / "boot/grub/grub.cfg").read_text()
    assert text.count("menuentry ") == 2
    assert "search" not in text  # GRUB's own root is the boot file system anyway
