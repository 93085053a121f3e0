"""Publishing into a folder behind SSH. The other side needs `sh`, `tar` and the usual small tools, nothing of Ostler.

Every step is one command over one kept connection. New objects are sent as tar streams into folders of a staging
folder, each of which is renamed when it is whole; when all have come they are synced and renamed into place. Whole
folders that a broken attempt has left are used by the next one, unless the machine there has crashed since.
"""

import base64
import io
import re
import secrets
import shlex
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
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
from ostler.store.forked import processors
from ostler.store.reach import ObjectName
from ostler.store.repo import Repo

STAGE = "tmp/ostler-publish"
BATCH_BYTES = 16 * 1024 * 1024
BATCH_FILES = 5000
_NOT_THERE = 90
_CONNECTION_FAILED = 255
_KEPT_SECONDS = 60
_ANSWER = re.compile(rb"[0-9]{1,3} [0-9]{1,15} [0-9]{1,15}")
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
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise PublishError(f"{url} is no address: {error}", hint="write ssh://USER@HOST:PORT/PATH") from error
        path = unquote(parts.path)
        if parts.scheme != "ssh" or not parts.hostname or path in ("", "/"):
            raise PublishError(f"{url} is no place behind SSH", hint="write ssh://USER@HOST/PATH")
        if parts.password is not None:
            raise PublishError(
                "a password in an address would be seen by everyone on this machine", hint="use a key: `ssh-copy-id`"
            )
        self._options = options or SshOptions()
        self._path = path.removeprefix("/~/") if path.startswith("/~/") else path
        user = f"{unquote(parts.username)}@" if parts.username else ""
        host = _host(parts.netloc)
        self._host = user + host
        self._port = port
        shown = f"[{host}]" if ":" in host else quote(host)
        self._name = f"ssh://{quote(user, safe='@')}{shown}{f':{port}' if port else ''}{parts.path}"
        self._token = secrets.token_hex(8)  # process ids come again, in containers all the time
        self._staging = ""
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
        try:
            status, output, errors = self._converse(self._shell, script, input)
        except BaseException:  # an answer heard in part would be taken for that to the next question
            self._shell.end()
            self._shell = None
            raise
        if status:
            raise CommandError(["sh"], status, errors.decode("utf-8", "replace").splitlines()[-20:])
        return output

    def _converse(self, shell: Conversation, script: str, input: bytes) -> tuple[int, bytes, bytes]:
        """Have the shell run a script; (status, output, errors)."""
        end = f"end-{secrets.token_hex(8)}"
        packed = base64.encodebytes(input).decode()
        text = f"base64 -d <<'{end}.input' | (\n{packed}{end}.input\n{script}\n)\n" if input else f"(\n{script}\n)\n"
        shell.say(f"{end}\n{text}{end}\n".encode())
        line = shell.hear_line()
        if not _ANSWER.fullmatch(line):
            raise SshError(
                f"{self.name}: the shell there says {line[:200].decode('utf-8', 'replace')!r} instead of an answer",
                hint="scripts that it runs at login, such as ~/.bashrc, must print nothing",
            )
        status, printed, complained = map(int, line.split())
        return status, shell.hear(printed), shell.hear(complained)

    def give_up(self) -> None:
        """End the shell there, and what it runs."""
        if self._shell is not None:
            self._shell.end()
            self._shell = None

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
        script = f"{{ {list_paths}; }} | tar -cf - -T -"
        try:
            stream = self._run(script, input)
        except NotFoundError:
            return {}
        except SshError as error:
            if isinstance(error.__cause__, CommandError) and error.__cause__.status == _CONNECTION_FAILED:
                raise
            stream = self._run(script, input)  # a file has gone while it was to be read
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
        stage = f"tmp/ostler-{self._next()}"
        moves = [
            f"{_parents([path])} mv -f -- {stage}/{number} {shlex.quote(path)}" for number, path in enumerate(files)
        ]
        stream = _tar({str(number): data for number, data in enumerate(files.values())})
        self._run(
            f"{_no_folders(files)}mkdir -p {stage} && tar -C {stage} -xof - && sync && "
            + " && ".join(moves)
            + f" && rm -rf {stage}",
            stream,
        )

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files."""
        remaining = iter(paths)
        while doomed := list(islice(remaining, BATCH_FILES)):
            self._run("tr '\\n' '\\0' | xargs -0 rm -f --", _lines(doomed))
            self.renew()

    def add_files(self, files: Mapping[str, Path], report: Reporter) -> int:
        """Write files that nobody refers to yet."""
        size = 0
        for path, source in files.items():
            temporary = f"tmp/ostler-{self._next()}"
            self.renew()
            with source.open("rb") as content:
                self._run(
                    f"{_no_folders([path])}mkdir -p tmp && cat > {temporary} && {_parents([path])} "
                    f"mv -f -- {temporary} {shlex.quote(path)}",
                    content,
                )
            size += source.stat().st_size
        return size

    # --- objects

    def send(self, source: Repo, names: Sequence[ObjectName], spool: Path, report: SendReport) -> None:
        """Stage these objects, then sync and rename them into place; looks afterwards whether they are there."""
        if not names:
            return
        staged = self._open_stage()
        self._stage_all(source, [name for name in names if archive_path(name) not in staged], spool, report)
        self._place_staged()
        lost = self._absent_of(names)
        if lost:  # somebody else has taken what was staged already, and not brought it to its place
            self._stage_all(source, lost, spool, report)
            self._place_staged()
            lost = self._absent_of(lost)
        if lost:
            raise SshError(
                f"{self.name}: {len(lost)} objects that were sent are not there, {archive_path(lost[0])} for one",
                hint="publish again; look whether something there removes files",
            )

    def _absent_of(self, names: Sequence[ObjectName]) -> list[ObjectName]:
        absent = self.missing([archive_path(name) for name in names])
        return [name for name in names if archive_path(name) in absent]

    def _stage_all(self, source: Repo, names: Sequence[ObjectName], spool: Path, report: SendReport) -> None:
        with ThreadPoolExecutor(processors(), thread_name_prefix="compress") as pool:
            for batch in _batches(_prepared(pool, source, names, spool)):
                with batch:
                    self._stage(batch)
                    for made in batch.objects:
                        report(made)

    def _open_stage(self) -> set[str]:
        """Paths of the objects that a broken attempt has staged, as far as they surely are whole."""
        script = (
            f"boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null) || boot=none-{self._token}\n"
            f'mine={STAGE}/$boot; mkdir -p "$mine" && printf "%s\\n" "$boot" || exit 1\n'
            f'for d in {STAGE}/* "$mine"/*.part; do\n'
            '[ "$d" = "$mine" ] || find "$d" -prune -mtime +0 -exec rm -rf {} + 2>/dev/null\n'
            "done\n"
            'cd "$mine" && for d in *.whole; do [ ! -d "$d" ] || find "$d" -type f; done'
        )
        boot, *listed = self._run(script).decode().splitlines()
        self._staging = shlex.quote(f"{STAGE}/{boot}")
        return {path.partition("/")[2] for path in listed}

    def _stage(self, batch: "_Batch") -> None:
        """Send one batch; it counts when its folder has its final name."""
        folder = f"{self._staging}/{self._next()}"
        small = {made.path: made.data for made in batch.objects if isinstance(made.data, bytes)}
        for made in batch.objects:
            if isinstance(made.data, Path):
                with made.data.open("rb") as content:
                    path = f"{folder}.part/{made.path}"
                    self._run(f"{_parents([path])} cat > {path} && [ $(wc -c <{path}) -eq {made.size} ]", content)
        self._run(
            f"mkdir -p {folder}.part && tar -C {folder}.part -xof - && mv {folder}.part {folder}.whole", _tar(small)
        )

    def _place_staged(self) -> None:
        """Sync and rename; what others have staged whole is as good, what they stage just now is left to them."""
        self._run(
            f"sync; for d in {self._staging}/*.whole/objects/??; do "
            '[ -d "$d" ] || continue; t="objects/${d##*/}"; mkdir -p "$t" || exit 1; '
            'mv -f -- "$d"/* "$t"/ || [ ! -d "$d" ] || [ -z "$(ls -A "$d")" ] || exit 1; '
            'rmdir "$d" 2>/dev/null; done; sync; '
            f"rmdir {self._staging}/*.whole/objects {self._staging}/*.whole 2>/dev/null; true"
        )

    def _next(self) -> str:
        """A name that nobody else has used or will use."""
        self._batches += 1
        return f"{self._token}-{self._batches}"


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


def _no_folders(paths: Iterable[str]) -> str:
    """The beginning of a script that ends where one of these paths is a folder: `mv` would put the file into it."""
    return (
        f'for p in {shlex.join(paths)}; do [ ! -d "$p" ] || {{ printf "%s is a folder\\n" "$p" >&2; exit 1; }}; done; '
    )


def _host(netloc: str) -> str:
    """The host as it was written: `~/.ssh/config` tells upper case from lower case, `urlsplit` does not."""
    host = netloc.rpartition("@")[2]
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return unquote(host.partition(":")[0])
