"""The files layer."""

import dataclasses
from pathlib import Path

import pytest
from compose_trees import fill, new_repo

from ostler.compose.cache import Cache
from ostler.compose.digests import UnreadableFileError, file_digest, folder_digests
from ostler.compose.edit import TreeEditor
from ostler.compose.files import OverlayError, files_inputs, make_files, place_of
from ostler.definition.load import load
from ostler.definition.model import Definition, Ownership
from ostler.io.progress import Warning
from ostler.store.layers import apply_layer
from ostler.store.tree import Directory

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHUuRVCEQ0N2rXG9sPDuIHVkRAVRp2HJCI9T3S1yKTCz a@b"
BELOW = {
    "etc/passwd": "root:x:0:0::/root:/bin/sh\nweb:x:900:901::/:/bin/sh\n",
    "etc/group": "root:x:0:\nweb:x:901:\n",
    "usr/lib/os-release": 'ID=debian\nIMAGE_ID="old"\n',
    "usr/lib/systemd/system/web.service": "[Install]\nWantedBy=multi-user.target\n",
    "etc/conf.d/there": "x",
    "root": "-> var/roothome",
    "etc/systemd/system/multi-user.target.wants/own.service": "-> /usr/lib/systemd/system/own.service",
    "usr/lib/systemd/system/own.service": "[Service]",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "web"
    (folder / "overlay" / "etc" / "conf.d").mkdir(parents=True)
    (folder / "keys").mkdir()
    (folder / "systemd").mkdir()
    (folder / "keys" / "root").write_text(KEY + "\n")
    (folder / "systemd" / "enable.txt").write_text("web.service\n")
    (folder / "overlay" / "etc" / "motd").write_text("hello\n")
    (folder / "overlay" / "etc" / "motd").chmod(0o600)
    script = folder / "overlay" / "usr" / "bin" / "tool"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o700)
    (folder / "overlay" / "etc" / "link").symlink_to("motd")
    (folder / "ostler.toml").write_text(
        'name = "web"\nbase = "debian:trixie"\nversion = "7"\n[boot]\nkernel-arguments = ["quiet"]\n'
        '[update]\nfrom = "https://updates.example.org/web"\n[overlay]\n"etc/motd" = { owner = "web", mode = "0440" }\n'
    )
    return folder


def make(tmp_path: Path, definition: Definition, report=lambda _: None) -> TreeEditor:
    cache = Cache.open(tmp_path / "cache")
    below = Directory()
    with cache.repo.transaction() as transaction:
        fill(TreeEditor(cache.repo, transaction, below), BELOW)
    commit = make_files(cache, definition, below, "7", "k" * 64, 1, report=report)
    assert cache.layer("k" * 64) == commit
    with cache.repo.transaction() as transaction:
        return TreeEditor(cache.repo, transaction, apply_layer(below, cache.load(commit)))


def test_the_overlay_is_roots_and_rules_make_exceptions(tmp_path, folder):
    tree = make(tmp_path, load(folder))
    motd, tool = tree.file_meta("etc/motd"), tree.file_meta("usr/bin/tool")
    assert (motd.uid, motd.gid, motd.mode) == (900, 0, 0o100440)
    assert (tool.uid, tool.gid, tool.mode) == (0, 0, 0o100755)
    assert tree.target("etc/link") == "motd"


def test_keys_units_and_facts_about_the_machine_are_in_place(tmp_path, folder):
    tree = make(tmp_path, load(folder))
    assert tree.text("usr/lib/ostler/ssh-keys/root") == KEY + "\n"
    assert "/usr/lib/ostler/ssh-keys/%u" in tree.text("etc/ssh/sshd_config.d/50-ostler.conf")
    assert tree.target("usr/lib/systemd/system/multi-user.target.wants/web.service") == "../web.service"
    assert tree.text("etc/hostname") == "web\n"
    assert tree.text("usr/lib/os-release") == 'ID=debian\nIMAGE_ID="web"\nIMAGE_VERSION="7"\n'
    assert '"rd.shell=0"' in tree.text("usr/lib/bootc/kargs.d/20-ostler.toml")
    assert '"quiet"' in tree.text("usr/lib/bootc/kargs.d/20-ostler.toml")
    update = tree.text("usr/lib/ostler/update.conf")
    assert update == "[update]\nfrom=https://updates.example.org/web\nref=web/stable\nkeep=2\n"


def test_what_a_containerfile_enabled_moves_below_usr_and_nothing_else_gets_enabled(tmp_path, folder):
    tree = make(tmp_path, load(folder))
    assert tree.target("usr/lib/systemd/system/multi-user.target.wants/own.service") == "../own.service"
    assert tree.names("etc/systemd/system") == []
    assert "disable *" in tree.text("usr/lib/systemd/system-preset/00-ostler.preset")


def test_existing_directories_keep_their_content(tmp_path, folder):
    assert make(tmp_path, load(folder)).text("etc/conf.d/there") == "x"


def test_a_file_cannot_replace_a_directory_with_content(tmp_path, folder):
    (folder / "overlay" / "etc" / "conf.d").rmdir()
    (folder / "overlay" / "etc" / "conf.d").write_text("")
    with pytest.raises(OverlayError, match=r"overlay/etc/conf.d is a file"):
        make(tmp_path, load(folder))


def test_an_unknown_owner_is_named(tmp_path, folder):
    definition = dataclasses.replace(load(folder), overlay_rules={"etc/motd": Ownership(owner="nobdy")})
    with pytest.raises(OverlayError, match=r"\[overlay\] of etc/motd: the image has no user `nobdy`"):
        make(tmp_path, definition)


def test_keys_of_users_that_are_not_there_are_told(tmp_path, folder):
    (folder / "keys" / "anna").write_text(KEY + "\n")
    told = []
    make(tmp_path, load(folder), told.append)
    assert any(isinstance(event, Warning) and "no user `anna`" in event.message for event in told)


def test_inputs_change_with_content_and_x_bit_only(folder):
    before = files_inputs(load(folder), "below")
    (folder / "overlay" / "etc" / "motd").chmod(0o640)
    (folder / "overlay" / "etc" / "motd").touch()
    assert files_inputs(load(folder), "below") == before
    (folder / "overlay" / "etc" / "motd").write_text("bye\n")
    changed = files_inputs(load(folder), "below")
    assert {name for name in changed if changed[name] != before[name]} == {"overlay/etc/motd"}


def test_places_of_overlay_paths():
    assert place_of("root/.profile") == "var/roothome/.profile"
    assert place_of("usr/local/bin") == "var/usrlocal/bin"
    assert place_of("rooted") == "rooted"
    assert place_of("run/x") is None


def test_an_unreadable_file_is_named(tmp_path):
    with pytest.raises(UnreadableFileError, match="gone"):
        file_digest(tmp_path / "gone")
    (tmp_path / "d").mkdir()
    assert folder_digests(tmp_path, "overlay") == {"overlay/d": "directory"}
    assert new_repo(tmp_path).path.exists()
