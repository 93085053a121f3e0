"""Loading machine folders: what good ones mean, and what is said of bad ones."""

import itertools
import random
from pathlib import Path

import pytest
from definition_folder import KEY, SETTINGS, loaded, make, only_problem, problems
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ostler.definition.errors import DefinitionError
from ostler.definition.load import load
from ostler.definition.model import Boot, Disk, Mirror, Update
from ostler.definition.schema import TABLES
from ostler.errors import ExitCode
from ostler.io.progress import Warning

EVERYTHING = {
    "": 'version = "2.1"\nmirror = ["https://debian.example.org/debian/", '
    '"deb https://debian.example.org/security trixie-security main contrib"]\n',
    "boot": 'kernel = "linux-image-cloud-amd64"\nkernel-arguments = ["console=ttyS0", "quiet"]\n',
    "disk": 'size = "8GiB"\nfilesystem = "ext4"\n',
    "update": 'from = "https://updates.example.org/web"\nref = "web/testing"\nkeep = 3\n',
    "publish": 'to = "/srv/www/web"\n',
    "overlay": '"etc/motd" = { mode = "0640", owner = "www-data", group = 4 }\n',
}


def test_name_and_base_are_enough(tmp_path):
    web = loaded(tmp_path)
    assert (web.name, str(web.base), web.version, web.mirrors) == ("web", "debian:trixie", None, ())
    assert web.boot == Boot("linux-image-amd64", ())
    assert web.disk == Disk("auto", "ext4")
    assert web.update == Update(None, None, None, "web/stable", 2)
    assert web.publish.to == tmp_path / "web" / "build" / "www"
    assert (web.packages_install, web.units_enable, web.overlay, web.containerfile, web.context) == (
        (),
        (),
        None,
        None,
        (),
    )
    assert web.keys == {"root": (KEY,)}
    assert web.warnings == ()
    assert web.lock_path == tmp_path / "web" / "ostler.lock"


def everything(order=tuple(EVERYTHING)):
    parts = {"": SETTINGS + EVERYTHING[""], **{name: f"[{name}]\n{EVERYTHING[name]}" for name in EVERYTHING if name}}
    return "\n".join(parts[name] for name in ("", *(name for name in order if name)))


def test_every_key_arrives(tmp_path):
    web = loaded(tmp_path, {"overlay/etc/motd": "hello"}, settings=everything())
    assert web.version == "2.1"
    assert web.mirrors == (
        Mirror("https://debian.example.org/debian", "trixie", ("main",)),
        Mirror("https://debian.example.org/security", "trixie-security", ("main", "contrib")),
    )
    assert web.mirrors[1].source_line == "deb https://debian.example.org/security trixie-security main contrib"
    assert web.boot == Boot("linux-image-cloud-amd64", ("console=ttyS0", "quiet"))
    assert web.disk == Disk(8 * 1024**3, "ext4")
    assert web.update == Update(
        "https://updates.example.org/web", "https://updates.example.org/web", None, "web/testing", 3
    )
    assert web.publish.to == Path("/srv/www/web")
    rule = web.overlay_rules["etc/motd"]
    assert (rule.owner, rule.group, rule.mode) == ("www-data", 4, 0o640)


def test_the_order_of_tables_and_keys_does_not_matter(tmp_path):
    first = loaded(tmp_path, {"overlay/etc/motd": "hello"}, settings=everything())
    shuffle = random.Random(1)
    for _ in range(5):
        tables = shuffle.sample([name for name in EVERYTHING if name], 5)
        lines = everything(tables).split("\n\n")
        assert loaded(tmp_path, settings="\n\n".join(lines)) == first
    dotted = everything().replace("[disk]\n", "").replace('size = "8GiB"\nfilesystem = "ext4"\n', "")
    assert loaded(tmp_path, settings='disk.filesystem = "ext4"\ndisk.size = "8GiB"\n' + dotted) == first


@pytest.mark.parametrize(
    ("settings", "line", "message", "hint"),
    [
        (
            '[boot]\nkernel_arguments = ["a"]',
            4,
            "unknown key `kernel_arguments` in [boot]",
            "did you mean `kernel-arguments`?",
        ),
        ('[boot]\nkernl = "a"', 4, "unknown key `kernl` in [boot]", "did you mean `kernel`?"),
        ("keep = 3", 3, "unknown key `keep`", "`keep` belongs in [update]"),
        ('[disk]\nversion = "1"', 4, "unknown key `version` in [disk]", "`version` belongs at the top of the file"),
        ("[disk]\nkeep = 3", 4, "unknown key `keep` in [disk]", "`keep` belongs in [update]"),
        ("[updates]\nkeep = 3", 3, "unknown table [updates]", "did you mean [update]?"),
        ("Boot = 1", 3, "unknown key `Boot`", "did you mean [boot]?"),
        ("[zzz]", 3, "unknown table [zzz]", "known here: `name`, `base`"),
        ("zzz = 1", 3, "unknown key `zzz`", "[overlay]"),
        ('mirrors = "x"', 3, "unknown key `mirrors`", "did you mean `mirror`?"),
        ("boot = 1", 3, "`boot` must be a table, but is a number", "write [boot]"),
        ("[[boot]]", 3, "`boot` must be a table, but is a list", "single brackets"),
        ("[boot.kernel]\na = 1", 3, "`kernel` must be text, but is a table", 'kernel = "linux-image'),
        ("version = 2", 3, "`version` must be text, but is a number", 'version = "2"'),
        ('version = "a b"', 3, '"a b" cannot be a version', "letters"),
        ('version = ""', 3, "`version` is empty", "remove the line"),
        ('[boot]\nkernel = "linux=1"', 4, "asks for a version", "write `linux`"),
        ('[boot]\nkernel-arguments = "quiet"', 4, "must be a list, but is text", '["quiet"]'),
        ('[boot]\nkernel-arguments = [\n "a",\n "b c",\n]', 6, '"b c" is 2 kernel arguments', '["b", "c"]'),
        ('[boot]\nkernel-arguments = ["a\\nb"]', 4, "has a line break", None),
        ('[boot]\nkernel-arguments = ["root=/dev/sda"]', 4, "`root=` cannot be set here: Ostler sets it", "remove it"),
        ('[boot]\nkernel-arguments = ["ostree=/x"]', 4, "`ostree=` cannot be set here", "remove it"),
        ('[boot]\nkernel-arguments = ["a", "a"]', 4, '"a" is given twice', "line 4"),
        ('[boot]\nkernel-arguments = ["a", 1]', 4, "`kernel-arguments` must be text, but is a number", None),
        ('[disk]\nsize = "large"', 4, '"large" is not a size', '"8GiB"'),
        ('[disk]\nsize = "8"', 4, '"8" is not a size', "units"),
        ("[disk]\nsize = 8", 4, "the size 8 has no unit", '"8GiB"'),
        ('[disk]\nsize = "1K"', 4, "smaller than 1 MiB", None),
        ('[disk]\nsize = "9999999T"', 4, "larger than", None),
        ('[disk]\nfilesystem = "xfs"', 4, '"xfs" is not supported', 'filesystem = "ext4"'),
        ("[update]\nkeep = 1", 4, "nothing to go back to", "2 or more"),
        ("[update]\nkeep = true", 4, "must be a whole number", "keep = 2"),
        ('[update]\nkeep = "2"', 4, "must be a whole number, but is text", "keep = 2"),
        ('[update]\nref = "web stable"', 4, '"web stable" cannot be a ref', "letters"),
        ('[update]\nref = "origin:web"', 4, "names a remote", 'ref = "web"'),
        ('[update]\nfrom = "docker://example.org/web"', 4, "registry are not supported yet", "ostler publish"),
        ('[update]\nfrom = "s3://bucket"', 4, "s3: addresses are not supported", "https://"),
        ('[update]\nfrom = "updates.example.org/web"', 4, "a server or a folder", "https://updates.example.org/web"),
        ('[update]\nfrom = "localhost:8000"', 4, "a server or a folder", "https://localhost:8000"),
        ('[update]\nfrom = "me@host:/srv"', 4, "neither an address nor a folder", None),
        ('[update]\nfrom = "https://"', 4, "has no server", None),
        ('[update]\nfrom = "https://x/?a=b"', 4, "query", None),
        ('[update]\nfrom = "https://x:99999/"', 4, "not an address", None),
        ('[update]\nfrom = "file://host/x"', 4, "not file:///PATH", None),
        ('[update]\nfrom = "~/www"', 4, "`~` is not expanded", "whole path"),
        ('[publish]\nto = "https://x/"', 4, "cannot publish over HTTP", "folder"),
        ('[publish]\nto = "ssh://x/"', 4, "names no folder", "ssh://USER@HOST"),
        ('[publish]\nto = "ftp://x/y"', 4, "not supported here", "s3://"),
        ('[publish]\nendpoint = "s3.example.org"', 4, "is not an address", "https://"),
        ('mirror = "debian.example.org"', 3, "is not an address", "http://"),
        ('mirror = ["deb https://x/ trixie"]', 3, "lacks an address, a suite or a component", "deb URL SUITE main"),
        ('mirror = [\n"deb [trusted=yes] https://x/ trixie main"]', 4, "options", "brackets"),
        ('mirror = "deb-src https://x/ trixie main"', 3, "source packages", None),
        ("mirror = 7", 3, "must be text or a list", None),
    ],
)
def test_a_wrong_value_is_named_with_its_line_and_what_to_write(tmp_path, settings, line, message, hint):
    problem = only_problem(tmp_path, settings=SETTINGS + settings + "\n")
    assert problem.where == f"web/ostler.toml:{line}"
    assert message in problem.message
    assert (hint or "") in (problem.hint or "")


@pytest.mark.parametrize(
    ("base", "message", "hint"),
    [
        ("debian:trixy", "no suite", "debian:trixie"),
        ("debian:13", "no suite", "debian:trixie"),
        ("debian", "not a base", "debian:trixie"),
        ("trixie", "not a base", "debian:trixie"),
        ("debian:bookworm", 'suite "bookworm" is not supported', "debian:trixie"),
        ("debian:", "no suite", "debian:trixie"),
        ("fedora:43", "not a base", "not supported yet"),
        ("docker://example.org/base", "images are not supported as a base yet", "debian:trixie"),
        ("oci:../base", "images are not supported as a base yet", "debian:trixie"),
    ],
)
def test_a_wrong_base_is_told_from_one_that_is_not_supported_yet(tmp_path, base, message, hint):
    problem = only_problem(tmp_path, settings=f'name = "web"\n\nbase = "{base}"\n')
    assert problem.where == "web/ostler.toml:3"
    assert message in problem.message
    assert hint in (problem.hint or "")


@pytest.mark.parametrize(
    ("name", "hint"), [("Web_1", '"web-1"'), ("-web", '"web"'), ("a" * 64, "63"), ("wéb", '"w-b"'), ("a.b", '"a-b"')]
)
def test_a_wrong_machine_name_comes_with_a_right_one(tmp_path, name, hint):
    problem = only_problem(tmp_path, settings=f'base = "debian:trixie"\nname = "{name}"\n')
    assert problem.where == "web/ostler.toml:2"
    assert hint in (problem.hint or "")


def test_missing_keys_say_what_to_write_or_what_was_meant(tmp_path):
    assert [(p.message, p.hint) for p in problems(tmp_path, settings="")] == [
        ("`name` is missing", 'write name = "web"'),
        ("`base` is missing", 'write base = "debian:trixie"'),
    ]
    found = problems(tmp_path, settings='[disk]\nname = "web"\n[boot]\nbase = "debian:trixie"\n')
    assert "line 2 is in [disk]" in (found[0].hint or "")
    assert "line 4 is in [boot]" in (found[1].hint or "")


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    folder = make(
        tmp_path,
        {
            "packages/install.txt": "nginx=1.2\n",
            "systemd/enable.txt": "nginx\n",
            "keys/root": "nonsense\n",
            "Containerfile": "FROM debian\n",
            "overlay/usr/etc/x": "",
        },
        settings='[boot]\nx = 1\n[disk]\nsize = 1\nname = "web"\n',
    )
    with pytest.raises(DefinitionError) as caught:
        load(folder)
    assert caught.value.exit_code == ExitCode.DEFINITION
    found = caught.value.problems
    assert {problem.file.removeprefix(f"{folder}/") for problem in found} == {
        "ostler.toml", "packages/install.txt", "systemd/enable.txt", "keys/root", "Containerfile", "overlay/usr/etc",
    }  # fmt: skip
    for _file, group in itertools.groupby(found, lambda problem: problem.file):
        lines = [problem.line or 0 for problem in group]
        assert lines == sorted(lines)


def test_a_syntax_error_does_not_hide_what_else_is_wrong(tmp_path):
    found = problems(tmp_path, {"packages/install.txt": "a b\n"}, settings="name = web\n")
    assert [problem.file for problem in found] == ["web/ostler.toml", "web/packages/install.txt"]


def test_a_single_problem_has_its_advice_as_the_hint_of_the_error(tmp_path):
    with pytest.raises(DefinitionError) as caught:
        load(make(tmp_path, settings=SETTINGS + "[boot]\nkernel_arguments = []\n"))
    assert caught.value.message == f"{tmp_path}/web/ostler.toml:4: unknown key `kernel_arguments` in [boot]"
    assert caught.value.hint == "did you mean `kernel-arguments`?"


def test_files_are_named_as_the_user_named_the_folder(tmp_path, monkeypatch):
    folder = make(tmp_path, settings="")
    monkeypatch.chdir(folder)
    with pytest.raises(DefinitionError, match=r"^ostler\.toml: "):
        load(Path())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DefinitionError, match=r"^web/ostler\.toml: "):
        load(Path("web"))


def test_what_is_no_machine_folder_is_said_so(tmp_path):
    with pytest.raises(DefinitionError, match="does not exist") as caught:
        load(tmp_path / "nowhere")
    assert "ostler init" in (caught.value.hint or "")
    with pytest.raises(DefinitionError, match="no machine folder") as caught:
        load(tmp_path)
    assert "-C" in (caught.value.hint or "")
    (tmp_path / "Ostler.toml").write_text("")
    with pytest.raises(DefinitionError) as caught:
        load(tmp_path)
    assert "Ostler.toml" in (caught.value.hint or "")
    (tmp_path / "file").write_text("")
    with pytest.raises(DefinitionError, match="is not a folder"):
        load(tmp_path / "file")


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("10G", 10 * 1024**3),
        ("1.5GiB", 1536 * 1024**2),
        ("10GB", 10**10 // 1024**2 * 1024**2),
        ("512 MiB", 512 * 1024**2),
        ("2T", 2 * 1024**4),
        ("auto", "auto"),
    ],
)
def test_sizes(tmp_path, size, expected):
    assert loaded(tmp_path, settings=f'{SETTINGS}[disk]\nsize = "{size}"\n').disk.size == expected


def test_where_updates_come_from_decides_where_they_are_published(tmp_path):
    def both(text):
        web = loaded(tmp_path, settings=f"{SETTINGS}{text}\n")
        return web.update.url, web.publish.to, [warning.message for warning in web.warnings]

    assert both('[update]\nfrom = "https://x/y"') == ("https://x/y", tmp_path / "web/build/www", [])
    assert both('[update]\nfrom = "/mnt/u p"') == ("file:///mnt/u%20p", Path("/mnt/u p"), [])
    assert both('[update]\nfrom = "file:///mnt/u%20p"') == ("file:///mnt/u%20p", Path("/mnt/u p"), [])
    url, to, warnings = both('[update]\nfrom = "../www"')
    assert (url, to) == (None, tmp_path / "web" / "../www")
    assert "cannot update from by themselves" in warnings[0]
    assert both('[publish]\nto = "file:///srv/x"')[1] == Path("/srv/x")
    assert both('[publish]\nto = "out"')[1] == tmp_path / "web" / "out"
    assert both('[publish]\nto = "ssh://me@host/srv/x"')[1] == "ssh://me@host/srv/x"
    assert both('[publish]\nto = "s3://updates/web"\nregion = "eu-1"')[1] == "s3://updates/web"


def test_a_password_in_an_address_is_warned_of(tmp_path):
    web = loaded(tmp_path, settings=f'{SETTINGS}mirror = "https://me:secret@x/debian"\n')
    assert [(w.line, w.message) for w in web.warnings] == [(3, "`mirror` has a password in it")]


def test_files_that_do_nothing_are_warned_of(tmp_path):
    files = {
        "Dockerfile": "FROM base\n", "first.bu": "", "secrets/x": "", "package/install.txt": "",
        "packages/instal.txt": "",
        "packages/install.txt": "", "systemd/README.md": "", "systemd/enable.txt~": "",
    }  # fmt: skip
    heard = []
    web = load(make(tmp_path, files), report=heard.append)
    told = {w.file.removeprefix(f"{tmp_path}/web/"): w.hint or "" for w in web.warnings}
    assert told.keys() == {"Dockerfile", "first.bu", "secrets", "packages/instal.txt"}
    assert "Containerfile" in told["Dockerfile"]
    assert "packages/install.txt" in told["packages/instal.txt"]
    assert heard == [Warning(str(warning), warning.hint) for warning in web.warnings]


def test_a_machine_without_keys_is_warned_of(tmp_path):
    web = loaded(tmp_path, {"keys/root": "# none\n"})
    assert web.keys == {}
    assert "nobody will be able to log in" in web.warnings[0].message


NAMES = st.sampled_from(
    [key.name for table in TABLES for key in table.keys] + [t.name for t in TABLES if t.name] + ["x"]
)
VALUES = st.recursive(
    st.sampled_from(["1", '"x"', '"a b"', '""', "true", "1.5", "1979-05-27", '"debian:trixie"', '"https://x"', "-1"]),
    lambda inner: (
        st.lists(inner, max_size=2).map(lambda found: f"[{', '.join(found)}]")
        | st.tuples(NAMES, inner).map(lambda pair: f"{{ {pair[0]} = {pair[1]} }}")
    ),
    max_leaves=3,
)
LINES = st.lists(st.one_of(st.builds("{} = {}".format, NAMES, VALUES), NAMES.map("[{}]".format)), max_size=6)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES)
def test_any_settings_load_or_are_refused_with_files_and_lines(tmp_path, lines):
    folder = make(tmp_path, settings="\n".join(lines) + "\n")
    try:
        load(folder)
    except DefinitionError as error:
        assert all(problem.file == str(folder / "ostler.toml") for problem in error.problems)
        assert all(problem.line is not None or "missing" in problem.message for problem in error.problems)
