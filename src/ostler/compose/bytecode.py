"""Byte code in images: compiled so that Python trusts it although OSTree stores no file times.

Python compares a .pyc file's note of its source's time with the source, and OSTree's files all have time 0. Files
compiled "unchecked-hash" (PEP 552) are used as they are. The image's own Python does it, in the image.
"""

from collections.abc import Sequence
from pathlib import Path

from ostler.compose.chroot import Bind, run_in
from ostler.io.progress import Reporter, silent

# Runs in the image. Compiles what lacks fresh unchecked-hash byte code, and removes byte code without a source.
PROGRAM = r"""
import importlib.util, os, py_compile, sys
tag = sys.implementation.cache_tag
roots = sys.argv[1:]
def fresh(source, target):
    try:
        with open(target, "rb") as file:
            head = file.read(16)
        if head[:8] != importlib.util.MAGIC_NUMBER + b"\1\0\0\0":
            return False
        with open(source, "rb") as file:
            return importlib.util.source_hash(file.read()) == head[8:]
    except OSError:
        return False
work = []
for root in roots:
    always = os.path.basename(root.rstrip("/")).startswith("python")
    for directory, names, files in os.walk(root):
        names.sort()
        if os.path.basename(directory) == "__pycache__":
            names.clear()
            for name in files:
                stem, _, rest = name.partition(".")
                if rest != tag + ".pyc" or not os.path.exists(os.path.join(directory, "..", stem + ".py")):
                    os.unlink(os.path.join(directory, name))
            if not os.listdir(directory):
                os.rmdir(directory)
            continue
        if not always and "__pycache__" not in names and "python" not in directory:
            continue
        for name in sorted(files):
            source = os.path.join(directory, name)
            if name.endswith(".py") and not os.path.islink(source):
                target = importlib.util.cache_from_source(source)
                if not fresh(source, target):
                    work.append((source, target))
# A process for each file: what was compiled before leaves traces in what marshal writes.
running = 0
for source, target in work:
    if running >= (os.cpu_count() or 1):
        os.wait()
        running -= 1
    if os.fork() == 0:
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        try:
            py_compile.compile(source, target, source, doraise=True, invalidation_mode=mode)
        except Exception:
            if os.path.exists(target):
                os.unlink(target)
        os._exit(0)
    running += 1
for _ in range(running):
    os.wait()
"""
PYTHON = "usr/bin/python3"


def compile_system(root: Path, report: Reporter = silent) -> None:
    """Compile all Python files of packages in the writable image at `root`; nothing if it has no Python."""
    if not (root / PYTHON).exists():
        return
    roots = [f"/{path.relative_to(root)}" for path in sorted((root / "usr/lib").glob("python3*"))]
    run_program(root, [*roots, "/usr/share"], writable=True, report=report)


def run_program(
    root: Path, folders: Sequence[str], *, writable: bool = False, binds: Sequence[Bind] = (), report: Reporter = silent
) -> None:
    """Run the image's Python over `folders`, absolute paths in it."""
    run_in(root, ["/usr/bin/python3", "-I", "-c", PROGRAM, *folders], writable=writable, binds=binds, report=report)
