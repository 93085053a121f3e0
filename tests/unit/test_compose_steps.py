"""The cache, what dracut is shown, the agent and the boot loader."""

from pathlib import Path

import pytest
from compose_trees import fill, new_repo, paths

from ostler.compose.agent import MASKED, agent_inputs, install_units, read_agent
from ostler.compose.base import Ids, base_inputs, base_recipe
from ostler.compose.bootloader import EARLY_CONFIG, IMAGES, mkimage_command
from ostler.compose.build import default_version
from ostler.compose.cache import Cache
from ostler.compose.edit import TreeEditor
from ostler.compose.initramfs import KernelError, dracut_view, kernel_version
from ostler.definition.lock import Lock, LockedSet, Package
from ostler.store.tree import Directory


@pytest.fixture
def tree(tmp_path: Path):
    repo = new_repo(tmp_path)
    with repo.transaction() as transaction:
        yield TreeEditor(repo, transaction, Directory())


SYSTEM = {
    "usr/lib/modules/6.12/vmlinuz": "k",
    "usr/lib/dracut/x": "1",
    "usr/bin/bash": "b",
    "usr/share/doc/x": "",
    "usr/lib/python3/y.py": "",
    "usr/lib/python3.13/y.py": "",
    "var/lib/z": "",
    "etc/dracut.conf": "",
}


def test_dracut_sees_packages_but_of_the_overlay_only_its_configuration(tree):
    system = fill(tree, SYSTEM).root.copy()
    fill(tree, {"etc/motd": "x", "usr/bin/own": "x", "etc/dracut.conf.d/own.conf": "x", "usr/lib/dracut/x": "2"})
    view = dracut_view(system, tree.root)
    assert {"usr/bin/bash", "etc/dracut.conf.d/own.conf", "usr/lib/modules/6.12/vmlinuz", "var/tmp"} <= paths(view)
    assert view.lookup("usr/lib/dracut/x") == tree.root.lookup("usr/lib/dracut/x")
    assert not {"etc/motd", "usr/bin/own", "usr/share/doc/x", "usr/lib/python3", "usr/lib/python3.13"} & paths(view)


def test_an_unrelated_file_does_not_change_what_dracut_sees(tree):
    system = fill(tree, SYSTEM).root.copy()
    before = dracut_view(system, tree.root)
    fill(tree, {"etc/motd": "x", "usr/lib/systemd/system/own.service": "x"})
    assert dracut_view(system, tree.root) == before
    tree.remove("etc/dracut.conf")
    assert dracut_view(system, tree.root) != before


def test_exactly_one_kernel(tree):
    with pytest.raises(KernelError, match="none"):
        kernel_version(tree.root)
    fill(tree, SYSTEM)
    assert kernel_version(tree.root) == "6.12"
    tree.write("usr/lib/modules/6.13/vmlinuz", b"k")
    with pytest.raises(KernelError, match=r"6\.12, 6\.13"):
        kernel_version(tree.root)


def test_work_directories_go_when_a_step_ends_or_fails(tmp_path):
    cache = Cache.open(tmp_path)
    with pytest.raises(KeyboardInterrupt), cache.work("base") as work:
        (work / "closed").mkdir()
        (work / "closed" / "file").touch()
        (work / "closed").chmod(0)
        raise KeyboardInterrupt
    assert list((tmp_path / "work").iterdir()) == []


def test_what_a_killed_build_left_is_removed_but_not_what_is_in_use(tmp_path):
    cache = Cache.open(tmp_path)
    (tmp_path / "work").mkdir(exist_ok=True)
    (tmp_path / "work" / "base-dead").mkdir()
    with cache.work("base") as work:
        Cache.open(tmp_path)
        assert work.exists()
    assert list((tmp_path / "work").iterdir()) == []


def test_a_step_that_fails_leaves_no_record(tmp_path):
    cache = Cache.open(tmp_path)
    with pytest.raises(RuntimeError), cache.repo.transaction() as transaction:
        cache.record(transaction, "a" * 64, Directory(), {}, 1)
        raise RuntimeError
    assert cache.layer("a" * 64) is None
    with cache.repo.transaction() as transaction:
        commit = cache.record(transaction, "a" * 64, Directory(), {"users": {"x": 1}}, 1)
    assert cache.layer("a" * 64) == commit
    assert cache.note(commit) == {"users": {"x": 1}}
    assert cache.layer_by_digest(cache.tree_checksum(commit)) == commit


def test_inputs_of_the_last_build_are_kept_by_folder(tmp_path):
    cache = Cache.open(tmp_path / "cache")
    assert cache.last_inputs(tmp_path) == {}
    cache.keep_inputs(tmp_path, {"files": {"a": "1"}})
    assert cache.last_inputs(tmp_path) == {"files": {"a": "1"}}
    assert cache.last_inputs(tmp_path / "other") == {}


def test_a_layer_is_usable_only_if_its_accounts_agree_with_the_lock():
    made = Ids({"sshd": 991}, {"ssh": 101})
    assert made.agree_with(Ids({}, {}))
    assert made.agree_with(Ids({"sshd": 991, "www": 990}, {"ssh": 101}))
    assert not made.agree_with(Ids({"sshd": 990}, {}))
    assert not made.agree_with(Ids({}, {"other": 101}))


def test_the_bases_key_depends_on_each_package_and_not_on_accounts():
    package = Package(name="a", version="1", architecture="all", sha256="0" * 64, size=1, filename="f", archive="m")
    lock = Lock(created=1, base=LockedSet(packages=(package,)))
    inputs = base_inputs(lock)
    assert inputs["package a"].startswith("1 all ")
    assert base_inputs(Lock(created=1, base=lock.base, users={"x": 1})) == inputs
    assert base_recipe("trixie", "linux-image-amd64") != base_recipe("trixie", "linux-image-cloud-amd64")


def test_grub_images_have_the_boot_partition_as_prefix_and_a_config_without_conditions():
    for image in IMAGES:
        command = mkimage_command(image, "c", "o")
        assert command[command.index("-p") + 1] == "(,gpt3)/grub"
        assert {"part_gpt", "ext2", "normal", "loadenv", "regexp", "search_fs_uuid"} <= set(command)
    assert "configfile ($root)/grub/grub.cfg" in EARLY_CONFIG.splitlines()
    assert not any(line.startswith(("if ", "for ", "function ")) for line in EARLY_CONFIG.splitlines())


def test_the_agent_has_the_host_side_only():
    files = read_agent()
    assert {"__init__.py", "errors.py", "io/process.py", "store/repo.py", "cli/main.py"} <= set(files.sources)
    assert not any(name.startswith(("compose/", "definition/", "disk/", "workflow/")) for name in files.sources)
    assert not any("__pycache__" in name for name in files.sources)
    assert agent_inputs(files, "a") != agent_inputs(files, "b")


def test_units_of_the_agent_are_enabled_and_libostrees_finalizing_is_masked(tree):
    home = "usr/lib/systemd/system"
    install_units(
        tree, {"ostler-x.service": b"[Install]\nWantedBy=multi-user.target\n", "x.service.d/y.conf": b"[Unit]\n"}
    )
    assert tree.target(f"{home}/multi-user.target.wants/ostler-x.service") == "../ostler-x.service"
    assert all(tree.target(f"{home}/{name}") == "/dev/null" for name in MASKED)


def test_versions_are_a_date_and_a_number():
    assert default_version(1760000000, "0" * 64) == "20251009.00000000"
