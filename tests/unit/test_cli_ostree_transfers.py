"""What `ostler ostree` prints about transfers, and what it reads from command line and environment for them."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.connecting import connecting_options
from ostler.cli.ostree.options import Values, parse
from ostler.cli.ostree.pull import VERB, _what
from ostler.cli.ostree.sizes import format_size
from ostler.cli.ostree.transfers import print_dry_run, print_status
from ostler.store.remotes import add_remote
from ostler.store.repo import Repo, RepoMode

NOTHING = {
    "local": False,
    "metadata_fetched": 0,
    "content_fetched": 0,
    "metadata_imported": 0,
    "content_imported": 0,
    "delta_parts": 0,
    "bytes_transferred": 0,
    "content_bytes_written": 0,
    "seconds": 0.0,
}


def status(capsys: pytest.CaptureFixture[str], **numbers: object) -> str:
    call = Call("ostree pull", "", Verb(lambda call: None, ""), Values())
    print_status(call, SimpleNamespace(**NOTHING | numbers))  # type: ignore[arg-type]
    return capsys.readouterr().out.removesuffix("\n").replace("\N{NO-BREAK SPACE}", " ")


def test_the_status_says_what_came_and_how(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(capsys, metadata_fetched=3, content_fetched=2, bytes_transferred=900, content_bytes_written=5) == (
        "3 metadata, 2 content objects fetched; 900 B transferred in 0 seconds; 5 bytes content written"
    )
    assert status(capsys, delta_parts=2, content_fetched=1, bytes_transferred=5000, seconds=2.9) == (
        "2 delta parts, 1 loose fetched; 4 KiB transferred in 2 seconds; 0 bytes content written"
    )
    assert status(capsys, local=True, metadata_imported=3, content_imported=1, content_bytes_written=5000) == (
        "3 metadata, 1 content objects imported; 5.0 kB content written"
    )
    assert status(capsys, metadata_imported=4, content_imported=7) == (
        "0 metadata, 0 content objects fetched (4 meta, 7 content local); 0 bytes content written"
    )


def test_a_dry_run_says_what_would_come(capsys: pytest.CaptureFixture[str]) -> None:
    call = Call("ostree pull", "", Verb(lambda call: None, ""), Values())
    done = SimpleNamespace(parts_fetched=0, parts_total=3, fetched_size=0, total_size=1500, total_usize=2_000_000)
    print_dry_run(call, done)  # type: ignore[arg-type]
    assert capsys.readouterr().out.replace("\N{NO-BREAK SPACE}", " ") == (
        "Delta update: 0/3 parts, 0 bytes/1.5 kB, 2.0 MB total uncompressed\n"
    )


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (999_999, "1000.0 kB"), (10**18, "1.0 EB")],
)
def test_sizes_are_those_of_glib(count: int, text: str) -> None:
    assert format_size(count).replace("\N{NO-BREAK SPACE}", " ") == text


def test_refs_are_named_behind_the_remote_or_with_it() -> None:
    commit = "a" * 64
    assert _what(["up"]) == ("up", [], {})
    assert _what(["up:main"]) == ("up", ["main"], {})
    assert _what(["up", "main", f"dev@{commit}"]) == ("up", ["main", "dev"], {"dev": commit})


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, None),
        ({"http_proxy": "http://p:1"}, "http://p:1"),
        ({"https_proxy": "http://p:1"}, None),
        ({"ALL_PROXY": "http://p:1"}, "http://p:1"),
        ({"http_proxy": "http://p:1", "no_proxy": "example.org"}, None),
        ({"http_proxy": "http://p:1", "no_proxy": ".org, nothing"}, None),
        ({"http_proxy": "http://p:1", "no_proxy": "ample.org"}, "http://p:1"),
    ],
)
def test_the_proxy_of_the_environment_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], proxy: str | None
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    repo = Repo.create(tmp_path / "repo", RepoMode.ARCHIVE)
    add_remote(repo, "up", "http://www.example.org/repo")
    add_remote(repo, "own", "http://www.example.org/repo", {"proxy": "http://own"})
    values = parse(VERB.all_options, [f"--repo={repo.path}"])
    call = Call("ostree pull", "", VERB, values)
    assert connecting_options(call, "up").proxy == proxy
    assert connecting_options(call, "own").proxy is None
