"""Composing a real Debian tree, step by step, with the cache in between."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.compose
ROOT = Path(__file__).parents[2]

# Runs in a process of its own, since entering a user namespace cannot be undone.
PROGRAM = """
import json, sys
from pathlib import Path
from ostler.io.userns import enter_user_namespace
enter_user_namespace()
from ostler.compose.build import build
from ostler.compose.cache import Cache
from ostler.definition.load import load
from ostler.definition.lock import read_lock, write_lock
from ostler.errors import OstlerError
from ostler.store.tree import Directory, load_commit_tree
folder, root, wanted = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
definition = load(folder)
lock = read_lock(definition.lock_path) if definition.lock_path.exists() else None
cache = Cache.open(root)
try:
    result = build(definition, lock, cache)
except OstlerError as error:
    print(json.dumps({"error": error.message, "hint": error.hint, "exit": int(error.exit_code)}))
    sys.exit()
write_lock(definition.lock_path, result.lock)
tree = load_commit_tree(cache.repo, result.commit)
found = {}
for path in wanted:
    at = tree.lookup(path)
    if isinstance(at, Directory):
        found[path] = sorted([*at.files, *at.dirs])
    elif at is not None:
        meta = cache.repo.file_meta(at)
        with cache.repo.open_file(at) as file:
            found[path] = "-> " + meta.target if meta.is_symlink else file.read(100_000).decode("utf-8", "replace")
print(json.dumps({
    "commit": result.commit, "ran": [step.name for step in result.steps if step.ran], "found": found,
    "why": {step.name: step.why for step in result.steps}, "seconds": sum(step.seconds for step in result.steps),
    "layers": {layer.name: cache.tree_checksum(layer.commit) for layer in result.layers},
}))
"""


@dataclass
class Machine:
    """A machine folder and the cache it is built with."""

    folder: Path
    cache: Path

    def write(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text)

    def build(self, *wanted: str, cache: Path | None = None, fails: bool = False) -> dict[str, object]:
        argv = [sys.executable, "-c", PROGRAM, str(self.folder), str(cache or self.cache), *wanted]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        result: dict[str, object] = json.loads(done.stdout)
        assert fails == ("error" in result), result
        return result


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Machine:
    """A built folder with its lock."""
    machine = Machine(tmp_path_factory.mktemp("compose") / "web", cache)
    machine.write("ostler.toml", 'name = "web"\nbase = "debian:trixie"\n[boot]\nkernel = "linux-image-cloud-amd64"\n')
    machine.write("packages/install.txt", "# tools\njq\n")
    machine.write("overlay/etc/motd", "first\n")
    assert "commit" in machine.build()
    return machine


@pytest.fixture
def machine(locked: Machine, tmp_path: Path) -> Machine:
    """A copy of the built folder that a test may change."""
    shutil.copytree(locked.folder, tmp_path / "web")
    return Machine(tmp_path / "web", locked.cache)


def test_an_unchanged_folder_runs_nothing(machine: Machine) -> None:
    first, second = machine.build(), machine.build()
    assert first["ran"] == second["ran"] == []
    assert first["commit"] == second["commit"]
    assert set(second["why"].values()) == {"nothing it depends on changed"}  # type: ignore[attr-defined]


def test_a_fresh_cache_gives_the_same_commit_from_the_same_lock(machine: Machine, tmp_path: Path) -> None:
    other = tmp_path / "cache"
    shutil.copytree(machine.cache / "debs", other / "debs")
    first, second = machine.build(), machine.build(cache=other)
    assert second["ran"] == ["base packages", "folder packages", "agent", "files", "initramfs"]
    assert second["layers"] == first["layers"]
    assert second["commit"] == first["commit"]


def test_a_changed_overlay_file_runs_only_the_files_step(machine: Machine) -> None:
    machine.build()
    machine.write("overlay/etc/motd", "second\n")
    result = machine.build("usr/etc/motd")
    assert result["ran"] == ["files"]
    assert result["why"]["files"] == "overlay/etc/motd changed"  # type: ignore[index]
    assert result["found"] == {"usr/etc/motd": "second\n"}


def test_what_dracut_reads_runs_it_again(machine: Machine) -> None:
    before = machine.build()
    machine.write("overlay/etc/dracut.conf.d/90-own.conf", 'omit_dracutmodules+=" nvdimm "\n')
    result = machine.build()
    assert result["ran"] == ["files", "initramfs"]
    assert result["layers"]["initramfs"] != before["layers"]["initramfs"]  # type: ignore[index]


def test_an_added_package_keeps_all_other_pins_and_leaves_the_base_alone(machine: Machine) -> None:
    old = machine.folder.joinpath("ostler.lock").read_text().splitlines()
    machine.build()
    machine.write("packages/install.txt", "jq\nnginx-light\n")
    home = "usr/lib/systemd/system/multi-user.target.wants/nginx.service"
    result = machine.build("usr/sbin/nginx", home, "usr/etc/systemd/system", "usr/lib/tmpfiles.d/ostler-var.conf")
    assert "base packages" not in result["ran"]  # type: ignore[operator]
    assert "package nginx" in result["why"]["folder packages"] or "more" in result["why"]["folder packages"]  # type: ignore[index]
    found = result["found"]
    assert isinstance(found, dict)
    assert found[home] == "-> ../nginx.service"
    assert not any(name.endswith(".wants") for name in found["usr/etc/systemd/system"])
    assert "d /var/log/nginx " in found["usr/lib/tmpfiles.d/ostler-var.conf"]
    new = machine.folder.joinpath("ostler.lock").read_text().splitlines()
    assert [line for line in old if "{ name =" in line and line not in new] == []


def test_a_removed_package_is_gone_from_tree_and_database(machine: Machine) -> None:
    machine.write("packages/remove.txt", "nano\n")
    result = machine.build("usr/bin/nano", "usr/lib/sysimage/dpkg/status")
    assert "usr/bin/nano" not in result["found"]  # type: ignore[operator]
    assert "\nPackage: nano\n" not in result["found"]["usr/lib/sysimage/dpkg/status"]  # type: ignore[index]


def test_a_containerfile_can_install_packages_and_copy_files(machine: Machine) -> None:
    machine.write("site/index.html", "hello\n")
    machine.write("site/secret.html", "secret\n")
    machine.write(
        "Containerfile",
        "FROM base\nCOPY site /usr/share/site\n"
        "RUN apt-get update && apt-get install -y --no-install-recommends figlet && rm -rf /var/lib/apt/lists/*\n"
        "RUN rm /usr/share/site/secret.html\n",
    )
    result = machine.build("usr/share/site", "usr/bin/figlet-figlet", "usr/etc/resolv.conf", "usr/etc/hostname")
    found = result["found"]
    assert isinstance(found, dict)
    assert found["usr/share/site"] == ["index.html"]
    assert found["usr/etc/resolv.conf"].startswith("-> ")
    assert found["usr/etc/hostname"] == "web\n"
    assert "usr/bin/figlet-figlet" in found
    assert machine.build()["ran"] == []
    machine.write("site/index.html", "changed\n")
    again = machine.build()
    assert "initramfs" not in again["ran"], again  # type: ignore[operator]
    assert again["why"]["Containerfile"] == "site/index.html changed"  # type: ignore[index]


def test_a_package_that_does_not_exist_is_named_with_its_line_and_the_nearest_names(machine: Machine) -> None:
    machine.write("packages/install.txt", "jq\n\nngnix-light\n")
    result = machine.build(fails=True)
    assert "packages/install.txt:3: there is no package `ngnix-light`" in str(result["error"])
    assert "`nginx-light`" in str(result["error"])
    assert result["exit"] == 5


def test_a_locked_package_that_cannot_be_had_is_named(machine: Machine, tmp_path: Path) -> None:
    lock = machine.folder / "ostler.lock"
    lines = lock.read_text().splitlines()
    index = next(i for i, line in enumerate(lines) if '{ name = "jq"' in line)
    digest = lines[index].partition('sha256 = "')[2][:64]
    lines[index] = lines[index].replace(digest, "0" * 64).replace("/jq_", "/jq_0")
    lock.write_text("\n".join(lines) + "\n")
    result = machine.build(fails=True)
    assert result["exit"] == 5
    assert "jq " in str(result["error"])
    assert "ostler lock --update" in str(result["hint"])


def test_the_image_is_as_bootable_systems_expect_it(machine: Machine) -> None:
    boot, links = "usr/lib/ostler/boot", ("home", "root", "opt", "srv", "mnt", "usr/local", "ostree", "var/lib/dpkg")
    files = (
        "usr/etc/machine-id",
        "usr/etc/shadow",
        "usr/lib/ostree/prepare-root.conf",
        "usr/lib/bootc/kargs.d/20-ostler.toml",
    )
    found = machine.build(boot, "boot", "usr/lib/modules", "var", "usr/etc/ssh", "sysroot", *links, *files)["found"]
    assert isinstance(found, dict)
    assert found[boot] == ["BOOTX64.EFI", "boot.img", "core.img"]
    assert found["boot"] == found["sysroot"] == []
    assert len(found["usr/lib/modules"]) == 1
    assert all(found[link].startswith("-> ") for link in links)
    assert found["usr/etc/machine-id"] == "uninitialized\n"
    assert not any(name.startswith("ssh_host") for name in found["usr/etc/ssh"])
    assert all(line.split(":")[2] == "" for line in found["usr/etc/shadow"].splitlines())
    assert "readonly=true" in found["usr/lib/ostree/prepare-root.conf"]
