import pytest

from ostler.formats.refs import BadRefError, join_refspec, split_refspec, validate_ref


@pytest.mark.parametrize(
    "name",
    ["main", "web/stable", "ostree/container/blob/sha256_3A_ab", "fedora/x86_64/core-os.1", "_a", "0/1/2", "héé"],
)
def test_refs_that_libostree_accepts(name: str) -> None:
    assert validate_ref(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.b", "-a", "a/-b", "a b", "a:b", "a\n", "a\0", "a^", "../x"],
)
def test_refs_that_could_be_paths_or_options_are_refused(name: str) -> None:
    with pytest.raises(BadRefError):
        validate_ref(name)


def test_refspecs_split_and_join() -> None:
    assert split_refspec("origin:web/stable") == ("origin", "web/stable")
    assert split_refspec("web/stable") == (None, "web/stable")
    assert join_refspec("origin", "a/b") == "origin:a/b"
    assert join_refspec(None, "a/b") == "a/b"


@pytest.mark.parametrize("text", [":a", "../x:a", "a:b:c", "a:", "a/b:c"])
def test_bad_refspecs_are_refused(text: str) -> None:
    with pytest.raises(BadRefError):
        split_refspec(text)
