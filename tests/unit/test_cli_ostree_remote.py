"""`ostler ostree remote …`: what it does to the configuration, what it prints, how it fails."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ostler.cli.ostree import main
from ostler.store.repo import Repo, RepoMode

Run = Callable[..., str]


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    Repo.create(tmp_path / "repo", RepoMode.ARCHIVE)
    return tmp_path / "repo"


@pytest.fixture
def run(repo: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str, code: int = 0) -> str:
        actual = main(["remote", *words, f"--repo={repo}"])
        out, err = capfd.readouterr()
        assert actual == code, err
        return err if code else out

    return run


def options(repo: Path, name: str) -> dict[str, str]:
    return dict(Repo.open(repo).config.groups[f'remote "{name}"'])


def test_a_remote_is_added_with_its_options(repo: Path, run: Run) -> None:
    run("add", "--set=gpgkeypath=/keys", "--contenturl=http://c/", "--no-gpg-verify", "up", "http://u/", "main", "dev")
    assert options(repo, "up") == {
        "url": "http://u/",
        "branches": "main;dev;",
        "contenturl": "http://c/",
        "gpgkeypath": "/keys",
        "gpg-verify": "false",
    }


def test_keys_are_named_inline_or_by_file(repo: Path, run: Run) -> None:
    run("add", "--sign-verify=ed25519=inline:KEY=", "--sign-verify=dummy=file:/k", "up", "http://u/")
    assert options(repo, "up") == {
        "url": "http://u/",
        "verification-ed25519-key": "KEY=",
        "verification-dummy-file": "/k",
        "sign-verify": "ed25519,dummy",
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sign-verify=ed25519"], "Failed to parse KEYTYPE=[inline|file]:DATA in ed25519"),
        (["--sign-verify=ed25519=key"], "Invalid key reference key, expected inline|file"),
        (["--sign-verify=nothing=inline:k"], "Requested signature type is not implemented"),
        (
            ["--sign-verify=dummy=inline:k", "--no-sign-verify"],
            "Cannot specify both --sign-verify and --no-sign-verify",
        ),
        (["--set=nothing"], "Missing '=' in KEY=VALUE for --set"),
        (["--force", "--if-not-exists"], "Can only specify one of --if-not-exists and --force"),
    ],
)
def test_options_that_make_no_sense_are_refused(run: Run, words: list[str], message: str) -> None:
    assert f"error: {message}" in run("add", *words, "up", "http://u/", code=1)


def test_one_that_exists_is_kept_replaced_or_an_error(repo: Path, run: Run) -> None:
    run("add", "--no-sign-verify", "up", "http://1/")
    assert 'Remote configuration for "up" already exists: (in config)' in run("add", "up", "http://2/", code=1)
    run("add", "--if-not-exists", "up", "http://3/")
    assert options(repo, "up") == {"url": "http://1/", "gpg-verify": "false", "sign-verify": "false"}
    run("add", "--force", "up", "http://4/")
    assert options(repo, "up") == {"url": "http://4/"}


def test_remotes_are_listed_with_urls_in_a_column(run: Run) -> None:
    assert run("list") == ""
    run("add", "long-name", "http://l/")
    run("add", "a", "http://a/")
    assert run("list") == "a\nlong-name\n"
    assert run("list", "-u") == "a          http://a/\nlong-name  http://l/\n"
    assert run("show-url", "a") == "http://a/\n"


def test_deleting_takes_the_keys_too(repo: Path, run: Run) -> None:
    run("add", "up", "http://u/")
    (repo / "up.trustedkeys.gpg").touch()
    run("delete", "up")
    assert not (repo / "up.trustedkeys.gpg").exists()
    assert run("delete", "up", code=1) == 'error: Remote "up" not found\n'
    run("delete", "--if-exists", "up")


def test_a_remote_of_another_program_needs_no_url(repo: Path, run: Run) -> None:
    run("add", "--custom-backend=containers", "up")
    assert run("show-url", "up", code=1) == 'error: No "url" option in remote "up"\n'


def test_without_arguments_the_help_is_shown(run: Run) -> None:
    for verb in ("show-url", "delete", "list-cookies", "gpg-import"):
        said = run(verb, code=1)
        assert said.startswith(f"Usage:\n  ostree remote {verb} [OPTION…] NAME")
        assert said.endswith("error: NAME must be specified\n")
    assert run("add", "up", code=1).endswith("error: NAME and URL must be specified\n")


def test_cookies_are_added_listed_and_deleted(repo: Path, run: Run) -> None:
    run("add", "up", "http://u/")
    run("add-cookie", "up", ".example.org", "/", "name", "value")
    run("add-cookie", "up", "example.org", "/p", "other", "thing")
    listed = run("list-cookies", "up").splitlines()
    assert listed[:5] == ["--", "Domain: .example.org", "Path: /", "Name: name", "Secure: FALSE"]
    assert listed[5].startswith("Expires: ")
    assert listed[6] == "Value: value"
    assert len(listed) == 14
    run("delete-cookie", "up", ".example.org", "/", "name")
    assert run("delete-cookie", "up", ".example.org", "/", "name", code=1) == "error: Cookie not found in jar\n"
    jar = repo / "up.cookies.txt"
    assert jar.read_text().split("\t")[:4] == ["example.org", "FALSE", "/p", "FALSE"]
    assert jar.stat().st_mode & 0o077 == 0


def test_a_cookie_cannot_smuggle_in_another(run: Run) -> None:
    assert "line breaks" in run("add-cookie", "up", "h", "/", "name", "v\nh\tTRUE\t/\tFALSE\t0\tx\ty", code=1)
