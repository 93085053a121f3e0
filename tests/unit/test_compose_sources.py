"""Which archives a base comes from."""

from pathlib import Path

from ostler.compose.sources import Source, archives_for, builder_archives, derive, parse_deb822, parse_one_line

RELEASE = 'ID=debian\nVERSION_CODENAME="bookworm"\n'


def test_one_line_sources_with_options_and_comments():
    text = (
        "# deb http://no/ x main\ndeb [signed-by=/k arch=amd64] http://m/debian/ bookworm main contrib # why\n"
        "deb-src http://m s main\n"
    )
    assert parse_one_line(text) == [Source("http://m/debian", "bookworm", ("main", "contrib"))]


def test_deb822_sources_multiply_uris_and_suites_and_respect_enabled():
    text = (
        "Types: deb\nURIs: http://a http://b/\nSuites: x x-updates\nComponents: main\n\n"
        "Types: deb\nEnabled: no\nURIs: http://c\nSuites: x\nComponents: main\n\n"
        "Types: deb-src\nURIs: http://d\nSuites: x\n"
    )
    assert [(s.uri, s.suite) for s in parse_deb822(text)] == [
        ("http://a", "x"), ("http://a", "x-updates"), ("http://b", "x"), ("http://b", "x-updates"),
    ]  # fmt: skip


def test_a_malformed_deb822_file_has_no_sources():
    assert parse_deb822(" starts with a continuation\n") == []


def test_suites_are_rewritten_and_foreign_sources_ignored():
    found = derive(
        [
            Source("http://vendor/apt", "nodistro", ("main",)),
            Source("http://m/debian", "bookworm", ("main", "contrib")),
            Source("http://m/debian-security", "bookworm-security", ("main",)),
        ],
        "bookworm",
        "trixie",
    )
    assert [(a.uri, a.suite, a.components) for a in found] == [
        ("http://m/debian", "trixie", ("main",)),
        ("http://m/debian", "trixie-updates", ("main",)),
        ("http://m/debian-security", "trixie-security", ("main",)),
    ]


def test_unstable_has_one_archive_only():
    found = derive([Source("http://m/debian", "bookworm", ("main",))], "bookworm", "sid")
    assert [a.suite for a in found] == ["sid"]


def test_the_builders_sources_are_read_from_all_files(tmp_path: Path):
    parts = tmp_path / "apt" / "sources.list.d"
    parts.mkdir(parents=True)
    mirrors = tmp_path / "mirrors.list"
    mirrors.write_text("# first\nhttp://cloud/debian/\n")
    (parts / "debian.sources").write_text(
        f"Types: deb\nURIs: mirror+file:{mirrors}\nSuites: bookworm bookworm-updates\nComponents: main\n"
    )
    (parts / "security.list").write_text("deb http://cloud/security bookworm-security main\n")
    (parts / "README").write_text("deb http://wrong bookworm main\n")
    release = tmp_path / "os-release"
    release.write_text(RELEASE)
    found = builder_archives("trixie", apt=tmp_path / "apt", release=release)
    assert {(a.uri, a.suite) for a in found} == {
        ("http://cloud/debian", "trixie"),
        ("http://cloud/debian", "trixie-updates"),
        ("http://cloud/security", "trixie-security"),
    }


def test_a_builder_that_is_no_debian_has_none(tmp_path: Path):
    release = tmp_path / "os-release"
    release.write_text("ID=fedora\n")
    assert builder_archives("trixie", apt=tmp_path, release=release) == []


def test_archives_named_in_the_folder_win_and_get_distinct_names():
    named = [Source("file:///a/", "trixie", ("main",)), Source("http://own", "trixie", ("main",))]
    assert [(a.name, a.uri) for a in archives_for("trixie", named)] == [
        ("trixie", "file:///a"),
        ("trixie-2", "http://own"),
    ]
