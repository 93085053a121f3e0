"""List files and ssh keys."""

import base64

import pytest
from definition_folder import KEY, loaded, only_problem, problems
from hypothesis import given
from hypothesis import strategies as st

from ostler.definition.keys import check_key_line
from ostler.definition.names import check_package_name, check_unit_name

BLOB = KEY.split()[1]


def key(kind, *more):
    strings = [kind.encode(), *(more or (b"x" * 32,))]
    blob = b"".join(len(one).to_bytes(4, "big") + one for one in strings)
    return f"{kind} {base64.b64encode(blob).decode()}"


def test_comments_blank_lines_and_blanks_mean_nothing(tmp_path):
    text = "\n# a comment\n  nginx\t# the web server\n\n\ttree  \r\nlibstdc++6\n"
    web = loaded(tmp_path, {"packages/install.txt": text})
    assert [(item.name, item.line) for item in web.packages_install] == [("nginx", 3), ("tree", 5), ("libstdc++6", 6)]
    assert web.packages_install[0].file == f"{tmp_path}/web/packages/install.txt"


@pytest.mark.parametrize("text", ["", "\n\n", "# only\n#comments\n", "\ufeff"])
def test_an_empty_list_means_nothing_to_do(tmp_path, text):
    names = ("packages/install.txt", "packages/remove.txt", "systemd/enable.txt", "systemd/disable.txt")
    web = loaded(tmp_path, dict.fromkeys(names, text))
    assert (web.packages_install, web.packages_remove, web.units_enable, web.units_disable) == ((), (), (), ())


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("nginx=1.2", "asks for a version", "write `nginx`: versions are pinned by ostler.lock"),
        ("nginx (>= 1.2)", "asks for a version", "write `nginx`"),
        ("nginx vim", "2 packages on one line", "nginx, vim"),
        ("nginx, vim", "2 packages on one line", "nginx, vim"),
        ("nginx/trixie-backports", "asks for a release", "write `nginx`"),
        ("./nginx.deb", "names a file", "write"),
        ("nginx:amd64", "asks for an architecture", "write `nginx`"),
        ("nginx-", "ends with `-`", "`nginx` in packages/remove.txt"),
        ("Nginx", "lower case", "write `nginx`"),
        ("python3_yaml", "`_` is not allowed", "write `python3-yaml`"),
        ("lib*", "is a pattern", "full name"),
        ("-nginx", "is not the name of a package", "at least two"),
        ("x", "is not the name of a package", "at least two"),
        ("wéb", "is not the name of a package", "lower-case letters"),
    ],
)
def test_what_is_no_package_name_is_explained(tmp_path, line, message, hint):
    problem = only_problem(tmp_path, {"packages/install.txt": f"# list\n{line}\n"})
    assert problem.where == "web/packages/install.txt:2"
    assert message in problem.message
    assert hint in (problem.hint or "")


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("nginx", "no unit suffix", "write `nginx.service`"),
        ("nginx.servce", "no unit suffix", "write `nginx.service`"),
        ("php8.4-fpm", "no unit suffix", "write `php8.4-fpm.service`"),
        ("a.service b.timer", "2 units", "a.service, b.timer"),
        ("/usr/lib/systemd/system/a.service", "is a path", "`a.service`"),
        ("a b\u00e9.service", "2 units", None),
        ("\u00e9.service", "not the name of a unit", "letters"),
        (".service", "not the name of a unit", "letters"),
    ],
)
def test_what_is_no_unit_name_is_explained(tmp_path, line, message, hint):
    problem = only_problem(tmp_path, {"systemd/disable.txt": f"{line}\n"})
    assert problem.where == "web/systemd/disable.txt:1"
    assert message in problem.message
    assert (hint or "") in (problem.hint or "")


@pytest.mark.parametrize(
    "name", ["a.service", "getty@tty1.service", "getty@.service", "dev-disk-by\\x2dlabel.swap", "x.y.timer"]
)
def test_unit_names(name):
    assert check_unit_name(name) is None


@given(st.from_regex(r"[a-z0-9][a-z0-9+.-]{0,10}[a-z0-9+.]\Z", fullmatch=True))
def test_package_names(name):
    assert check_package_name(name) is None


def test_a_name_twice_says_where_it_was_first(tmp_path):
    problem = only_problem(tmp_path, {"packages/remove.txt": "vim\n\nvim # again\n"})
    assert (problem.where, problem.hint) == ("web/packages/remove.txt:3", "line 1 has it already")


def test_a_name_in_opposite_lists_says_where_the_other_is(tmp_path):
    files = {"packages/install.txt": "a1\nvim\n", "packages/remove.txt": "#\nvim\n"}
    problem = only_problem(tmp_path, files)
    assert problem.where == "web/packages/remove.txt:2"
    assert problem.message.endswith("web/packages/install.txt:2")
    files = {"systemd/enable.txt": "a.timer\n", "systemd/disable.txt": "a.timer\n"}
    assert "web/systemd/disable.txt:1" in [problem.where for problem in problems(tmp_path, files)]


def test_a_list_that_is_no_text_or_no_file_is_an_error(tmp_path):
    assert only_problem(tmp_path, {"packages/install.txt": b"a1\n\xff\n"}).where == "web/packages/install.txt:2"
    assert "must be a file" in only_problem(tmp_path / "1", {"packages/install.txt/x": ""}).message
    found = problems(tmp_path / "2", {"systemd": ""})
    assert {(problem.file, problem.message) for problem in found} == {
        ("web/systemd", "must be a folder, but is a file")
    }


def test_keys_are_kept_line_by_line_with_their_options(tmp_path):
    lines = [
        KEY,
        f'no-pty,command="echo \\"hi there\\"" {KEY}2',
        key("ssh-rsa", b"e", b"n"),
        key("sk-ssh-ed25519@openssh.com"),
    ]
    text = "# mine\n\n" + "\n".join(f"  {line}" for line in lines) + "\n"
    web = loaded(tmp_path, {"keys/root": text, "keys/anna": KEY, "keys/.gitkeep": "", "keys/empty": "\n"})
    assert web.keys == {"root": tuple(lines), "anna": (KEY,)}


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("hello", "not a type of ssh public key", "ssh-ed25519 AAAA"),
        (f"ssh-ed25591 {BLOB}", "not a type", "`ssh-ed25519`"),
        (BLOB, "not a type", None),
        ("ssh-ed25519", "the key is missing", "a line has"),
        ("ssh-ed25519 AAAA!", "not base64", "whole line"),
        (f"ssh-ed25519 {BLOB[:-8]}", "cut off", "whole line"),
        (f"ssh-rsa {BLOB}", "says `ssh-rsa`, but the key is `ssh-ed25519`", "whole line"),
        (key("ssh-dss"), "DSA", "ed25519"),
        ("---- BEGIN SSH2 PUBLIC KEY ----", "another form", "ssh-keygen -i"),
    ],
)
def test_what_is_no_public_key_is_explained(tmp_path, line, message, hint):
    problem = only_problem(tmp_path, {"keys/root": f"{KEY}\n{line}\n"})
    assert problem.where == "web/keys/root:2"
    assert message in problem.message
    assert (hint or "") in (problem.hint or "")


@pytest.mark.parametrize(
    "first",
    ["-----BEGIN OPENSSH PRIVATE KEY-----", "-----BEGIN RSA PRIVATE KEY-----", "PuTTY-User-Key-File-3: ssh-ed25519"],
)
def test_a_private_key_is_shouted_about_and_not_repeated(tmp_path, first):
    problem = only_problem(tmp_path, {"keys/root": f"{first}\nSECRETSECRET\n"})
    assert problem.where == "web/keys/root:1"
    assert problem.message.startswith("THIS IS A PRIVATE KEY")
    assert "SECRET" not in f"{problem} {problem.hint}"


def test_key_files_are_named_for_users(tmp_path):
    problem = only_problem(tmp_path, {"keys/root.pub": KEY})
    assert problem.where == "web/keys/root.pub"
    assert "keys/root" in (problem.hint or "")
    assert "must be a file" in only_problem(tmp_path / "1", {"keys/anna/x": KEY}).message
    twice = only_problem(tmp_path / "2", {"keys/root": f"{KEY}\n{KEY}\n"})
    assert (twice.where, twice.hint) == ("web/keys/root:2", "line 1 has it already")


@given(st.text(max_size=40))
def test_any_line_is_a_key_or_explained(line):
    if line.strip():
        complaint = check_key_line(line.strip())
        assert complaint is None or complaint.message
