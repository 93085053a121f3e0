"""The folder that `ostler init` makes."""

import re

import pytest
from definition_folder import KEY

from ostler.definition.errors import DefinitionError
from ostler.definition.load import load
from ostler.definition.schema import all_keys
from ostler.definition.template import new_folder


def test_it_loads_without_a_remark_and_has_the_key(tmp_path):
    written = new_folder(tmp_path / "web", "web", KEY + "\n")
    web = load(tmp_path / "web")
    assert (web.name, web.keys, web.warnings) == ("web", {"root": (KEY,)}, ())
    assert set(written) == {path for path in (tmp_path / "web").rglob("*") if path.is_file()}
    assert web.packages_install == web.units_enable == ()
    assert "web" in (tmp_path / "web/overlay/etc/motd").read_text()
    assert "/build/" in (tmp_path / "web/.gitignore").read_text().splitlines()


def test_its_examples_work_once_uncommented(tmp_path):
    new_folder(tmp_path / "web", "web", KEY)
    (tmp_path / "web/overlay/etc/sudoers.d").mkdir()
    (tmp_path / "web/overlay/etc/sudoers.d/x").write_text("")
    for name in ("ostler.toml", "packages/install.txt", "systemd/enable.txt", "systemd/disable.txt"):
        path = tmp_path / "web" / name
        pattern = r"(?m)^# (?=[a-z-]+ = |\"|  \"|\]|[a-z.-]+$)"
        path.write_text(re.sub(pattern, "", path.read_text()))
    web = load(tmp_path / "web")
    assert (web.version, len(web.mirrors), web.boot.kernel) == ("1.0", 2, "linux-image-cloud-amd64")
    assert web.update.url == "https://updates.example.org/web"
    assert web.overlay_rules["etc/sudoers.d/x"].mode == 0o440
    assert [item.name for item in (*web.packages_install, *web.units_enable)] == ["nginx", "nginx.service"]


def test_it_shows_every_key_of_the_reference(tmp_path):
    new_folder(tmp_path / "web", "web", None)
    text = (tmp_path / "web/ostler.toml").read_text()
    for table, key in all_keys():
        assert table.entry or re.search(rf"(?m)^(# )?{key.name} = ", text) or key.name == "filesystem"


def test_without_a_key_there_is_no_key_file(tmp_path):
    new_folder(tmp_path / "web", "web", None)
    assert not (tmp_path / "web/keys").exists()


def test_a_key_is_written_as_it_is(tmp_path):
    key = KEY.replace("me@example", "NAME")
    new_folder(tmp_path / "web", "web", key)
    assert load(tmp_path / "web").keys == {"root": (key,)}


def test_an_empty_folder_is_used(tmp_path):
    new_folder(tmp_path, "web", KEY)
    assert load(tmp_path).name == "web"


def test_a_folder_with_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(DefinitionError, match="has files in it; nothing was written"):
        new_folder(tmp_path, "web", KEY)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]
    new_folder(tmp_path / "web", "web", KEY)
    with pytest.raises(DefinitionError) as caught:
        new_folder(tmp_path / "web", "web", KEY)
    assert "machine folder already" in (caught.value.hint or "")
    with pytest.raises(DefinitionError, match="is not a folder"):
        new_folder(tmp_path / "notes", "web", KEY)


@pytest.mark.parametrize(
    ("name", "key", "message"),
    [
        ("My Web", KEY, "cannot be the name of a machine"),
        ("web", "-----BEGIN OPENSSH PRIVATE KEY-----", "not a type of ssh public key"),
        ("web", KEY[:40], "damaged"),
    ],
)
def test_a_wrong_name_or_key_is_refused_with_nothing_written(tmp_path, name, key, message):
    with pytest.raises(DefinitionError, match=message):
        new_folder(tmp_path / "web", name, key)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_halfway_leaves_nothing_behind(tmp_path, monkeypatch):
    from pathlib import Path

    real = Path.write_text

    def full(self, text, **options):
        if self.name == "motd":
            raise OSError(28, "No space left on device")
        return real(self, text, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        new_folder(tmp_path / "a" / "web", "web", KEY)
    assert list(tmp_path.iterdir()) == []
