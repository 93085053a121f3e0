"""Malformed input makes a reader raise the documented error, quickly and without taking much memory.

`make fuzz` does the same for longer, guided by coverage.
"""

import os
import resource
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz.readers import READERS

from ostler.errors import CorruptError

EXAMPLES = int(os.environ.get("OSTLER_FUZZ_EXAMPLES", "1500"))
ROOM = 512 << 20
INTERESTING = st.sampled_from([b"\0", b"\xff", b"\x80", b"\x7f", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x01", b"v", b"("])


@pytest.fixture(autouse=True, scope="module")
def little_memory() -> Iterator[None]:
    """A reader that asks for much more than its input is large gets a MemoryError, which nobody expects."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@st.composite
def malformed(draw: st.DrawFn, samples: tuple[bytes, ...]) -> bytes:
    """A sample after a few changes of the kinds that break parsers; sometimes anything at all."""
    data = bytearray(draw(st.sampled_from(samples)))
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=300))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(["set", "flip", "insert", "delete", "cut", "repeat"])):
            case "set":
                new = draw(INTERESTING)
                data[at : at + len(new)] = new
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "insert":
                data[at:at] = draw(INTERESTING | st.binary(min_size=1, max_size=8))
            case "delete":
                del data[at : at + draw(st.integers(1, 16))]
            case "cut":
                del data[at:]
            case _:
                data[at:at] = data[at : at + draw(st.integers(1, 64))]
    return bytes(data)


@pytest.mark.parametrize("name", READERS)
def test_samples_are_accepted(name: str) -> None:
    for sample in READERS[name].samples:
        READERS[name].read(sample)


@pytest.mark.parametrize("name", READERS)
def test_malformed_input_raises_only_the_documented_error(name: str) -> None:
    reader = READERS[name]

    @settings(
        max_examples=EXAMPLES,
        deadline=2000,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(malformed(reader.samples))
    def check(data: bytes) -> None:
        try:
            reader.read(data)
        except CorruptError as error:
            assert error.message

    check()
