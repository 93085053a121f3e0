"""Publishing into a folder behind SSH. The other side needs `sh`, `tar` and the usual small tools, nothing of Ostler.

Every step is one command over one kept connection. New objects are sent as tar streams into a staging folder, and when
all have come they are synced and renamed into place; what a broken attempt has staged is used by the next one.
"""

import base64
import io
import os
import secrets
import shlex
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote, urlsplit

from ostler.errors import NotFoundError
from ostler.io.conversation import Conversation
from ostler.io.process import CommandError, require_tool, run
from ostler.io.progress import Reporter
from ostler.publish.archive_form import ArchivedObject, archive_path, archived
from ostler.publish.destination import PublishError
from ostler.publish.remote import RemoteRepository, SendReport
from ostler.store.copy import worker_count
from ostler.store.reach import ObjectName
from ostler.store.repo import Repo

STAGE = "tmp/ostler-publish"
BATCH_BYTES = 16 * 1024 * 1024
BATCH_FILES = 5000
_NOT_THERE = 90
_CONNECTION_FAILED = 255
_KEPT_SECONDS = 60
_SMALL = 8192
"""Longer input goes over a channel of its own."""

# Reads scripts, each between two lines with a word that is not in it; answers with status and sizes, then the output.
_LOOP = """
out=$(mktemp) && err=$(mktemp) || exit 1
trap 'rm -f "$out" "$err"' EXIT
while IFS= read -r end; do
  script=
  while IFS= read -r line && [ "$line" != "$end" ]; do
    script="$script$line
"
  done
  (eval "$script") </dev/null >"$out" 2>"$err"
  echo "$? $(($(wc -c <"$out"))) $(($(wc -c <"$err")))"
  cat "$out" "$err"
done
"""


class SshError(PublishError):
    """The other side could not be reached, or a command failed there."""


@dataclass(frozen=True, slots=True)
class SshOptions:
    """How to connect: more arguments for `ssh` ("-F FILE", "-i FILE"), and variables it needs (SSH_AUTH_SOCK)."""

    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


class SshDestination(RemoteRepository):
    """A folder behind SSH, as `Destination`: `ssh://[USER@]HOST[:PORT]/PATH`, where `/~/PATH` begins at home."""

    def __init__(self, url: str, options: SshOptions | None = None) -> None:
        super().__init__()
        parts = urlsplit(url)
        path = unquote(parts.path)
        if parts.scheme != "ssh" or not parts.hostname or path in ("", "/"):
            raise PublishError(f"{url} is no place behind SSH", hint="write ssh://USER@HOST/PATH")
        if parts.password is not None:
            raise PublishError(
                "a password in an address would be seen by everyone on this machine", hint="use a key: `ssh-copy-id`"
            )
        self._options = options or SshOptions()
        self._path = path.removeprefix("/~/") if path.startswith("/~/") else path
        self._host = (f"{unquote(parts.username)}@" if parts.username else "") + parts.hostname
        self._port = parts.port
        self._name = f"ssh://{quote(self._host, safe='@:')}{f':{parts.port}' if parts.port else ''}{parts.path}"
        self._work = Path(tempfile.mkdtemp(prefix="ostler-ssh-"))
        self._batches = 0
        self._shell: Conversation | None = None

    @property
    def name(self) -> str:
        """The URL."""
        return self._name

    # --- commands

    def _ssh(self) -> list[str]:
        words = [str(require_tool("ssh", package="openssh-client")), *self._options.arguments]
        if self._port:
            words += ["-p", str(self._port)]
        for option in (
            "BatchMode=yes",
            "ControlMaster=auto",
            f"ControlPath={self._work}/control",
            f"ControlPersist={_KEPT_SECONDS}",
            "ServerAliveInterval=15",
        ):
            words += ["-o", option]
        return words

    def _run(self, script: str, input: bytes | BinaryIO = b"", *, inside: bool = True) -> bytes:
        """Run a script for `sh` there, inside the folder, and return what it prints."""
        start = (
            f"umask 022; cd -- {shlex.quote(self._path)} 2>/dev/null || exit {_NOT_THERE}\n"
            if inside
            else "umask 022\n"
        )
        try:
            if isinstance(input, bytes) and len(input) <= _SMALL:
                return self._ask(start + script, input)
            command = [*self._ssh(), "--", self._host, f"sh -c {shlex.quote(start + script)}"]
            return run(command, input=input, env=self._options.environment).stdout
        except CommandError as error:
            if error.status == _NOT_THERE:
                raise NotFoundError(f"there is no folder {self.name}") from error
            said = " ".join(error.output).strip() or f"it ended with {error.status}"
            if error.status == _CONNECTION_FAILED:
                raise SshError(
                    f"{self.name}: {said}",
                    hint=f"`ssh {self._host}` must work without asking for a password; try that first",
                ) from error
            raise SshError(f"{self.name}: a command failed there: {said}") from error

    def _ask(self, script: str, input: bytes) -> bytes:
        """As `_run`, but by a shell that is there already: that saves starting one, and connecting, each time."""
        if self._shell is None:
            command = [*self._ssh(), "--", self._host, f"sh -c {shlex.quote(_LOOP)}"]
            self._shell = Conversation(command, env=self._options.environment)
        end = f"end-{secrets.token_hex(8)}"
        packed = base64.encodebytes(input).decode()
        text = f"base64 -d <<'{end}.input' | (\n{packed}{end}.input\n{script}\n)\n" if input else f"(\n{script}\n)\n"
        self._shell.say(f"{end}\n{text}{end}\n".encode())
        status, printed, complained = (int(word) for word in self._shell.hear_line().split())
        output, errors = self._shell.hear(printed), self._shell.hear(complained)
        if status:
            raise CommandError(["sh"], status, errors.decode("utf-8", "replace").splitlines()[-20:])
        return output

    def close(self) -> None:
        """End the connection."""
        if self._shell is not None:
            self._shell.close()
            self._shell = None
        if (self._work / "control").exists():
            run([*self._ssh(), "-O", "exit", "--", self._host], check=False, env=self._options.environment)
        shutil.rmtree(self._work, ignore_errors=True)

    # --- files

    def is_empty(self) -> bool:
        """Whether the folder does not exist, or holds nothing (but what a broken attempt has staged)."""
        try:
            found = self._run("ls -A").decode().split("\n")
        except NotFoundError:
            return True
        return not set(filter(None, found)) - {"tmp", "ostler"}

    def create(self) -> None:
        """Make the folder, and the repository in it."""
        self._run(f"mkdir -p -- {shlex.quote(self._path)}", inside=False)
        super().create()
        self._run("mkdir -p objects refs/heads refs/remotes refs/mirrors state tmp/cache extensions")

    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """The content of those of these files that exist."""
        wanted = list(paths)
        if not wanted:
            return {}
        found = self._read('while IFS= read -r p; do [ -f "$p" ] && printf "%s\\n" "$p"; done', _lines(wanted))
        return {path: found[path] for path in wanted if path in found}

    def read_below(self, folder: str) -> dict[str, bytes]:
        """The content of all files below a folder."""
        return self._read(f"[ ! -d {shlex.quote(folder)} ] || find {shlex.quote(folder)} -type f ! -name '.*'")

    def _read(self, list_paths: str, input: bytes = b"") -> dict[str, bytes]:
        """The content of the files whose paths the script prints."""
        try:
            stream = self._run(f"{{ {list_paths}; }} | tar -cf - -T -", input)
        except NotFoundError:
            return {}
        found = {}
        with tarfile.open(fileobj=io.BytesIO(stream), mode="r:") as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None:
                    found[member.name] = content.read()
        return found

    def missing(self, paths: Sequence[str]) -> set[str]:
        """Those of these files that do not exist."""
        if not paths:
            return set()
        script = 'while IFS= read -r p; do [ -e "$p" ] || printf "%s\\n" "$p"; done'
        try:
            return set(self._run(script, _lines(paths)).decode().splitlines())
        except NotFoundError:
            return set(paths)

    def names(self, folder: str) -> Iterator[str]:
        """The paths of all files below a folder."""
        try:
            listed = self._run(f"[ ! -d {shlex.quote(folder)} ] || find {shlex.quote(folder)} -type f").decode()
        except NotFoundError:
            return
        yield from (path for path in listed.splitlines() if not path.rpartition("/")[2].startswith("."))

    def replace(self, files: Mapping[str, bytes]) -> None:
        """Write small files, each by a rename, in this order."""
        if not files:
            return
        stage = f"tmp/ostler-{os.getpid()}-{self._next()}"
        moves = [
            f"{_parents([path])} mv -f -- {stage}/{number} {shlex.quote(path)}" for number, path in enumerate(files)
        ]
        stream = _tar({str(number): data for number, data in enumerate(files.values())})
        self._run(
            f"mkdir -p {stage} && tar -C {stage} -xof - && sync && " + " && ".join(moves) + f" && rm -rf {stage}",
            stream,
        )

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files."""
        doomed = list(paths)
        if doomed:
            self._run("tr '\\n' '\\0' | xargs -0 rm -f --", _lines(doomed))

    def add_files(self, files: Mapping[str, Path], report: Reporter) -> int:
        """Write files that nobody refers to yet."""
        size = 0
        for path, source in files.items():
            temporary = f"tmp/ostler-{os.getpid()}-{self._next()}"
            with source.open("rb") as content:
                self._run(
                    f"mkdir -p tmp && cat > {temporary} && {_parents([path])} mv -f -- {temporary} {shlex.quote(path)}",
                    content,
                )
            size += source.stat().st_size
        return size

    # --- objects

    def send(self, source: Repo, names: Sequence[ObjectName], spool: Path, report: SendReport) -> None:
        """Stage these objects, then sync and rename them into place."""
        if not names:
            return
        staged = self._open_stage()
        fresh = [name for name in names if archive_path(name) not in staged]
        with ThreadPoolExecutor(worker_count(), thread_name_prefix="compress") as pool:
            for batch in _batches(_prepared(pool, source, fresh, spool)):
                with batch:
                    self._stage(batch)
                    for made in batch.objects:
                        report(made)
        self._place_staged()

    def _open_stage(self) -> set[str]:
        """Paths of the objects that a broken attempt has staged, as far as they surely are whole."""
        boot = "cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo none-$$"
        script = (
            f'boot=$({boot}); [ "$(cat {STAGE}/boot 2>/dev/null)" = "$boot" ] || rm -rf {STAGE}; mkdir -p {STAGE}; '
            f'printf "%s\\n" "$boot" > {STAGE}/boot; cd {STAGE} && find . -name "*.part" -prune -o -type f -print'
        )
        listed = self._run(script).decode().splitlines()
        return {path.split("/", 2)[2] for path in listed if path.count("/") > 1}

    def _stage(self, batch: "_Batch") -> None:
        """Send one batch; it counts when its folder has its final name."""
        folder = f"{STAGE}/{os.getpid()}-{self._next()}"
        large = [made for made in batch.objects if isinstance(made.data, Path)]
        small = {made.path: made.data for made in batch.objects if isinstance(made.data, bytes)}
        for made in large:
            assert isinstance(made.data, Path)
            with made.data.open("rb") as content:
                path = f"{folder}.part/{made.path}"
                self._run(f"{_parents([path])} cat > {path}", content)
        self._run(f"mkdir -p {folder}.part && tar -C {folder}.part -xof - && mv {folder}.part {folder}", _tar(small))

    def _place_staged(self) -> None:
        """Sync and rename; what others have staged whole is as good, what they stage just now is left to them."""
        self._run(
            f"sync; for d in {STAGE}/*[0-9]/objects/??; do "
            '[ -d "$d" ] || continue; t="objects/${d##*/}"; '
            'mkdir -p "$t" && mv -f -- "$d"/* "$t"/ && rmdir "$d" || exit 1; done; sync; '
            f"rmdir {STAGE}/*[0-9]/objects {STAGE}/*[0-9] 2>/dev/null; "
            f"find {STAGE} -name '*.part' -prune -mtime +0 -exec rm -rf {{}} +"
        )

    def _next(self) -> int:
        self._batches += 1
        return self._batches


@dataclass(slots=True)
class _Batch:
    """Objects that are sent together; as context manager it lets go of their temporary files."""

    objects: list[ArchivedObject] = field(default_factory=list)
    stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "_Batch":
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()


def _prepared(
    pool: ThreadPoolExecutor, source: Repo, names: Sequence[ObjectName], spool: Path
) -> Iterator[tuple[ArchivedObject, ExitStack]]:
    """The objects in archive form, in order, some of them ahead of what the caller has taken."""

    def prepare(name: ObjectName) -> tuple[ArchivedObject, ExitStack]:
        stack = ExitStack()
        return stack.enter_context(archived(source, name, spool)), stack

    ahead: list[Future[tuple[ArchivedObject, ExitStack]]] = []
    for name in names:
        ahead.append(pool.submit(prepare, name))
        if len(ahead) >= 32:
            yield ahead.pop(0).result()
    for future in ahead:
        yield future.result()


def _batches(prepared: Iterator[tuple[ArchivedObject, ExitStack]]) -> Iterator[_Batch]:
    batch = _Batch()
    filled = 0
    for made, stack in prepared:
        batch.objects.append(made)
        batch.stack.push(stack)
        filled += made.size
        if filled >= BATCH_BYTES or len(batch.objects) >= BATCH_FILES:
            yield batch
            batch, filled = _Batch(), 0
    if batch.objects:
        yield batch


def _tar(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:", format=tarfile.USTAR_FORMAT) as archive:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            member.mode = 0o644
            archive.addfile(member, io.BytesIO(data))
        used = archive.offset
    return stream.getvalue()[: used + 2 * tarfile.BLOCKSIZE]  # the end is two empty blocks; more would be padding


def _lines(paths: Iterable[str]) -> bytes:
    return "".join(f"{path}\n" for path in paths).encode()


def _parents(paths: Iterable[str]) -> str:
    folders = sorted({path.rpartition("/")[0] for path in paths if "/" in path})
    return f"mkdir -p -- {shlex.join(folders)} &&" if folders else ""
