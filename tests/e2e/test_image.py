"""The image of a real machine: read by skopeo, run by podman, derived from by others and by a Containerfile."""

import json
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest
from tests.interop.containers import Containers, skopeo

from ostler.oci.importer import import_layout
from ostler.oci.layout import Layout
from ostler.store.repo import Repo, RepoMode
from ostler.store.tree import load_commit_tree

pytestmark = pytest.mark.compose


@pytest.fixture
def image(folder: Path, ostler) -> Path:  # type: ignore[no-untyped-def]
    ostler("build", cwd=folder)
    return folder / "build" / "image"


def test_skopeo_reads_the_image_with_its_labels(image: Path) -> None:
    shown = json.loads(skopeo("inspect", f"oci:{image}"))
    assert shown["Labels"]["containers.bootc"] == "1"
    assert shown["Architecture"] == "amd64"
    assert len(shown["Layers"]) == 4


def test_podman_runs_the_image(image: Path, tmp_path: Path) -> None:
    printed = Containers(tmp_path / "containers").run_image(f"oci:{image}", "cat", "/etc/os-release")
    assert "VERSION_CODENAME=trixie" in printed
    assert "IMAGE_ID=web" in printed.replace('"', "")


def test_others_derive_from_the_image_with_apt_working(image: Path, tmp_path: Path) -> None:
    containers = Containers(tmp_path / "containers")
    target = tmp_path / "derived"
    install = "apt-get update -q && apt-get install -q -y --no-install-recommends tree && tree --version"
    containers.derive(f"oci:{image}", f"oci:{target}", [["sh", "-c", install]])
    shown = json.loads(skopeo("inspect", f"oci:{target}"))
    assert len(shown["Layers"]) == 5


def test_a_containerfile_in_the_folder_derives_further_and_its_result_is_cached(
    folder: Path, ostler, cache: Path
) -> None:  # type: ignore[no-untyped-def]
    (folder / "app").mkdir()
    (folder / "app" / "run").write_text(f"#!/bin/sh\necho {uuid4()}\n")  # never built before
    (folder / "Containerfile").write_text(
        "FROM base\n"
        "COPY app/ /usr/share/app/\n"
        "RUN apt-get update -q && apt-get install -q -y --no-install-recommends tree"
        " && apt-get clean && rm -rf /var/lib/apt/lists/*\n"
    )
    built = json.loads(ostler("build", "--json", cwd=folder).stdout)
    assert "Containerfile" in [step["name"] for step in built["steps"] if step["ran"]]
    tree = load_commit_tree(Repo.open(cache / "repo"), built["commit"])
    assert tree.lookup("usr/share/app/run") is not None
    assert tree.lookup("usr/bin/tree") is not None
    again = json.loads(ostler("build", "--json", cwd=folder).stdout)
    assert [step["name"] for step in again["steps"] if step["ran"]] == []
    assert again["commit"] == built["commit"]
    (folder / "overlay" / "etc" / "motd").write_text("changed\n")
    changed = json.loads(ostler("build", "--json", cwd=folder).stdout)
    assert [step["name"] for step in changed["steps"] if step["ran"]] == ["files"]


def test_an_image_imported_as_ostree_ext_does_gives_the_tree_of_the_commit(
    image: Path, folder: Path, tmp_path: Path
) -> None:
    record = json.loads((folder / "build" / "build.json").read_text())
    repo = Repo.create(tmp_path / "repo", RepoMode.BARE_USER)
    imported = repo.load_commit(import_layout(repo, Layout.open(image)).commit)
    assert imported.content_checksum == record["content"]
    subprocess.run(["ostree", "fsck", f"--repo={tmp_path / 'repo'}"], check=True, capture_output=True)
