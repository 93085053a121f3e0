"""When a lock still answers what a folder asks, and where its packages are fetched from."""

from dataclasses import replace
from pathlib import Path

import pytest
from definition_folder import SETTINGS, loaded

from ostler.compose import resolve as module
from ostler.compose.base import base_recipe
from ostler.compose.resolve import _in_archives, fetch_archives, folder_recipe, outdated
from ostler.definition.lock import Archive, Lock, LockedSet, Package
from ostler.definition.model import Definition

LOCKED = Package("bash", "5.2-1", "amd64", "0" * 64, 1, "trixie-security", "pool/bash.deb")


def lock_for(definition: Definition) -> Lock:
    return Lock(
        created=1,
        mirrors=(Archive("trixie", "http://one.example/debian", "trixie"),),
        base=LockedSet((LOCKED,), recipe=base_recipe("trixie", definition.boot.kernel)),
        folder=LockedSet(recipe=folder_recipe(definition)),
    )


def test_an_unchanged_folder_needs_no_other_lock(tmp_path: Path) -> None:
    definition = loaded(tmp_path)
    assert outdated(definition, lock_for(definition)) == []


def test_changed_lists_kernels_and_mirrors_need_another_lock(tmp_path: Path) -> None:
    lock = lock_for(loaded(tmp_path / "a"))
    listed = loaded(tmp_path / "b", {"packages/install.txt": "jq\n"})
    kernel = loaded(tmp_path / "c", settings=SETTINGS + '[boot]\nkernel = "linux-image-cloud-amd64"\n')
    mirror = loaded(tmp_path / "d", settings=SETTINGS + 'mirror = "http://two.example/debian"\n')
    same = loaded(tmp_path / "e", settings=SETTINGS + 'mirror = "http://me:secret@one.example/debian"\n')
    assert outdated(listed, lock) == ["the lists of packages changed"]
    assert outdated(kernel, lock) == ["the base asks for other packages"]
    assert outdated(mirror, lock) == ["`mirror` in ostler.toml changed"]
    assert outdated(same, lock) == []
    assert outdated(same, None) == ["there is no lock yet"]


def test_packages_of_an_archive_that_is_no_longer_named_are_ascribed_to_one_that_is() -> None:
    archives = (Archive("trixie", "http://two.example/debian", "trixie"),)
    moved = _in_archives(LockedSet((LOCKED,)), archives)
    assert moved.packages == (replace(LOCKED, archive="trixie"),)
    assert _in_archives(moved, archives) is moved


def test_locked_packages_are_asked_for_at_this_builders_own_archives_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = [Archive("trixie", "http://own.example/debian", "trixie")]
    monkeypatch.setattr(module, "builder_archives", lambda suite: own)
    definition = loaded(tmp_path)
    found = fetch_archives(definition, lock_for(definition))
    assert [archive.uri for archive in found] == ["http://own.example/debian", "http://one.example/debian"]
