"""Everything on the builder's side works as an ordinary user, and comes out the same as for root."""

import json
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import small_kernel

from ostler.errors import ExitCode

pytestmark = pytest.mark.compose
ROOT = Path(__file__).parents[2]
USER = "ostler-test"


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that both users can work in, with Ostler installed from this source for a Python that both can run."""
    if USER not in {entry.pw_name for entry in pwd.getpwall()}:
        subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", USER], check=True)
    path = Path("/var/tmp/ostler-unprivileged")
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    shutil.copytree(ROOT / "src", path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "docs/man", path / "docs/man")
    shutil.copy(ROOT / "pyproject.toml", path)
    shutil.copy(ROOT / "README.md", path)
    subprocess.run(["/usr/bin/python3", "-m", "venv", path / "venv"], check=True)
    subprocess.run([path / "venv/bin/pip", "install", "-q", "--disable-pip-version-check", path], check=True)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def ostler(place: Path, user: str, *arguments: str, cwd: Path, expect: int = 0) -> "subprocess.CompletedProcess[str]":
    """Run the installed command as `user`, with a cache of that user's own."""
    environment = [
        f"HOME={place / user}",
        f"OSTLER_CACHE={place / user / 'cache'}",
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    ]
    command = ["runuser", "-u", user, "--", "env", "-i", *environment, str(place / "venv/bin/ostler"), *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def built(place: Path, cache: Path) -> dict[str, dict[str, object]]:
    """One folder with its lock, built by root and by an ordinary user, each with a cache of only the packages."""
    (place / "root").mkdir()
    ostler(place, "root", "init", str(place / "web"), cwd=place)
    toml = place / "web" / "ostler.toml"
    toml.write_text(small_kernel(toml.read_text()))
    (place / "web/packages/install.txt").write_text("libcap2-bin\nnginx-light\n")
    found = {}
    for user in ("root", USER):
        home = place / user
        home.mkdir(exist_ok=True)
        shutil.copytree(place / "web", home / "web")
        if (cache / "debs").exists():
            shutil.copytree(cache / "debs", home / "cache" / "debs")
        subprocess.run(["chown", "-R", f"{user}:", home], check=True)
        found[user] = json.loads(ostler(place, user, "build", "--json", cwd=home / "web").stdout)
        if user == "root":
            shutil.copy(home / "web" / "ostler.lock", place / "web")
    return found


def test_equal_lock_and_folder_give_equal_commits_and_digests_for_root_and_an_ordinary_user(
    built: dict[str, dict[str, object]],
) -> None:
    assert built[USER]["commit"] == built["root"]["commit"]
    assert built[USER]["manifest_digest"] == built["root"]["manifest_digest"]


def test_an_ordinary_user_writes_a_disk_publishes_and_runs_the_machine(
    place: Path, built: dict[str, dict[str, object]]
) -> None:
    folder = place / USER / "web"
    ostler(place, USER, "disk", cwd=folder)
    done = json.loads(ostler(place, USER, "publish", "--json", cwd=folder).stdout)
    assert done["commit"] == built[USER]["commit"]
    ostler(place, USER, "run", "--detach", cwd=folder)
    try:
        log = folder / "build" / "console.log"
        deadline = time.monotonic() + 300
        while "login:" not in log.read_text(errors="replace") and time.monotonic() < deadline:
            time.sleep(2)
        assert "login:" in log.read_text(errors="replace")
    finally:
        ostler(place, USER, "stop", cwd=folder)


def cut_out(disk: Path, partition: dict[str, int], target: Path) -> None:
    with disk.open("rb") as source, target.open("wb") as out:
        source.seek(partition["start"])
        for _ in range(0, partition["size"], 1 << 20):
            out.write(source.read(1 << 20))


def test_the_root_file_system_on_the_disk_is_owned_as_the_image_says(
    place: Path, built: dict[str, dict[str, object]], tmp_path: Path
) -> None:
    folder = place / USER / "web"
    disk = json.loads(ostler(place, USER, "disk", "--json", cwd=folder).stdout)
    plan = json.loads(ostler(place, USER, "disk", "--dry-run", "--json", cwd=folder).stdout)
    out = tmp_path / "tree"
    (out / "boot").mkdir(parents=True)
    for number, source, target in ((4, "/ostree", out), (3, "/loader", out / "boot"), (3, "/loader.1", out / "boot")):
        image = tmp_path / f"part{number}"
        if not image.exists():
            cut_out(Path(disk["path"]), plan["partitions"][number - 1], image)
            subprocess.run(["fsck.ext4", "-fn", image], check=True)
        subprocess.run(["debugfs", "-R", f"rdump {source} {target}", image], check=True, capture_output=True)
    # debugfs does not bring extended attributes along: a file with capabilities is all that fsck may complain of
    done = subprocess.run(["ostree", "fsck", f"--repo={out}/ostree/repo"], capture_output=True, text=True, check=False)
    corrupted = [line for line in done.stderr.splitlines() if "orrupt" in line]
    assert len(corrupted) <= 3, done.stderr
    shown = subprocess.run(
        ["ostree", "admin", "status", f"--sysroot={out}"], capture_output=True, text=True, check=False
    )
    assert str(built[USER]["commit"]) in shown.stdout, shown.stderr


def test_a_file_that_cannot_be_read_is_named(place: Path, built: dict[str, dict[str, object]]) -> None:
    folder = place / USER / "web"
    secret = folder / "overlay" / "etc" / "unreadable"
    secret.write_text("x")
    secret.chmod(0o600)
    os.chown(secret, 0, 0)
    done = ostler(place, USER, "build", cwd=folder, expect=ExitCode.DEFINITION)
    assert "overlay/etc/unreadable" in done.stderr
    secret.unlink()


def test_a_containerfile_is_built_by_an_ordinary_user(place: Path, built: dict[str, dict[str, object]]) -> None:
    folder = place / USER / "web"
    (folder / "app").mkdir()
    (folder / "app" / "hello").write_text("hello\n")
    (folder / "Containerfile").write_text(
        "FROM base\nCOPY app/ /usr/share/app/\n"
        "RUN cp /usr/share/app/hello /usr/share/app/copy && chown 33:33 /usr/share/app/copy\n"
    )
    ostler(place, USER, "build", cwd=folder)
    listed = ostler(place, USER, "repo", "ls", "ostler/machine/web", "/usr/share/app", cwd=folder).stdout
    copy = next(line.split() for line in listed.splitlines() if line.endswith("/copy"))
    assert copy[1:3] == ["33", "33"]
