"""What the end-to-end tests share: one cache of builds, one lock, and the command line as people call it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KERNEL = "linux-image-cloud-amd64"  # smaller than the default; the same steps

Ostler = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def cache() -> Path:
    """The builder's cache; kept between runs, so that only the first one composes everything."""
    path = ROOT / "build" / "cache"
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="session")
def ostler(cache: Path) -> Ostler:
    """Calls the command line; `expect` is the exit code that must come out."""

    def call(*arguments: str, cwd: Path, expect: int = 0, **environment: str) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, "-m", "ostler.cli", *arguments],
            cwd=cwd,
            env={**os.environ, "OSTLER_CACHE": str(cache), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expect, f"exit {done.returncode}, not {expect}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return call


@pytest.fixture(scope="session")
def built_folder(tmp_path_factory: pytest.TempPathFactory, ostler: Ostler) -> Path:
    """A machine folder as `ostler init` makes it, with the small kernel, built once; not to be changed."""
    place = tmp_path_factory.mktemp("built")
    ostler("init", "web", cwd=place)
    toml = place / "web" / "ostler.toml"
    toml.write_text(small_kernel(toml.read_text()))
    ostler("build", cwd=place / "web")
    return place / "web"


@pytest.fixture
def folder(tmp_path: Path, built_folder: Path) -> Path:
    """A copy of that folder with its lock, without what was built, to do with as a test likes."""
    shutil.copytree(built_folder, tmp_path / "web", ignore=shutil.ignore_patterns("build"))
    return tmp_path / "web"


def small_kernel(toml: str) -> str:
    """`toml` with the small kernel chosen."""
    changed, count = re.subn(r"^#? ?kernel = .*$", f'kernel = "{KERNEL}"', toml, count=1, flags=re.MULTILINE)
    assert count == 1, toml
    return changed
