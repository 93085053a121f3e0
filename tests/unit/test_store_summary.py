"""Summaries: written for collections and deltas too, and read without decoding what nobody asks for."""

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_trees import add_commit, make_repo

from ostler.errors import NotFoundError
from ostler.formats import gvariant
from ostler.formats.gvariant import FormatError, Variant
from ostler.formats.objects import Checksum
from ostler.formats.summary import SUMMARY_TYPE, Summary, SummaryEntry, big_endian
from ostler.store.content import RepoMode
from ostler.store.delta.generate import generate
from ostler.store.delta.listing import superblock_digests
from ostler.store.repo import Repo
from ostler.store.summary import METADATA_REF, commit_metadata_ref, summarise, update_automatically, write_summary

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
entries = st.builds(
    SummaryEntry,
    st.binary(min_size=32, max_size=32).map(lambda raw: Checksum(raw.hex())),
    st.integers(0, 2**64 - 1),
    st.dictionaries(names, st.builds(Variant, st.just("s"), names), max_size=3),
)


@given(st.dictionaries(names, entries, max_size=12), st.dictionaries(names, st.builds(Variant, st.just("s"), names)))
def test_what_is_encoded_is_read_again(refs: dict[str, SummaryEntry], metadata: dict[str, Variant]) -> None:
    data = Summary(refs, metadata).encode()
    read = Summary.decode(data)
    assert dict(read.refs.items()) == refs
    assert list(read.refs) == sorted(refs, key=str.encode)
    assert {name: read.refs[name] for name in refs} == refs
    assert "not there\x01" not in read.refs
    assert dict(read.metadata.items()) == metadata
    assert read.encode() == data


@given(st.binary(max_size=300))
def test_garbage_raises_the_documented_error_only(data: bytes) -> None:
    try:
        summary = Summary.decode(data)
        list(summary.refs.items())
        list(summary.metadata.items())
    except FormatError:
        pass


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_changed_byte_raises_the_documented_error_only(at: int, byte: int) -> None:
    entry = SummaryEntry(Checksum("ab" * 32), 7, {"x": Variant("s", "y")})
    data = bytearray(Summary({"one": entry, "two": entry}, {"key": Variant("t", 5)}).encode())
    data[at % len(data)] = byte
    try:
        summary = Summary.decode(bytes(data))
        dict(summary.refs.items())
        summary.refs.get("one")
        dict(summary.metadata.items())
    except FormatError:
        pass


def test_a_checksum_of_another_length_is_refused() -> None:
    data = gvariant.encode(SUMMARY_TYPE, ([("web", (1, b"short", {}))], {}))
    with pytest.raises(FormatError, match="5 bytes"):
        Summary.decode(data).refs.get("web")


def test_one_ref_of_very_many_is_found_in_little_memory() -> None:
    entry = (100, bytes(32), {})
    data = gvariant.encode(SUMMARY_TYPE, ([(f"ref/{number:06}", entry) for number in range(30_000)], {}))
    tracemalloc.start()
    found = Summary.decode(data).refs["ref/017000"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.size == 100
    assert peak < 2 * len(data)


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    made = make_repo(tmp_path / "repo", RepoMode.ARCHIVE)
    add_commit(made, "web/stable", {"a": b"a"})
    return made


def configured(repo: Repo, **settings: str) -> Repo:
    config = repo.config
    for key, value in settings.items():
        config = config.with_value("core", key.replace("_", "-"), value)
    repo.write_config(config)
    return Repo.open(repo.path)


def test_refs_of_collections_are_listed_apart(repo: Repo) -> None:
    repo = configured(repo, collection_id="org.example.Own")
    commit = repo.resolve("web/stable")
    folder = repo.path / "refs/mirrors/org.example.Other"
    folder.mkdir(parents=True)
    (folder / "mirrored").write_text(f"{commit}\n")
    repo.add_remote("up", "https://x", {"collection-id": "org.example.Up", "gpg-verify": "false"})
    repo.add_remote("plain", "https://y", {"gpg-verify": "false"})
    repo.set_ref("pulled", commit, remote="up")
    repo.set_ref("hidden", commit, remote="plain")
    read = Summary.decode(summarise(Repo.open(repo.path), timestamp=1).encode())
    assert list(read.refs) == ["web/stable"]
    assert {name: list(refs) for name, refs in read.collections.items()} == {
        "org.example.Other": ["mirrored"],
        "org.example.Up": ["pulled"],
    }
    assert read.metadata["ostree.summary.collection-id"] == Variant("s", "org.example.Own")


def test_static_deltas_are_listed_and_indexed(repo: Repo) -> None:
    old = repo.resolve("web/stable")
    new = add_commit(repo, "web/stable", {"a": b"b"}, parent=old)
    generate(repo, new, from_=old)
    assert write_summary(repo)
    read = Summary.decode((repo.path / "summary").read_bytes())
    (digest,) = superblock_digests(repo).values()
    listed = read.metadata["ostree.static-deltas"].value
    assert listed == {f"{old}-{new}": Variant("ay", bytes.fromhex(digest))}
    assert len(list((repo.path / "delta-indexes").glob("??/*.index"))) == 1
    assert not write_summary(repo)
    repo = configured(repo, no_deltas_in_summary="true")
    assert "ostree.static-deltas" not in summarise(repo, timestamp=1).metadata


def test_more_metadata_can_be_added(repo: Repo) -> None:
    write_summary(repo, additional={"key": Variant("s", "value")}, always=True)
    read = Summary.decode((repo.path / "summary").read_bytes())
    assert read.metadata["key"] == Variant("s", "value")
    assert read.metadata["ostree.summary.mode"] == Variant("s", "archive-z2")
    assert read.metadata["ostree.summary.indexed-deltas"] == Variant("b", True)


def test_a_summary_that_says_the_same_stays_unless_it_must_be_new(repo: Repo) -> None:
    assert write_summary(repo, timestamp=1)
    (repo.path / "summary.sig").touch()
    assert not write_summary(repo, timestamp=2)
    assert (repo.path / "summary.sig").exists()
    assert write_summary(repo, timestamp=2, always=True)
    assert not (repo.path / "summary.sig").exists()
    read = Summary.decode((repo.path / "summary").read_bytes())
    assert read.metadata["ostree.summary.last-modified"] == Variant("t", big_endian(2))


def test_repositories_with_a_collection_keep_metadata_in_commits(repo: Repo) -> None:
    with pytest.raises(NotFoundError, match="collection"):
        commit_metadata_ref(repo)
    repo = configured(repo, collection_id="org.example.Own")
    first = commit_metadata_ref(repo, timestamp=1, additional={"map": Variant("a{sv}", {})})
    second = commit_metadata_ref(repo, timestamp=2)
    assert repo.resolve(METADATA_REF) == second
    commit = repo.load_commit(second)
    assert commit.parent == first
    assert commit.metadata["ostree.ref-binding"] == Variant("as", [METADATA_REF])
    assert commit.metadata["ostree.collection-binding"] == Variant("s", "org.example.Own")
    assert repo.load_commit(first).metadata["map"] == Variant("a{sv}", {})


@pytest.mark.parametrize("key", ["auto_update_summary", "commit_update_summary"])
def test_the_summary_follows_refs_where_that_is_set(repo: Repo, key: str) -> None:
    update_automatically(repo)
    assert not (repo.path / "summary").exists()
    repo = configured(repo, **{key: "true"})
    add_commit(repo, "web/new", {"a": b"a"})
    assert "web/new" in Summary.decode((repo.path / "summary").read_bytes()).refs
