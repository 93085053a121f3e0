"""The parts that publishing is made of: signatures of requests, histories, objects in archive form, settings."""

import socket
import subprocess
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest
from sample_trees import add_commit, file_checksum, make_repo, object_file, sample_files

from ostler.cli.aws import s3_options
from ostler.errors import CorruptError, NotFoundError, OstlerError
from ostler.formats.objects import Checksum, ObjectType
from ostler.io.conversation import Conversation
from ostler.io.process import CommandError
from ostler.publish.archive_form import IN_MEMORY, archive_path, archived, in_order
from ostler.publish.destination import PublishError, RefChange
from ostler.publish.folder import FolderDestination
from ostler.publish.history import encode_history, histories_after, history_path, parse_history
from ostler.publish.s3 import S3Destination
from ostler.publish.s3_client import S3Client, S3Options, _parse_error, _parse_listing
from ostler.publish.sequence import PublishOptions, publish
from ostler.publish.sigv4 import Credentials, canonical_path, canonical_query, signed_headers
from ostler.publish.ssh import SshDestination
from ostler.store.content import RepoMode
from ostler.store.fsck import fsck
from ostler.store.reach import reachable
from ostler.store.repo import Repo

A, B, C = (Checksum(digit * 64) for digit in "abc")
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


# The examples of Amazon's documentation of Signature Version 4 for S3.
@pytest.mark.parametrize(
    ("path", "query", "headers", "signature"),
    [
        ("/test.txt", {}, {"Range": "bytes=0-9"}, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
        ("/", {"lifecycle": ""}, {}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("/", {"max-keys": "2", "prefix": "J"}, {}, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_requests_are_signed_as_amazon_does(
    path: str, query: dict[str, str], headers: dict[str, str], signature: str
) -> None:
    signed = signed_headers(
        "GET",
        "examplebucket.s3.amazonaws.com",
        path,
        query,
        headers,
        EMPTY,
        credentials=Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        region="us-east-1",
        moment=datetime(2013, 5, 24),
    )
    assert signed["Authorization"].endswith(f"Signature={signature}")


def test_temporary_credentials_are_sent_and_secrets_not_shown() -> None:
    credentials = Credentials("key", "secret", "token")
    signed = signed_headers(
        "GET", "h", "/", {}, {}, EMPTY, credentials=credentials, region="r", moment=datetime(2020, 1, 1)
    )
    assert signed["X-Amz-Security-Token"] == "token"
    assert "secret" not in repr(credentials)
    assert "token" not in repr(credentials)


def test_paths_and_queries_are_escaped_as_they_are_signed() -> None:
    assert canonical_path("/a b/ü+~.x") == "/a%20b/%C3%BC%2B~.x"
    assert canonical_query({"prefix": "a/b c", "list-type": "2"}) == "list-type=2&prefix=a%2Fb%20c"


def test_listings_and_errors_of_servers_are_read_or_refused() -> None:
    listing = (
        b'<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>x</Name>'
        b"<IsTruncated>true</IsTruncated><NextContinuationToken>more</NextContinuationToken>"
        b"<Contents><Key>a &amp; b</Key><Size>1</Size></Contents><Contents><Key>c</Key></Contents></ListBucketResult>"
    )
    assert _parse_listing(listing, "x") == (["a & b", "c"], "more")
    assert _parse_error(b"<Error><Code>NoSuchKey</Code><Message>no</Message></Error>") == ("NoSuchKey", "no")
    assert _parse_error(b"<html>") == ("", "")
    for bad in (b"not xml", b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'):
        with pytest.raises(OstlerError, match="cannot be read"):
            _parse_listing(bad, "x")


def test_a_listing_that_breaks_off_is_refused() -> None:
    with pytest.raises(OstlerError, match="no way to ask for the rest"):
        _parse_listing(b"<R><IsTruncated>true</IsTruncated><Contents><Key>a</Key></Contents></R>", "x")


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:99999", "http://[::1/", "ftp://x"])
def test_bad_endpoints_are_named(endpoint: str) -> None:
    with pytest.raises(OstlerError, match="address"):
        S3Client("updates", S3Options(Credentials("a", "b"), "r", endpoint))


def test_requests_to_a_stalled_server_can_be_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = S3Client("updates", S3Options(Credentials("a", "b"), "r", f"http://127.0.0.1:{port}"))
        timer = threading.Timer(0.2, client.give_up)
        begin = time.monotonic()
        timer.start()
        with pytest.raises(OstlerError):
            client.get("x")
        assert time.monotonic() - begin < 5
        client.close()
        timer.join()


def test_histories_begin_with_the_new_commit_and_name_each_once() -> None:
    files = {history_path("web"): encode_history([A, B]), "other": b""}
    assert histories_after([RefChange("web", A, C)], files) == {"web": [C, A, B]}
    assert histories_after([RefChange("web", A, B)], files) == {"web": [B, A]}
    assert histories_after([RefChange("new", None, C), RefChange("odd", A, C)], {}) == {"new": [C], "odd": [C, A]}
    assert parse_history(encode_history([C, A]) + b"damaged\n\xff\n") == [C, A]


@pytest.fixture
def source(tmp_path: Path) -> Repo:
    repo = make_repo(tmp_path / "source")
    files = {**sample_files(count=5), "huge": bytes(IN_MEMORY + 5)}
    add_commit(repo, "web", files)
    return repo


@pytest.mark.parametrize("mode", list(RepoMode))
def test_objects_in_archive_form_make_a_whole_archive(tmp_path: Path, mode: RepoMode) -> None:
    repo = make_repo(tmp_path / "any", mode)
    commit = add_commit(repo, "web", {**sample_files(count=5), "huge": bytes(IN_MEMORY + 5)})
    copy = make_repo(tmp_path / "copy", RepoMode.ARCHIVE)
    spool = tmp_path / "spool"
    spool.mkdir()
    for name in in_order([name for name in reachable(repo, [commit]) if repo.has(*name)]):
        with archived(repo, name, spool) as made:
            path = copy.path / made.path
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(made.data if isinstance(made.data, bytes) else made.data.read_bytes())
            assert path.stat().st_size == made.size
    assert not list(spool.iterdir())
    copy.set_ref("web", commit)
    assert fsck(copy) == []


@pytest.mark.parametrize("path", ["empty", "huge", "usr/bin/tool.sh"])
def test_damaged_objects_are_named_instead(source: Repo, tmp_path: Path, path: str) -> None:
    checksum = file_checksum(source, "web", path)
    file = object_file(source, checksum)
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(CorruptError, match=checksum), archived(source, (checksum, ObjectType.FILE), tmp_path):
        pass
    file.unlink()
    with pytest.raises(NotFoundError, match=checksum), archived(source, (checksum, ObjectType.FILE), tmp_path):
        pass


def test_what_refers_to_others_is_sent_after_them(source: Repo) -> None:
    names = in_order(list(reachable(source, [source.resolve("web")])))
    kinds = [kind for _, kind in names]
    assert kinds[-1] is ObjectType.COMMIT
    assert kinds == sorted(kinds, key=[1, 3, 2, 6, 4].index)
    assert archive_path((A, ObjectType.FILE)) == f"objects/aa/{'a' * 62}.filez"


@pytest.mark.parametrize("url", ["ssh://host", "ssh://host/", "ssh://u:secret@host/x", "http://x/y"])
def test_places_behind_ssh_need_host_and_folder_and_no_password(url: str) -> None:
    with pytest.raises(PublishError) as caught:
        SshDestination(url)
    assert "secret" not in caught.value.message


def test_places_in_buckets_need_a_bucket() -> None:
    with pytest.raises(PublishError):
        S3Destination("s3:///x", S3Options(Credentials("a", "b")))


@pytest.fixture
def no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "REGION", "DEFAULT_REGION"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name in ("ENDPOINT_URL", "ENDPOINT_URL_S3", "CA_BUNDLE", "DEFAULT_PROFILE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return tmp_path


def test_access_comes_from_the_environment(no_aws: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OstlerError, match="no access key"):
        s3_options(None, None)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    monkeypatch.setenv("AWS_REGION", "eu-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example.org")
    found = s3_options(None, None)
    assert found == S3Options(Credentials("key", "secret", "token"), "eu-1", "https://s3.example.org")
    assert s3_options("https://other", "eu-2").endpoint == "https://other"
    assert s3_options("https://other", "eu-2").region == "eu-2"


def test_access_comes_from_the_profile_in_the_usual_files(no_aws: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (no_aws / "credentials").write_text(
        "[default]\naws_access_key_id = one\naws_secret_access_key = s%1\n"
        "[work]\naws_access_key_id = two\naws_secret_access_key = s2\n"
    )
    (no_aws / "config").write_text("[default]\nregion = eu-1\n[profile work]\nendpoint_url = https://s3.work\n")
    assert s3_options(None, None) == S3Options(Credentials("one", "s%1"), "eu-1")
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert s3_options(None, None) == S3Options(Credentials("two", "s2"), "us-east-1", "https://s3.work")
    (no_aws / "credentials").write_bytes(b"\xff garbage")
    with pytest.raises(OstlerError, match="profile work"):
        s3_options(None, None)


def test_a_program_that_is_talked_with_answers_and_its_end_is_told() -> None:
    talk = Conversation(["sh", "-c", "while read -r n; do printf '%s\\nxyz' $((n + 1)); done"])
    talk.say(b"4\n")
    assert (talk.hear_line(), talk.hear(3)) == (b"5", b"xyz")
    talk.close()
    talk = Conversation(["sh", "-c", "echo sorry >&2; exit 3"])
    with pytest.raises(CommandError, match="sorry") as caught:
        talk.hear_line()
    assert caught.value.status == 3
    assert subprocess.run(["true"], check=True)


def test_only_the_last_versions_are_kept_when_pruning_a_folder(source: Repo, tmp_path: Path) -> None:
    commits = [source.resolve("web")]
    destination = FolderDestination(tmp_path / "www")
    publish(source, {"web": "web"}, destination)
    for number in range(4):
        commits.append(add_commit(source, "web", {"a": f"{number}".encode()}))
        publish(source, {"web": "web"}, destination)
    planned = publish(source, {"web": "web"}, destination, PublishOptions(prune=True, keep=2, dry_run=True))
    result = publish(source, {"web": "web"}, destination, PublishOptions(prune=True, keep=2))
    repo = Repo.open(tmp_path / "www")
    assert planned.pruned == result.pruned
    assert [commit for commit in commits if repo.has(commit, ObjectType.COMMIT)] == commits[3:]
    assert fsck(repo) == []
