import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostler.formats.refs import validate_ref
from ostler.oci.escape import RefEscapeError, blob_ref, escape_ref, image_of_ref, image_ref, unescape_ref

names = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1)


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("foo", "foo"),
        ("foo/bar", "foo/bar"),
        ("foo/bar/foo", "foo/bar/foo"),
        ("foo/", "foo_2F_"),
        ("/foo/bar", "_2F_foo/bar"),
        ("foo//bar", "foo/_2F_bar"),
        ("foo_bar", "foo__bar"),
        ("foo-bar", "foo-bar"),
        ("localhost:5000/foo:latest", "localhost_3A_5000/foo_3A_latest"),
        ("sha256:x", "sha256_3A_x"),
        ("é", "_E9_"),
        ("😀", "_1F600_"),
    ],
)
def test_escapes_as_ostree_ext_does(name: str, escaped: str) -> None:
    assert escape_ref(name) == escaped
    assert unescape_ref(escaped) == name


@given(names)
def test_escaping_loses_nothing(name: str) -> None:
    assert unescape_ref(escape_ref(name)) == name


@given(names.map(lambda name: "x" + name))
def test_escaped_image_names_are_valid_refs_unless_a_part_starts_with_a_hyphen(name: str) -> None:
    ref = image_ref(name)
    if not any(part.startswith("-") for part in ref.split("/")):
        validate_ref(ref)


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_refuses_what_no_ref_can_carry(name: str) -> None:
    with pytest.raises(RefEscapeError):
        escape_ref(name)


@pytest.mark.parametrize("escaped", ["", "_", "a_", "_zz_", "a b", "_D800_", "_110000_", "_00_"])
def test_refuses_to_unescape_what_was_never_escaped(escaped: str) -> None:
    with pytest.raises(RefEscapeError):
        unescape_ref(escaped)


@given(st.text())
def test_unescaping_any_text_gives_a_name_or_the_one_error(text: str) -> None:
    with contextlib.suppress(RefEscapeError):
        unescape_ref(text)


def test_refs_of_blobs_and_images() -> None:
    assert blob_ref("sha256:" + "a" * 64) == "ostree/container/blob/sha256_3A_" + "a" * 64
    ref = image_ref("docker://quay.io/web:1")
    assert ref == "ostree/container/image/docker_3A__2F__2F_quay_2E_io/web_3A_1"
    assert image_of_ref(ref) == "docker://quay.io/web:1"
    assert image_of_ref("web/stable") is None
