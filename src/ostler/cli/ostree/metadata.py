"""Metadata of commits and summaries as it is given on the command line: KEY=VALUE."""

from collections.abc import Iterable

from ostler.cli.ostree.options import Failure
from ostler.formats.gvariant import FormatError, Variant


def strings(pairs: Iterable[str]) -> dict[str, Variant]:
    """Values that are strings; raises `Failure`."""
    return {key: Variant("s", value) for key, value in map(_split, pairs)}


def parsed(pairs: Iterable[str]) -> dict[str, Variant]:
    """Values that are GVariants as text; raises `Failure`."""
    from ostler.formats.gvariant_text import parse_text

    found = {}
    for pair in pairs:
        key, value = _split(pair)
        try:
            found[key] = parse_text(value)
        except FormatError as error:
            raise Failure(f"Parsing {pair}: {error.message}") from error
    return found


def _split(pair: str) -> tuple[str, str]:
    key, equals, value = pair.partition("=")
    if not equals:
        raise Failure(f"Missing '=' in KEY=VALUE metadata '{pair}'")
    return key, value
