"""Static deltas of a repository: what is made is applied, and nothing else is."""

import contextlib
import io
import lzma
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from delta_samples import Pair, copy_old, make_pair
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ostler.errors import CorruptError, NotFoundError, OstlerError
from ostler.formats.bsdiff import patch
from ostler.formats.delta import Endianness, PartHeader, Superblock, delta_folder, encode_names
from ostler.formats.delta_parts import Op, Part, encode_operation
from ostler.formats.gvariant import FormatError
from ostler.formats.objects import Checksum, DirMeta, FileMeta, ObjectType, checksum_of
from ostler.store.delta import recipe
from ostler.store.delta.alignment import align
from ostler.store.delta.apply import apply_part
from ostler.store.delta.errors import DeltaError
from ostler.store.delta.generate import DeltaOptions, generate
from ostler.store.delta.index import list_indexes, reindex
from ostler.store.delta.listing import (
    delete_delta,
    delta_exists,
    describe_delta,
    describe_lines,
    format_size,
    list_deltas,
    superblock_digests,
    verify_delta,
)
from ostler.store.delta.offline import apply_offline, read_superblock
from ostler.store.delta.similar import new_content
from ostler.store.fsck import fsck
from ostler.store.repo import Repo, RepoMode
from ostler.store.signing import ed25519
from ostler.store.signing.errors import SignatureError

ALL = DeltaOptions(min_fallback=0, workers=1)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("pair") / "repo")


def folder_of(pair: Pair) -> Path:
    return pair.repo.path / delta_folder(pair.old, pair.new)


def assert_whole(repo: Repo, commit: Checksum) -> None:
    assert not fsck(repo, workers=1)
    content, _ = new_content(repo, None, commit)
    assert all(repo.has(checksum, ObjectType.FILE) for checksum in content.files)


OPTIONS = {
    "plain": ALL,
    "inline": replace(ALL, inline=True),
    "no bsdiff": replace(ALL, bsdiff=False),
    "small parts": replace(ALL, max_chunk=1),
    "no large differences": replace(ALL, max_bsdiff=1),
    "big-endian": replace(ALL, endianness=Endianness.BIG),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_delta_brings_the_new_commit(pair: Pair, options: DeltaOptions, tmp_path: Path) -> None:
    stats = generate(pair.repo, pair.new, from_=pair.old, options=options)
    assert stats.name == f"{pair.old}-{pair.new}" and not stats.fallbacks
    assert bool(stats.patched) == options.bsdiff and stats.copied
    repo = copy_old(pair, tmp_path / "repo", RepoMode.BARE_USER)
    assert apply_offline(repo, folder_of(pair)) == pair.new
    assert_whole(repo, pair.new)


@pytest.mark.parametrize("mode", [RepoMode.ARCHIVE, RepoMode.BARE_USER])
def test_a_delta_from_nothing_brings_everything(pair: Pair, mode: RepoMode, tmp_path: Path) -> None:
    stats = generate(pair.repo, pair.old, options=ALL)
    assert stats.copied == stats.patched == stats.modified == 0
    repo = Repo.create(tmp_path / "repo", mode)
    assert apply_offline(repo, pair.repo.path / delta_folder(None, pair.old)) == pair.old
    assert_whole(repo, pair.old)


def test_a_delta_is_much_smaller_than_what_it_brings(pair: Pair) -> None:
    stats = generate(pair.repo, pair.new, from_=pair.old, options=ALL)
    assert stats.compressed < 80_000 < 500_000 < stats.uncompressed
    assert stats.total < 85_000


def test_without_bsdiff4_the_delta_is_hardly_larger(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    with_it = generate(pair.repo, pair.new, from_=pair.old, options=ALL)
    monkeypatch.setattr(recipe, "_core", lambda: None)
    without = generate(pair.repo, pair.new, from_=pair.old, options=ALL)
    assert without.patched == with_it.patched
    assert without.compressed < with_it.compressed * 1.2


def test_in_forked_processes_the_delta_is_the_same(pair: Pair) -> None:
    options = replace(ALL, timestamp=5, max_chunk=1, workers=2)
    generate(pair.repo, pair.new, from_=pair.old, options=options)
    first = superblock_digests(pair.repo)
    generate(pair.repo, pair.new, from_=pair.old, options=options)
    assert superblock_digests(pair.repo) == first


def test_nothing_changed_gives_one_empty_part(pair: Pair, tmp_path: Path) -> None:
    stats = generate(pair.repo, pair.old, from_=pair.old, options=ALL)
    assert [len(part) for part in stats.parts] == [0] and stats.uncompressed == 0
    repo = copy_old(pair, tmp_path / "repo", RepoMode.BARE_USER)
    assert apply_offline(repo, pair.repo.path / delta_folder(pair.old, pair.old)) == pair.old


def test_large_files_that_resemble_nothing_are_left_out(pair: Pair, tmp_path: Path) -> None:
    options = DeltaOptions(min_fallback=1, workers=1)
    stats = generate(pair.repo, pair.old, options=options)
    assert [(fallback.kind, fallback.usize) for fallback in stats.fallbacks] == [(ObjectType.FILE, 1_200_000)]
    repo = Repo.create(tmp_path / "repo", RepoMode.BARE_USER)
    with pytest.raises(DeltaError, match="nonempty http fallback"):
        apply_offline(repo, pair.repo.path / delta_folder(None, pair.old))
    assert not repo.has(pair.old, ObjectType.COMMIT)


def test_sources_are_files_that_everybody_may_read(pair: Pair) -> None:
    generate(pair.repo, pair.new, from_=pair.old, options=ALL)
    secret = next(
        checksum for checksum, path in new_content(pair.repo, None, pair.old)[0].files.items() if "secret" in path
    )
    for number in range(len(describe_delta(pair.repo, f"{pair.old}-{pair.new}").parts)):
        packed = (folder_of(pair) / str(number)).read_bytes()[1:]
        assert bytes.fromhex(secret) not in lzma.decompress(packed)


def test_candidates_are_found_below_another_release_and_under_another_version(pair: Pair) -> None:
    content, candidates = new_content(pair.repo, pair.old, pair.new)
    old = {path: checksum for checksum, path in new_content(pair.repo, None, pair.old)[0].files.items()}
    new = {path: checksum for checksum, path in content.files.items()}
    assert candidates[new["usr/lib/modules/6.1.0-2/net.ko"]][0] == old["usr/lib/modules/6.1.0-1/net.ko"]
    assert candidates[new["usr/lib/libthing.so.1.3"]][0] == old["usr/lib/libthing.so.1.2"]
    assert candidates[new["usr/bin/tool"]][0] == old["usr/bin/tool"]
    assert new["usr/share/noise"] not in candidates


def test_a_delta_outside_of_the_repository(pair: Pair, tmp_path: Path) -> None:
    before = list_deltas(pair.repo)
    generate(pair.repo, pair.new, from_=pair.old, options=replace(ALL, filename=tmp_path / "some.delta", max_chunk=1))
    assert list_deltas(pair.repo) == before
    assert {path.name for path in tmp_path.iterdir()} == {"some.delta", "0"}
    repo = copy_old(pair, tmp_path / "repo", RepoMode.ARCHIVE)
    assert apply_offline(repo, tmp_path / "some.delta") == pair.new


def test_making_a_delta_again_leaves_no_old_parts(pair: Pair) -> None:
    generate(pair.repo, pair.new, from_=pair.old, options=replace(ALL, max_chunk=1))
    assert (folder_of(pair) / "0").exists()
    generate(pair.repo, pair.new, from_=pair.old, options=replace(ALL, inline=True))
    assert [path.name for path in folder_of(pair).iterdir()] == ["superblock"]


# --- looking at them


def test_deltas_are_listed_described_indexed_and_removed(tmp_path: Path) -> None:
    pair = make_pair(tmp_path / "repo")
    assert list_deltas(pair.repo) == [] and list_indexes(pair.repo) == []
    name = generate(pair.repo, pair.new, from_=pair.old, options=ALL).name
    generate(pair.repo, pair.old, options=ALL)
    assert set(list_deltas(pair.repo)) == {(None, pair.old), (pair.old, pair.new)}
    assert delta_exists(pair.repo, pair.old, pair.new) and not delta_exists(pair.repo, None, pair.new)
    digests = superblock_digests(pair.repo)
    assert digests[name] == sha256((folder_of(pair) / "superblock").read_bytes()).hexdigest()
    lines = list(describe_lines(describe_delta(pair.repo, name)))
    assert lines[:5] == [f"Delta: {name}", "Signed: no", f"From: {pair.old}", f"To: {pair.new}", "Endianness: little"]
    reindex(pair.repo)
    assert list_indexes(pair.repo) == sorted([pair.old, pair.new])
    assert Repo.open(pair.repo.path).config.get_bool("core", "indexed-deltas", False)
    delete_delta(pair.repo, name)
    reindex(pair.repo)
    assert list_indexes(pair.repo) == [pair.old]
    with pytest.raises(NotFoundError, match="Can't find delta"):
        delete_delta(pair.repo, name)
    with pytest.raises(FormatError, match="Invalid rev GARBAGE"):
        describe_delta(pair.repo, "GARBAGE")


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0\xa0kB"), (22671694, "22.7\xa0MB")]
)
def test_sizes_are_written_as_glib_does(size: int, text: str) -> None:
    assert format_size(size) == text


def test_signed_deltas_need_a_good_signature_where_keys_are_given(pair: Pair, tmp_path: Path) -> None:
    secret, other = ed25519.SecretKey.generate(), ed25519.SecretKey.generate()
    generate(pair.repo, pair.new, from_=pair.old, options=ALL)
    name = f"{pair.old}-{pair.new}"
    trust = ed25519.Trust((secret.public,))
    with pytest.raises(SignatureError, match="no signatures in static-delta"):
        verify_delta(pair.repo, name, trust)
    generate(pair.repo, pair.new, from_=pair.old, options=replace(ALL, signers=(secret,)))
    assert verify_delta(pair.repo, name, trust).kind == "ed25519"
    stranger = ed25519.Trust((other.public,))
    with pytest.raises(SignatureError):
        verify_delta(pair.repo, name, stranger)
    repo = copy_old(pair, tmp_path / "repo", RepoMode.BARE_USER)
    with pytest.raises(SignatureError):
        apply_offline(repo, folder_of(pair), trust=stranger)
    repo.write_config(repo.config.with_value("core", "sign-verify-deltas", "true"))
    with pytest.raises(DeltaError, match="Key is mandatory"):
        apply_offline(repo, folder_of(pair))
    assert apply_offline(repo, folder_of(pair), trust=trust) == pair.new


# --- what is hostile or damaged


def applied(repo: Repo, superblock: Superblock, number: int, data: bytes) -> int:
    with repo.transaction() as transaction:
        return apply_part(repo, transaction, superblock, number, data)


def test_damaged_parts_and_superblocks_are_refused(pair: Pair, tmp_path: Path) -> None:
    generate(pair.repo, pair.new, from_=pair.old, options=ALL)
    repo = copy_old(pair, tmp_path / "repo", RepoMode.BARE_USER)
    superblock = Superblock.decode(read_superblock(folder_of(pair) / "superblock"))
    data = (folder_of(pair) / "0").read_bytes()
    with pytest.raises(CorruptError):
        applied(repo, superblock, 0, data[:-1])
    other = replace(superblock, commit=superblock.commit.replace(b"new", b"old"))
    (tmp_path / "0").write_bytes(data)
    (tmp_path / "superblock").write_bytes(other.encode())
    with pytest.raises(CorruptError):
        apply_offline(repo, tmp_path)
    (tmp_path / "superblock").write_bytes(replace(superblock, from_=pair.new).encode())
    with pytest.raises(DeltaError, match="which is the delta source"):
        apply_offline(repo, tmp_path)
    with pytest.raises(NotFoundError):
        apply_offline(repo, tmp_path / "nowhere")
    assert not repo.has(pair.new, ObjectType.COMMIT)


@pytest.fixture
def target(tmp_path: Path) -> Repo:
    return Repo.create(tmp_path / "target", RepoMode.BARE_USER, settings={"fsync": "false"})


FILE = FileMeta(0, 0, 0o100644)
CONTENT = b"content of a file"
NAME = FILE.checksum_with(CONTENT)
DIRECTORY = DirMeta(0, 0, 0o40755)


def one_part(
    objects: list[tuple[ObjectType, Checksum]], operations: bytes, blob: bytes = CONTENT, **fields: object
) -> tuple[Superblock, bytes]:
    part = Part(((0, 0, 0o100644), (0, 0, 0o120777)), ((),), blob, operations)
    data = b"x" + lzma.compress(b"".join(part.encode()))
    header = PartHeader(checksum_of(data), len(data), 1000, encode_names(objects))
    return Superblock(checksum_of(b"to"), b"", parts=(replace(header, **fields),)), data  # type: ignore[arg-type]


def code(*operations: tuple[object, ...]) -> bytes:
    return b"".join(encode_operation(op, *numbers) for op, *numbers in operations)  # type: ignore[arg-type, misc]


SIZE = len(CONTENT)
GOOD = code((Op.OPEN, 0, 0, SIZE), (Op.WRITE, 7, 0), (Op.WRITE, SIZE - 7, 7), (Op.CLOSE,))


def test_a_good_part_is_applied_and_a_second_time_makes_nothing(target: Repo) -> None:
    superblock, data = one_part([(ObjectType.FILE, NAME)], GOOD)
    assert applied(target, superblock, 0, data) == 1
    assert applied(target, superblock, 0, data) == 0
    with target.transaction() as transaction, io.BytesIO(data) as stream:
        assert apply_part(target, transaction, superblock, 0, stream) == 0


BAD = {
    "other content": code((Op.SPLICE, 0, 0, SIZE - 1, 0)),
    "other mode": code((Op.SPLICE, 1, 0, SIZE, 0)),
    "beyond the blob": code((Op.SPLICE, 0, 0, SIZE, 1)),
    "no such mode": code((Op.SPLICE, 2, 0, SIZE, 0)),
    "no such attributes": code((Op.SPLICE, 0, 1, SIZE, 0)),
    "nothing": b"",
    "unknown": b"\xff",
    "not finished": GOOD[:-1],
    "too short": code((Op.OPEN, 0, 0, SIZE), (Op.WRITE, 7, 0), (Op.CLOSE,)),
    "too long": code((Op.OPEN, 0, 0, 7), (Op.WRITE, 8, 0), (Op.CLOSE,)),
    "endless": code((Op.OPEN, 0, 0, 1 << 50), *[(Op.WRITE, SIZE, 0)] * 9, (Op.CLOSE,)),
    "twice": GOOD + GOOD,
    "open within": code((Op.OPEN, 0, 0, SIZE), (Op.OPEN, 0, 0, SIZE), (Op.WRITE, SIZE, 0), (Op.CLOSE,)),
    "write outside": code((Op.WRITE, SIZE, 0)),
    "close outside": code((Op.CLOSE,)),
    "patch of nothing": code((Op.OPEN, 0, 0, SIZE), (Op.PATCH, 0, SIZE), (Op.CLOSE,)),
    "source outside of the blob": code((Op.SET_SOURCE, SIZE)),
    "symlink opened": code((Op.OPEN, 1, 0, SIZE), (Op.WRITE, SIZE, 0), (Op.CLOSE,)),
    "half a number": b"S\x80",
}


@pytest.mark.parametrize("operations", BAD.values(), ids=BAD)
def test_bad_programs_are_refused_and_write_nothing(target: Repo, operations: bytes) -> None:
    superblock, data = one_part([(ObjectType.FILE, NAME)], operations)
    with pytest.raises(CorruptError, match="part 0 of the delta"):
        applied(target, superblock, 0, data)
    assert list(target.objects()) == []


@pytest.mark.parametrize("kind", [ObjectType.COMMIT, ObjectType.DETACHED, ObjectType.TOMBSTONE, ObjectType.DIRTREE])
def test_metadata_are_written_only_where_they_belong_and_as_listed(target: Repo, kind: ObjectType) -> None:
    blob = DIRECTORY.encode()
    superblock, data = one_part([(kind, checksum_of(blob))], code((Op.SPLICE, len(blob), 0)), blob)
    with pytest.raises(CorruptError):
        applied(target, superblock, 0, data)
    assert list(target.objects()) == []


def test_a_missing_source_is_named(target: Repo) -> None:
    blob = bytes(32)
    operations = code((Op.SET_SOURCE, 0), (Op.OPEN, 0, 0, 5), (Op.WRITE, 5, 0), (Op.CLOSE,))
    superblock, data = one_part([(ObjectType.FILE, NAME)], operations, blob)
    with pytest.raises(NotFoundError, match="0" * 64):
        applied(target, superblock, 0, data)


def test_a_part_that_inflates_to_far_more_than_it_says_is_refused(target: Repo) -> None:
    superblock, data = one_part([(ObjectType.FILE, NAME)], GOOD, CONTENT + bytes(40 << 20), usize=10)
    with pytest.raises(CorruptError, match="inflates to more"):
        applied(target, superblock, 0, data)


def test_objects_that_no_part_may_list_are_refused(target: Repo) -> None:
    superblock, data = one_part([], GOOD, names=b"\x0b" + bytes(32))
    with pytest.raises(CorruptError):
        applied(target, superblock, 0, data)


def test_a_part_of_a_later_format_is_not_tried(pair: Pair, tmp_path: Path) -> None:
    generate(pair.repo, pair.old, options=replace(ALL, filename=tmp_path / "superblock", inline=True))
    superblock = Superblock.decode((tmp_path / "superblock").read_bytes())
    later = replace(superblock, parts=(replace(superblock.parts[0], version=1),))
    (tmp_path / "superblock").write_bytes(later.encode())
    repo = Repo.create(tmp_path / "repo", RepoMode.BARE_USER)
    with pytest.raises(DeltaError, match="too new version 1"):
        apply_offline(repo, tmp_path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(at=st.integers(0, 10**6), damage=st.binary(min_size=1, max_size=4))
def test_any_damage_in_a_part_is_refused_or_harmless(target: Repo, at: int, damage: bytes) -> None:
    plain = b"".join(Part(((0, 0, 0o100644),), ((),), CONTENT, GOOD).encode())
    at %= len(plain)
    data = b"\0" + plain[:at] + damage + plain[at + len(damage) :]
    header = PartHeader(checksum_of(data), len(data), SIZE, encode_names([(ObjectType.FILE, NAME)]))
    with contextlib.suppress(OstlerError):
        applied(target, Superblock(checksum_of(b"to"), b"", parts=(header,)), 0, data)
    assert set(target.objects()) <= {(NAME, ObjectType.FILE)}


# --- how files are compared


def rebuild(old: bytes, made: recipe.Making) -> bytes:
    return b"".join((old if step.from_source else made.payload)[step.offset :][: step.length] for step in made.steps)


@st.composite
def relatives(draw: st.DrawFn) -> tuple[bytes, bytes]:
    pieces = draw(st.lists(st.binary(max_size=120), min_size=1, max_size=12))
    order = draw(st.lists(st.integers(0, len(pieces) - 1), max_size=12))
    new = b"".join(pieces[number] + draw(st.binary(max_size=9)) for number in order)
    return b"".join(pieces), new


@given(relatives())
def test_stretches_lie_apart_and_inside_both_files(files: tuple[bytes, bytes]) -> None:
    old, new = files
    position = 0
    for stretch in align(old, new):
        assert position <= stretch.start < stretch.end <= len(new)
        assert stretch.source >= 0 and stretch.source + stretch.end - stretch.start <= len(old)
        position = stretch.end


@given(relatives(), st.booleans())
def test_every_recipe_makes_the_new_file(files: tuple[bytes, bytes], differences: bool) -> None:
    old, new = files
    made = recipe.make(old, new, differences=differences)
    if made is not None:
        assert (rebuild(old, made) if made.steps else b"".join(patch(old, made.payload, len(new)))) == new
