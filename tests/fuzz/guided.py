"""Fuzzing guided by coverage: `python -m tests.fuzz.guided [--seconds N] [READER…]`; needs `atheris`.

Each reader runs in a process of its own for N seconds. What breaks it is kept in build/fuzz/READER.
"""

import argparse
import contextlib
import subprocess
import sys
from pathlib import Path

MEMORY_MIB = 1024
CALL_SECONDS = 20


def fuzz(name: str, folder: Path, seconds: int) -> None:
    """Fuzz one reader in this process; never returns."""
    import atheris

    with atheris.instrument_imports(include=["ostler"]):
        from tests.fuzz.readers import READERS

        from ostler.errors import CorruptError
    reader = READERS[name]
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(reader.samples):
        (corpus / f"sample-{number}").write_bytes(sample)

    def target(data: bytes) -> None:
        with contextlib.suppress(CorruptError):
            reader.read(data)

    limits = [f"-max_total_time={seconds}", f"-rss_limit_mb={MEMORY_MIB}", f"-timeout={CALL_SECONDS}"]
    atheris.Setup([name, *limits, f"-artifact_prefix={folder}/", "-print_final_stats=1", str(corpus)], target)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("readers", nargs="*", metavar="READER")
    parser.add_argument("--seconds", type=int, default=300, help="for each reader (default: 300)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = Path("build/fuzz").absolute()
    if options.here:
        fuzz(options.readers[0], folder / options.readers[0], options.seconds)
    from tests.fuzz.readers import READERS

    broken = []
    for name in options.readers or READERS:
        command = [sys.executable, "-m", "tests.fuzz.guided", "--here", "--seconds", str(options.seconds), name]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        ran = [line for line in done.stderr.splitlines() if "number_of_executed_units" in line]
        print(
            f"{name:24} {'ok' if done.returncode == 0 else 'BROKEN'}  {ran[0].split()[-1] if ran else '?'} inputs",
            flush=True,
        )
        if done.returncode:
            broken.append(name)
            print(done.stderr[-3000:])
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
