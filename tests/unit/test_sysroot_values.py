"""Kernel arguments, boot entries, GRUB's configuration, the staged file, names: values without I/O."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostler.errors import OstlerError
from ostler.formats.gvariant import GVariantError
from ostler.formats.objects import Checksum
from ostler.sysroot.bls import BootEntry, sort_entries
from ostler.sysroot.deployment import Deployment, assign_bootserials, parse_name, validate_osname
from ostler.sysroot.errors import SysrootError, SysrootFormatError
from ostler.sysroot.grub import boot_uuid_of, decode_grubenv, encode_grubenv, grub_config
from ostler.sysroot.kargs import KernelArguments, apply_image_change
from ostler.sysroot.staged import DeploymentName, StagedState

A, B = Checksum("a" * 64), Checksum("b" * 64)
words = st.text(
    st.characters(codec="ascii", categories=["L", "N"], include_characters="=._-,:/"), min_size=1, max_size=9
)
arguments = st.lists(words, max_size=8).map(lambda items: KernelArguments(tuple(items)))


@given(arguments)
def test_kernel_arguments_read_back_as_written(kargs: KernelArguments) -> None:
    assert KernelArguments.parse(kargs.text) == kargs


def test_blanks_in_double_quotes_do_not_separate_arguments() -> None:
    assert KernelArguments.parse('a="b c"  d').items == ('a="b c"', "d")


def test_replacing_keeps_the_place_of_the_first_and_drops_the_others() -> None:
    kargs = KernelArguments.parse("quiet ostree=1 rw ostree=2")
    assert kargs.replace("ostree=3").text == "quiet ostree=3 rw"
    assert kargs.replace("new=1").text == "quiet ostree=1 rw ostree=2 new=1"


def test_an_upgrade_applies_the_difference_of_what_two_images_ask_for() -> None:
    current = KernelArguments.parse("root=UUID=1 quiet mine=1 old=1")
    assert apply_image_change(current, ["old=1", "quiet"], ["quiet", "new=2"]).text == "root=UUID=1 quiet mine=1 new=2"


@given(arguments, st.lists(words, max_size=4))
def test_images_that_ask_for_the_same_change_nothing(kargs: KernelArguments, wanted: list[str]) -> None:
    assert apply_image_change(kargs, wanted, wanted) == kargs


@given(arguments, words, st.lists(words, max_size=3))
def test_boot_entries_read_back_as_written(kargs: KernelArguments, path: str, initrds: list[str]) -> None:
    entry = BootEntry("A title", "12", kargs, path, tuple(initrds), None, (("x-key", "value"),))
    assert BootEntry.parse(entry.dump()) == entry


def test_entries_sort_by_version_as_numbers_highest_first() -> None:
    entries = [(f"ostree-{number}.conf", BootEntry(version=number)) for number in ("1", "10", "9", "")]
    random.Random(1).shuffle(entries)
    assert [entry.version for entry in sort_entries(dict(entries)).values()] == ["10", "9", "1", ""]


def test_grub_words_with_special_characters_are_quoted() -> None:
    entry = BootEntry("it's", "1", KernelArguments.parse('a="b c" d=$e;f rw'), "/k", ("/i1", "/i2"))
    text = grub_config([entry], boot_uuid="1234-ABCD")
    assert "menuentry 'it'\\''s' " in text
    assert "\n  linux /k 'a=b c' 'd=$e;f' rw\n" in text
    assert "\n  initrd /i1 /i2\n" in text


def test_the_boot_uuid_is_found_again_in_our_own_configuration_only() -> None:
    text = grub_config([BootEntry("t", "1")], boot_uuid="1234-ABCD")
    assert boot_uuid_of(text) == "1234-ABCD"
    assert boot_uuid_of(text.replace("ostler", "someone")) is None
    assert boot_uuid_of(grub_config([BootEntry("t", "1")], boot_uuid=None)) is None


def test_what_is_no_uuid_does_not_get_into_grub_s_configuration() -> None:
    with pytest.raises(SysrootFormatError):
        grub_config([BootEntry("t", "1")], boot_uuid="x; reboot")


def test_boots_are_counted_only_where_there_is_something_to_fall_back_to() -> None:
    entry = BootEntry("t", "1")
    assert "save_env" not in grub_config([entry], boot_uuid=None)
    assert grub_config([entry, entry], boot_uuid=None).count("save_env") == 9


@given(st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True), words, max_size=8))
def test_the_environment_block_of_grub_has_a_fixed_size(variables: dict[str, str]) -> None:
    data = encode_grubenv(variables)
    assert len(data) == 1024
    assert decode_grubenv(data) == variables


def test_the_environment_block_does_not_overflow() -> None:
    with pytest.raises(SysrootFormatError):
        encode_grubenv({"name": "x" * 1100})


names = st.builds(DeploymentName, st.just("web"), st.sampled_from([A, B]), st.integers(0, 99), st.sampled_from([A, B]))
states = st.builds(
    StagedState,
    target=names,
    merge=st.none() | names,
    kargs=st.none() | st.lists(words, max_size=4).map(tuple),
    locked=st.booleans(),
    overlay_initrds=st.lists(words, max_size=2).map(tuple),
    extra=st.dictionaries(words, words, max_size=2).map(lambda found: tuple(found.items())),
)


@given(states)
def test_the_staged_state_reads_back_as_written(state: StagedState) -> None:
    assert StagedState.decode(state.encode()) == state


@given(states, st.data())
def test_a_damaged_staged_file_raises_documented_errors_only(state: StagedState, data: st.DataObject) -> None:
    raw = bytearray(state.encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        StagedState.decode(bytes(raw))
    except OstlerError as error:
        assert isinstance(error, SysrootFormatError | GVariantError)


def test_names_of_deployments_are_checked() -> None:
    assert parse_name(f"{A}.3") == (A, 3)
    for bad in ("", A, f"{A}.", f"{A}.-1", f"{A}.01", f"{A[1:]}.0", f"{A}.0/x"):
        with pytest.raises(SysrootFormatError):
            parse_name(bad)
    for bad in ("", "..", "a/b", ".hidden", "a b", "-x"):
        with pytest.raises(SysrootError):
            validate_osname(bad)


def test_deployments_with_one_kernel_are_counted() -> None:
    found = tuple(Deployment("web", A, number, csum) for number, csum in ((0, A), (1, B), (2, A)))
    assert [deployment.bootserial for deployment in assign_bootserials(found)] == [0, 0, 1]
