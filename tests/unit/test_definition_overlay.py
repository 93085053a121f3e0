"""The overlay: what may be in it, and who owns what."""

import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest
from definition_folder import SETTINGS, loaded, make, only_problem, problems
from hypothesis import given
from hypothesis import strategies as st

from ostler.definition.errors import DefinitionError
from ostler.definition.load import load
from ostler.definition.model import Ownership
from ostler.definition.patterns import compile_pattern

FILES = {
    "overlay/etc/motd": "hello",
    "overlay/etc/sudoers.d/anna": "",
    "overlay/etc/sudoers.d/README": "",
    "overlay/usr/share/web/a/b.html": "",
    "overlay/usr/share/web/c.html": "",
}


def rules(root, text):
    return loaded(root, FILES, settings=f"{SETTINGS}[overlay]\n{text}\n").overlay_rules


def test_rules_are_given_for_each_path_they_fit(tmp_path):
    found = rules(
        tmp_path,
        '"etc/sudoers.d/*" = { mode = "0440" }\n"usr/share/web/**" = { owner = "www-data", group = 33 }\n',
    )
    web = Ownership("www-data", 33, None)
    assert found == {
        "etc/sudoers.d/README": Ownership(mode=0o440),
        "etc/sudoers.d/anna": Ownership(mode=0o440),
        "usr/share/web/a": web,
        "usr/share/web/a/b.html": web,
        "usr/share/web/c.html": web,
    }


def test_a_mode_with_wildcards_is_for_files_and_one_for_a_path_is_for_that(tmp_path):
    found = rules(tmp_path, '"usr/share/web/**" = { mode = "0640" }\n"usr/share/web/a" = { mode = "0750" }')
    assert found["usr/share/web/a"].mode == 0o750
    assert found["usr/share/web/a/b.html"].mode == 0o640
    found = rules(tmp_path, '"usr/share/web/**" = { mode = "0640" }')
    assert "usr/share/web/a" not in found


def test_the_more_exact_pattern_wins_whatever_the_order(tmp_path):
    lines = [
        '"etc/**" = { owner = "a", mode = "0600" }',
        '"etc/sudoers.d/*" = { mode = "0440" }',
        '"etc/sudoers.d/anna" = { mode = "0400" }',
    ]
    for order in (lines, lines[::-1]):
        found = rules(tmp_path, "\n".join(order))
        assert found["etc/sudoers.d/anna"] == Ownership("a", None, 0o400)
        assert found["etc/sudoers.d/README"] == Ownership("a", None, 0o440)
        assert found["etc/motd"] == Ownership("a", None, 0o600)


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ('"etc/mtd" = { mode = "0440" }', "fits nothing", '"etc/motd"'),
        ('"/etc/motd" = { mode = "0440" }', "not a plain relative path", '"etc/motd"'),
        ('"etc/sudoers.d/" = { mode = "0440" }', "not a plain relative path", '"etc/sudoers.d"'),
        ('"overlay/etc/motd" = { mode = "0440" }', "begins with overlay/", '"etc/motd"'),
        ('"../x" = { mode = "0440" }', "climbs out", "without `..`"),
        ('"etc/[a" = { mode = "0440" }', "not a pattern", None),
        ('"etc/motd" = { mode = 440 }', "decimal", '"0640"'),
        ('"etc/motd" = { mode = "rw" }', "not a mode", "octal"),
        ('"etc/motd" = { mode = "0888" }', "not a mode", "octal"),
        ('"etc/motd" = { owner = "33" }', "is text", "owner = 33"),
        ('"etc/motd" = { owner = "a:b" }', "not the name of a user", "two keys"),
        ('"etc/motd" = { owner = -1 }', "cannot be the number", "0 to"),
        ('"etc/motd" = { onwer = "a" }', "unknown key `onwer` in [overlay]", "`owner`"),
        ('"etc/motd" = "0440"', "must be a table, but is text", "mode"),
        ('"etc/motd" = {}', "says nothing", "`owner`, `group`, `mode`"),
    ],
)
def test_a_wrong_rule_is_named_with_its_line(tmp_path, line, message, hint):
    problem = only_problem(tmp_path, FILES, settings=f"{SETTINGS}[overlay]\n{line}\n")
    assert problem.where == "web/ostler.toml:4"
    assert message in problem.message
    assert (hint or "") in (problem.hint or "")


def test_equally_exact_patterns_must_agree(tmp_path):
    text = '"etc/sudoers.d/a*" = { mode = "0440" }\n"etc/sudoers.d/*a" = { mode = "0400" }\n'
    problem = only_problem(tmp_path, FILES, settings=f"{SETTINGS}[overlay]\n{text}")
    assert problem.where == "web/ostler.toml:5"
    assert "a different mode" in problem.message


def test_symbolic_links_are_kept_and_have_no_mode(tmp_path):
    folder = make(tmp_path, FILES, settings=f'{SETTINGS}[overlay]\n"etc/link" = {{ owner = "a", mode = "0400" }}\n')
    (folder / "overlay/etc/link").symlink_to("/nowhere")
    with pytest.raises(DefinitionError, match="is a symbolic link, which has no mode"):
        load(folder)
    (folder / "ostler.toml").write_text(f'{SETTINGS}[overlay]\n"etc/link" = {{ owner = "a" }}\n')
    assert load(folder).overlay_rules == {"etc/link": Ownership(owner="a")}


def test_an_overlay_without_anything_in_it_is_none(tmp_path):
    folder = make(tmp_path, {"overlay/.gitkeep": ""})
    assert load(folder).overlay is None
    (folder / "overlay/etc").mkdir()
    assert load(folder).overlay == folder / "overlay"


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("usr/etc/x", "write overlay/etc"),
        ("bin/x", "write overlay/usr/bin"),
        ("lib/systemd/x", "write overlay/usr/lib"),
        ("ostree/x", "elsewhere"),
        ("run/x", "tmpfiles.d"),
        ("dev/x", "overlay/usr"),
        ("boot/x", "overlay/usr"),
        ("etc/.wh.x", "rename it"),
    ],
)
def test_what_cannot_arrive_on_a_machine_is_an_error(tmp_path, path, hint):
    problem = only_problem(tmp_path, {f"overlay/{path}": ""})
    assert problem.file.startswith("web/overlay/")
    assert hint in (problem.hint or "")


@pytest.mark.parametrize(
    ("path", "named", "why"),
    [
        ("var/lib/x", "var", "never updated"),
        ("usr/local/bin/x", "usr/local", "link to /var/usrlocal"),
        ("opt/x", "opt", "link to /var/opt"),
        ("root/.bashrc", "root", "link to /var/roothome"),
        ("etc/machine-id", "etc/machine-id", "same id"),
        ("etc/ssh/ssh_host_ed25519_key", "etc/ssh/ssh_host_ed25519_key", "private key"),
    ],
)
def test_what_would_not_update_is_warned_of_once(tmp_path, path, named, why):
    (warning,) = loaded(tmp_path, {f"overlay/{path}": "", f"overlay/{path}.pub": ""}).warnings
    assert warning.file == f"{tmp_path}/web/overlay/{named}"
    assert why in warning.message
    assert warning.hint


def test_special_files_are_errors(tmp_path):
    folder = make(tmp_path, FILES)
    os.mkfifo(folder / "overlay/etc/pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "overlay/etc/socket"))
    found = {problem.file: problem.message for problem in problems(tmp_path, FILES)}
    assert found == {
        "web/overlay/etc/pipe": "is a named pipe, which an image cannot have",
        "web/overlay/etc/socket": "is a socket, which an image cannot have",
    }


def test_names_that_are_not_utf8_are_errors(tmp_path):
    folder = make(tmp_path, FILES)
    (Path(os.fsdecode(os.fsencode(folder / "overlay/etc") + b"/caf\xe9"))).write_text("")
    problem = only_problem(tmp_path, FILES)
    assert problem.file == "web/overlay/etc/caf\\xe9"
    assert "not UTF-8" in problem.message


def test_unreadable_files_and_folders_are_errors():
    root = Path(tempfile.mkdtemp())
    folder = make(root, {**FILES, "overlay/etc/secret": "x", "overlay/etc/private/x": ""})
    (folder / "overlay/etc/secret").chmod(0)
    (folder / "overlay/etc/private").chmod(0)
    root.chmod(0o755)
    privileged = os.geteuid() == 0
    try:
        if privileged:
            os.seteuid(65534)
        with pytest.raises(DefinitionError) as caught:
            load(folder)
    finally:
        if privileged:
            os.seteuid(0)
        (folder / "overlay/etc/private").chmod(0o755)
        shutil.rmtree(root)
    found = {problem.file.removeprefix(f"{folder}/"): problem for problem in caught.value.problems}
    assert found.keys() == {"overlay/etc/secret", "overlay/etc/private"}
    assert found["overlay/etc/secret"].message == "cannot be read: Permission denied"
    assert "chmod u+r" in (found["overlay/etc/secret"].hint or "")


@pytest.mark.parametrize(
    ("pattern", "fits", "not_fits"),
    [
        ("etc/*", ["etc/a", "etc/.a"], ["etc/a/b", "etc", "xetc/a"]),
        ("etc/**", ["etc/a", "etc/a/b"], ["etc"]),
        ("**/x", ["x", "a/x", "a/b/x"], ["ax"]),
        ("a/**/x", ["a/x", "a/b/x", "a/b/c/x"], ["a/bx"]),
        ("a?c", ["abc"], ["a/c", "ac"]),
        ("[ab]*", ["a", "bx"], ["c", "a/b"]),
        ("[!ab]", ["c"], ["a", "/"]),
        ("a.b", ["a.b"], ["axb"]),
        (r"\*", ["*"], ["a"]),
    ],
)
def test_patterns(pattern, fits, not_fits):
    assert [path for path in fits + not_fits if compile_pattern(pattern).match(path)] == fits


@given(st.text(alphabet="ab/.+()^$|{}", min_size=1, max_size=10))
def test_a_pattern_without_wildcards_fits_itself_alone(path):
    assert compile_pattern(path).match(path)
    assert not compile_pattern(path).match(path + "a")
    assert not compile_pattern(path).match("a" + path)
