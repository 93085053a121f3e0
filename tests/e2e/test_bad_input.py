"""Every mistake and mishap gets one clear error and its exit code, and leaves nothing half-written."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ostler.errors import ExitCode

pytestmark = pytest.mark.compose


def work_folders(cache: Path) -> list[str]:
    work = cache / "work"
    return sorted(path.name for path in work.iterdir()) if work.exists() else []


def test_an_unknown_key_is_named_with_its_line_and_the_nearest_known_one(folder: Path, ostler) -> None:  # type: ignore[no-untyped-def]
    toml = folder / "ostler.toml"
    toml.write_text(
        toml.read_text() + '\n[boot]\nkernel_arguments = ["quiet"]\n'
        if "[boot]" not in toml.read_text()
        else re.sub(r"^\[boot\]$", '[boot]\nkernel_arguments = ["quiet"]', toml.read_text(), flags=re.MULTILINE)
    )
    line = toml.read_text().splitlines().index('kernel_arguments = ["quiet"]') + 1
    done = ostler("build", cwd=folder, expect=ExitCode.DEFINITION)
    assert f"ostler.toml:{line}" in done.stderr
    assert "kernel-arguments" in done.stderr
    assert not (folder / "build" / "image").exists()


def test_a_wrong_base_is_named_with_what_to_write(folder: Path, ostler) -> None:  # type: ignore[no-untyped-def]
    toml = folder / "ostler.toml"
    toml.write_text(toml.read_text().replace("debian:trixie", "debian:trixy"))
    done = ostler("build", cwd=folder, expect=ExitCode.DEFINITION)
    assert "debian:trixie" in done.stderr


def test_a_package_that_does_not_exist_is_named_with_its_line(folder: Path, ostler) -> None:  # type: ignore[no-untyped-def]
    listed = folder / "packages" / "install.txt"
    listed.write_text(listed.read_text() + "ngnix-light\n")
    line = len(listed.read_text().splitlines())
    done = ostler("build", cwd=folder, expect=ExitCode.PACKAGES)
    assert f"install.txt:{line}" in done.stderr
    assert "ngnix-light" in done.stderr
    assert "nginx-light" in done.stderr, "the nearest name is suggested"
    assert not (folder / "build" / "image").exists()


def test_without_a_network_the_error_says_so(folder: Path, tmp_path: Path) -> None:
    (folder / "ostler.lock").unlink()
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "ostler.cli", "build"],
        cwd=folder,
        env={**os.environ, "OSTLER_CACHE": str(tmp_path / "empty-cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ExitCode.NETWORK, done.stderr
    assert "hint:" in done.stderr
    assert not (folder / "ostler.lock").exists()
    assert work_folders(tmp_path / "empty-cache") == []


def test_a_full_disk_during_the_build_says_which_and_leaves_the_old_state(
    folder: Path, ostler, cache: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    ostler("build", cwd=folder)
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=250m", "small", small], check=True)
    try:
        shutil.copytree(cache / "debs", small / "debs", dirs_exist_ok=True)
        done = ostler("build", cwd=folder, expect=ExitCode.NO_SPACE, OSTLER_CACHE=str(small))
        assert "no space" in done.stderr.lower()
        assert str(small) in done.stderr
        assert work_folders(small) == []
    finally:
        subprocess.run(["umount", small], check=True)
    assert (folder / "build" / "image" / "index.json").exists()


def test_an_interrupted_build_leaves_no_work_behind_and_can_be_repeated(folder: Path, ostler, cache: Path) -> None:  # type: ignore[no-untyped-def]
    with (folder / "packages" / "install.txt").open("a") as file:
        file.write("jq\n")
    before = work_folders(cache)
    process = subprocess.Popen(
        [sys.executable, "-m", "ostler.cli", "build"],
        cwd=folder,
        env={**os.environ, "OSTLER_CACHE": str(cache)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while work_folders(cache) == before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED, printed
    assert "Traceback" not in printed
    assert work_folders(cache) == before
    ostler("build", cwd=folder)


def test_a_damaged_object_in_the_repository_is_named_and_nothing_is_taken(folder: Path, ostler, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from ostler.store.repo import Repo, RepoMode

    ostler("build", cwd=folder)
    ostler("publish", "--to", str(tmp_path / "www"), cwd=folder)
    objects = sorted((tmp_path / "www" / "objects").glob("*/*.filez"), key=lambda path: path.stat().st_size)
    victim = objects[len(objects) // 2]
    damaged = bytearray(victim.read_bytes())
    damaged[-1] ^= 0xFF
    victim.chmod(0o644)
    victim.write_bytes(bytes(damaged))
    Repo.create(tmp_path / "mine", RepoMode.ARCHIVE)
    done = ostler(
        "repo",
        "--repo",
        str(tmp_path / "mine"),
        "pull",
        str(tmp_path / "www"),
        "web/stable",
        cwd=tmp_path,
        expect=ExitCode.CORRUPT,
    )
    assert victim.parent.name + victim.stem in done.stderr
    assert Repo.open(tmp_path / "mine").refs() == {}
    done = ostler("repo", "--repo", str(tmp_path / "www"), "fsck", cwd=tmp_path, expect=ExitCode.CORRUPT)
    assert victim.parent.name + victim.stem in done.stdout
