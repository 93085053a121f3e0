"""A freshly installed tree becomes an image's tree."""

from pathlib import Path

import pytest
from compose_trees import fill, new_repo, paths

from ostler.compose import debian_files as data
from ostler.compose.edit import TreeEditor
from ostler.compose.normalise import normalise
from ostler.compose.users import Renumbering, parse_ids, renumber
from ostler.store.layers import diff_layers
from ostler.store.tree import Directory

PASSWD = "root:x:0:0:root:/root:/bin/bash\nsshd:x:991:65534::/run/sshd:/usr/sbin/nologin\n"
INSTALLED = {
    "etc/passwd": PASSWD,
    "etc/group": "root:x:0:\nmail:x:8:\n",
    "etc/shadow": "sshd:!*:20370::::::\nroot:*:20370:0:99999:7:::\n",
    "etc/passwd-": "old",
    "etc/.pwd.lock": "",
    "etc/machine-id": "8d1ef3ab\n",
    "etc/hostname": "builder\n",
    "etc/fstab": "# UNCONFIGURED",
    "etc/resolv.conf": "nameserver 10.0.0.1\n",
    "etc/ssh/ssh_host_ed25519_key": "secret",
    "etc/ssh/sshd_config": "x",
    "etc/default/useradd": "SHELL=/bin/sh\n# HOME=/home\n",
    "etc/systemd/system/multi-user.target.wants/ssh.service": "-> /usr/lib/systemd/system/ssh.service",
    "etc/systemd/system/sshd.service": "-> /usr/lib/systemd/system/ssh.service",
    "etc/systemd/system/timers.target.wants/apt-daily.timer": "-> /usr/lib/systemd/system/apt-daily.timer",
    "etc/systemd/system/own.service": "[Service]",
    "etc/systemd/system/multi-user.target.wants/own.service": "-> /etc/systemd/system/own.service",
    "usr/lib/systemd/system/ssh.service": "[Service]",
    "usr/lib/systemd/system/apt-daily.timer": "[Timer]",
    "usr/lib/systemd/system/systemd-networkd.service": "[Service]",
    "usr/lib/systemd/system/sysinit.target.wants/ldconfig.service": "-> ../ldconfig.service",
    "usr/lib/systemd/systemd-resolved": "",
    "usr/lib/tmpfiles.d/var.conf": "d /var/log 0755 - - -\n",
    "usr/lib/tmpfiles.d/home.conf": "Q /home 0755 - - -\n",
    "usr/lib/modules/6.12-cloud/modules.dep": "",
    "usr/lib/modules/6.12-cloud/build": "-> /usr/src/x",
    "boot/vmlinuz-6.12-cloud": "kernel",
    "boot/config-6.12-cloud": "config",
    "boot/grub/x": "",
    "vmlinuz": "-> boot/vmlinuz-6.12-cloud",
    "root/.bashrc": "rc",
    "usr/local/man": "-> share/man",
    "usr/local/bin": None,
    "home": None,
    "opt": None,
    "srv": None,
    "mnt": None,
    "media": None,
    "tmp/left": "",
    "var/lib/dpkg/status": "Package: x\n",
    "var/lib/dpkg/status-old": "Package: x\n",
    "var/lib/dpkg/lock": "",
    "var/lib/dpkg/triggers/File": "b\na\n",
    "var/lib/misc": None,
    "var/cache/debconf/config.dat-old": "",
    "var/cache/debconf/config.dat": "x",
    "var/log/apt/term.log": "log",
    "var/mail": None,
}


@pytest.fixture
def installed(tmp_path: Path):
    repo = new_repo(tmp_path)
    with repo.transaction() as transaction:
        editor = fill(TreeEditor(repo, transaction, Directory()), INSTALLED)
        editor.make_directory("var/mail", 0o2775, 0, 8)
        yield editor


def run(editor: TreeEditor) -> TreeEditor:
    users = renumber(parse_ids(editor.text("etc/passwd") or ""), {})
    normalise(editor, users, Renumbering({}))
    return editor


def test_twice_is_once(installed):
    first = run(installed).root.copy()
    assert run(installed).root == first


def test_the_package_database_lies_below_usr_without_backups_and_locks(installed):
    run(installed)
    assert installed.target("var/lib/dpkg") == "../../usr/lib/sysimage/dpkg"
    assert installed.text("usr/lib/sysimage/dpkg/status") == "Package: x\n"
    assert installed.text("usr/lib/sysimage/dpkg/triggers/File") == "a\nb\n"
    assert installed.read("usr/lib/sysimage/dpkg/triggers/Unincorp") == b""
    assert not {"status-old", "lock"} & set(installed.names("usr/lib/sysimage/dpkg"))
    assert installed.names("usr/lib/sysimage/debconf") == ["config.dat"]


def test_the_kernel_lies_beside_its_modules_and_boot_is_empty(installed):
    run(installed)
    assert installed.read("usr/lib/modules/6.12-cloud/vmlinuz") == b"kernel"
    assert installed.names("usr/lib/modules/6.12-cloud") == ["config", "modules.dep", "vmlinuz"]
    assert installed.names("boot") == []
    assert not installed.exists("vmlinuz")


def test_the_top_level_has_links_and_empty_mount_points(installed):
    run(installed)
    assert {path: installed.target(path) for path in data.TOP_LINKS} == data.TOP_LINKS
    for path in data.EMPTIED:
        assert installed.names(path) == []
    assert installed.directory("sysroot") is not None
    assert installed.directory("tmp").meta.mode == 0o41777


def test_directories_of_var_become_tmpfiles_lines_and_files_go(installed):
    run(installed)
    lines = installed.text(data.GENERATED_TMPFILES).splitlines()
    assert "d /var/lib/misc 0755 root root - -" in lines
    assert "d /var/mail 2775 root mail - -" in lines
    assert "C /var/roothome/.bashrc - - - - /usr/share/factory/var/roothome/.bashrc" in lines
    assert "L /var/usrlocal/man - - - - share/man" in lines
    assert not any(line.split()[1] == "/var/log" for line in lines if line[:1] != "#"), "a package declares it"
    assert not installed.exists("var/log/apt/term.log")
    kept = {path for path, _ in data.KEPT_VAR}
    assert {path for path in paths(installed.root) if path.startswith("var/") and installed.directory(path)} <= kept


def test_what_packages_enabled_is_enabled_below_usr(installed):
    run(installed)
    home = "usr/lib/systemd/system"
    assert installed.target(f"{home}/multi-user.target.wants/ssh.service") == "../ssh.service"
    assert installed.target(f"{home}/sshd.service") == "ssh.service"
    assert installed.target(f"{home}/multi-user.target.wants/systemd-networkd.service") == "../systemd-networkd.service"
    assert not installed.exists(f"{home}/timers.target.wants/apt-daily.timer")
    assert installed.exists("etc/systemd/system/multi-user.target.wants/own.service"), "its unit is in /etc, it stays"
    assert not installed.exists(f"{home}/sysinit.target.wants/ldconfig.service")
    assert installed.names("etc/systemd/system") == ["multi-user.target.wants", "own.service"]
    assert not any(installed.exists(path) for path in data.PRESETS), "package scripts heed presets"


def test_nothing_of_the_builder_or_of_one_machine_is_left(installed):
    run(installed)
    assert installed.text("etc/machine-id") == "uninitialized\n"
    assert installed.target("etc/resolv.conf") == "../run/systemd/resolve/stub-resolv.conf"
    assert installed.names("etc/ssh") == ["sshd_config"]
    for path in ("etc/fstab", "etc/hostname", "etc/passwd-", "etc/.pwd.lock", "usr/lib/tmpfiles.d/home.conf"):
        assert not installed.exists(path)
    assert "20370" not in installed.text("etc/shadow")
    assert installed.text("etc/default/useradd") == "SHELL=/bin/sh\nHOME=/var/home\n"


def test_packages_added_later_change_only_what_they_bring(installed):
    run(installed)
    base = installed.root.copy()
    installed.write("usr/bin/new", b"x")
    for place in ("var/lib/new", "var/cache/new"):
        installed.make_directory(place)
    run(installed)
    layer = diff_layers(base, installed.root, installed._transaction)
    files = {path for path, found in layer.walk() if not isinstance(found, Directory)}
    assert files == {"usr/bin/new", data.GENERATED_TMPFILES}
    lines = installed.text(data.GENERATED_TMPFILES).splitlines()
    assert {"d /var/lib/misc 0755 root root - -", "d /var/lib/new 0755 root root - -"} <= set(lines)
