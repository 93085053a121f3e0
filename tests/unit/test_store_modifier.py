from pathlib import Path

import pytest

from ostler.formats.gvariant import FormatError
from ostler.formats.objects import Checksum, DirMeta, FileMeta
from ostler.store.combine import apply_modifier, overlay, subtree_at
from ostler.store.errors import StoreError
from ostler.store.modifier import ModeChange, Modifier, canonical_filter, parse_skip_list, parse_statoverride
from ostler.store.repo import Repo, RepoMode
from ostler.store.tree import Directory

FILE = FileMeta(1, 2, 0o106775, ((b"security.selinux", b"old\0"), (b"user.x", b"y")))
FOLDER = DirMeta(1, 2, 0o41777, ((b"user.x", b"y"),))
LINK = FileMeta(1, 2, 0o120777, (), "target")


def test_nothing_asked_for_changes_nothing() -> None:
    for meta in (FILE, FOLDER, LINK):
        assert Modifier()("a", meta) == meta


def test_owners() -> None:
    assert Modifier(owner_uid=0)("a", FILE) == FileMeta(0, 2, 0o106775, FILE.xattrs)
    assert Modifier(owner_gid=9)("", FOLDER) == DirMeta(1, 9, 0o41777, FOLDER.xattrs)


def test_canonical_permissions() -> None:
    modifier = Modifier(canonical_permissions=True)
    assert not modifier.attributes
    assert modifier("a", FILE) == FileMeta(0, 0, 0o100755)
    assert modifier("a", FOLDER) == DirMeta(0, 0, 0o40755)
    assert modifier("a", LINK) == FileMeta(0, 0, 0o120777, (), "target")
    canonical = canonical_filter(None)
    assert canonical("a", FILE) == FileMeta(0, 0, 0o100755)
    assert canonical("a", FOLDER) == DirMeta(0, 0, 0o40755)
    assert canonical_filter(lambda path, meta: None)("a", FILE) is None


def test_executables_made_read_only() -> None:
    modifier = Modifier(read_only_executables=True)
    assert modifier("a", FileMeta(0, 0, 0o104755)) == FileMeta(0, 0, 0o104555)
    assert modifier("a", FileMeta(0, 0, 0o100644)) == FileMeta(0, 0, 0o100644)
    assert modifier("a", DirMeta(0, 0, 0o40755)) == DirMeta(0, 0, 0o40755)


def test_the_list_files() -> None:
    changes = parse_statoverride("# comment\n2048 /usr/bin/su\n=0x1ed /a b\n\n")
    assert changes == {"/usr/bin/su": ModeChange(2048), "/a b": ModeChange(0o755, True)}
    assert parse_skip_list("/a\n\n/b c\n") == {"/a", "/b c"}
    with pytest.raises(FormatError, match=r"Malformed statoverride file \(no space found\)"):
        parse_statoverride("2048")
    for bad in ("x /a", "=99999 /a", "-1 /a"):
        with pytest.raises(FormatError):
            parse_statoverride(bad)


def test_lists_are_applied_and_what_did_not_come_is_known() -> None:
    modifier = Modifier(statoverride=parse_statoverride("2048 /su\n2048 /gone\n=420 /x\n=1 /y"), skip=["/s", "/t"])
    assert modifier("su", FileMeta(0, 0, 0o100755)) == FileMeta(0, 0, 0o104755)
    assert modifier("x", FileMeta(0, 0, 0o104755)) == FileMeta(0, 0, 0o100644)
    assert modifier("s", FOLDER) is None
    assert modifier.unmatched_statoverride == ["/gone"]
    assert modifier.unmatched_skips == ["/t"]


def test_labels_replace_those_of_the_files() -> None:
    modifier = Modifier(labels=lambda path, mode: f"u:o:{path}:{mode:o}" if path != "/none" else None)
    changed = modifier("a", FILE)
    assert changed is not None
    assert changed.xattrs == ((b"security.selinux", b"u:o:/a:106775\0"), (b"user.x", b"y"))
    assert modifier("none", FILE) == FILE


def test_overlaying_joins_directories_and_replaces_files() -> None:
    one, two, three = (Checksum(c * 64) for c in "123")
    base, top = Directory(), Directory(DirMeta(0, 0, 0o40700))
    base.set_file("usr/a", one)
    base.set_file("usr/b", one)
    top.set_file("usr/b", two, DirMeta(5, 5, 0o40711))
    top.set_file("new/c", three)
    overlay(base, top)
    assert {path: found for path, found in base.walk() if isinstance(found, str)} == {
        "new/c": three,
        "usr/a": one,
        "usr/b": two,
    }
    assert base.meta.mode == 0o40700
    assert base.dirs["usr"].meta == DirMeta(5, 5, 0o40711)


def test_files_and_directories_do_not_replace_each_other() -> None:
    with_file, with_folder = Directory(), Directory()
    with_file.set_file("a", Checksum("1" * 64))
    with_folder.ensure_dir("a")
    with pytest.raises(StoreError, match="Can't replace directory with file: a"):
        overlay(with_folder.copy(), with_file)
    with pytest.raises(StoreError, match="Can't replace file with directory: a"):
        overlay(with_file, with_folder)


def test_a_tree_can_be_put_elsewhere() -> None:
    tree = Directory()
    tree.set_file("x", Checksum("1" * 64))
    assert subtree_at("/opt/app/", tree).lookup("opt/app/x") == "1" * 64
    assert subtree_at("/", tree) is tree


def test_a_stored_tree_can_be_changed(tmp_path: Path) -> None:
    repo = Repo.create(tmp_path / "repo", RepoMode.ARCHIVE, settings={"fsync": "false"})
    with repo.transaction() as transaction:
        tree = Directory()
        tree.set_file("usr/a", transaction.write_file(FileMeta(7, 7, 0o100644), b"content"))
        tree.set_file("usr/root", transaction.write_file(FileMeta(0, 0, 0o100644), b"content"))
        tree.set_file("usr/skipped", transaction.write_file(FileMeta(7, 7, 0o100644), b"skipped"))
        tree.set_file("usr/link", transaction.write_file(FileMeta(7, 7, 0o120777, (), "a"), b""))
        changed = apply_modifier(transaction, tree, Modifier(owner_uid=0, owner_gid=0, skip=["/usr/skipped"]))
        assert changed.lookup("usr/a") == changed.lookup("usr/root") == tree.lookup("usr/root")
        assert set(changed.dirs["usr"].files) == {"a", "root", "link"}
        with pytest.raises(StoreError, match="root"):
            apply_modifier(transaction, tree, Modifier(skip=["/"]))
